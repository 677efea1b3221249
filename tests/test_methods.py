"""The battery over METHODS: a new method joins by its file and its reference alone."""

import pytest
from battery import (
    check_extreme_logits,
    check_float32,
    check_gradient,
    check_limits,
    check_odd_batches,
    check_order,
    check_pure,
    check_reach,
    check_record,
    check_reference,
    check_state,
    check_static,
    variants,
)

from ltviz.methods import METHODS

CASES = [pytest.param(METHODS[key], s, id=f"{key}-{name}") for key in METHODS for name, s in variants(METHODS[key])]
every_case = pytest.mark.parametrize("method, settings", CASES)
every_method = pytest.mark.parametrize("method", [pytest.param(METHODS[key], id=key) for key in METHODS])


@every_case
def test_equals_its_numpy_reference(method, settings):
    check_reference(method, settings)


@every_case
def test_gradient_agrees_with_finite_differences(method, settings):
    check_gradient(method, settings, fast=bool(settings))


@every_method
def test_declared_limits_hold(method):
    check_limits(method)


@every_case
def test_order_of_the_batch_does_not_matter(method, settings):
    check_order(method, settings)


@every_case
def test_gradient_reaches_features_and_parameters(method, settings):
    check_reach(method, settings)


@every_case
def test_static_shapes_and_no_readback(method, settings):
    check_static(method, settings)


@every_case
def test_forward_is_pure_and_buffers_stay_in_place(method, settings):
    check_pure(method, settings)


@every_case
def test_float32_is_enough(method, settings):
    check_float32(method, settings)


@every_case
def test_copies_and_reloads(method, settings):
    check_state(method, settings)


@every_case
def test_odd_batches_give_no_nan(method, settings):
    check_odd_batches(method, settings)


@every_case
def test_extreme_logits_give_no_nan(method, settings):
    check_extreme_logits(method, settings)


@every_method
def test_record_is_complete(method):
    check_record(method)
