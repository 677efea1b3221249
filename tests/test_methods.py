"""The battery over METHODS: a new method joins by its file and its reference alone."""

import sys
from collections import Counter

import numpy as np
import pytest
import torch
from battery import (
    check_declared,
    check_defaults,
    check_extreme_logits,
    check_float32,
    check_gradient,
    check_idle,
    check_limits,
    check_odd_batches,
    check_order,
    check_pure,
    check_reach,
    check_record,
    check_reference,
    check_slope,
    check_state,
    check_static,
    variants,
)
from references import HEADS

import ltviz
from ltviz import methods
from ltviz.methods import METHODS, cite

CASES = [pytest.param(METHODS[key], s, id=f"{key}-{name}") for key in METHODS for name, s in variants(METHODS[key])]
every_case = pytest.mark.parametrize("method, settings", CASES)
every_method = pytest.mark.parametrize("method", [pytest.param(METHODS[key], id=key) for key in METHODS])


@every_case
def test_equals_its_numpy_reference(method, settings):
    check_reference(method, settings)


@every_case
def test_gradient_agrees_with_finite_differences(method, settings):
    check_gradient(method, settings, fast=bool(settings))


@every_case
def test_gradient_is_the_slope_of_the_reference(method, settings):
    check_slope(method, settings)


@every_method
def test_declared_limits_hold(method):
    check_limits(method)


@every_method
def test_settings_have_an_effect_where_they_say_so_and_nowhere_else(method):
    check_idle(method)


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


@every_method
def test_each_part_declares_the_settings_that_it_reads(method):
    check_declared(method)


@every_method
def test_a_default_stands_in_the_record_alone(method):
    check_defaults(method)


def test_citations_name_each_paper_once():
    papers = cite(*METHODS)
    keys = [line.split("{")[1] for line in papers.splitlines() if line.startswith("@")]
    assert len(keys) == len(set(keys)) and len(keys) > 3
    assert cite("ce", "focal").count("@") == 2 and cite("focal", "focal").count("@") == 1


# ------------------------------------------------------------------------------------------------------ trained, saved


@pytest.fixture(scope="module")
def toy():
    """Ten digits, ratio 10, 60 images of the largest class: an epoch is a few steps."""
    return ltviz.digits_lt(ratio=10, n_max=60, test=20)


@every_method
def test_toy_training_beats_chance_and_its_run_comes_back(method, toy, tmp_path):
    run = ltviz.train(method.key, toy, epochs=20, progress=False, device="cpu")
    assert run.status == "finished"
    assert run.accuracy > 0.3, f"{run.accuracy:.0%} of ten balanced classes: chance is 10%"
    assert run.probability == method().probability
    for name in ("loss", "weight_norm"):
        assert np.isfinite(run.history[name]).all()
    back = ltviz.load_run(run.save(tmp_path))
    assert (back.method, back.settings, back.id, back.seed) == (run.method, run.settings, run.id, run.seed)
    for name in ("confusion", "head_weight", "logits", "features", "counts"):
        np.testing.assert_array_equal(getattr(back, name), getattr(run, name))
    if run.head_bias is not None and run.scale is None and method.key not in HEADS:
        own = run.features.astype(np.float32) @ run.head_weight.T + run.head_bias
        np.testing.assert_allclose(run.logits, own, rtol=2e-2, atol=2e-2 * np.abs(run.logits).max())
    if method.posthoc is not None:
        scores = back.posthoc(method.key, **back.settings)
        assert (scores.argmax(1) == run.scores.argmax(1)).mean() > 0.97  # features are stored in float16


@pytest.mark.parametrize("settings", [{"learn_scale": True}, {"scale": 8.0}])
def test_a_learned_scale_is_trained_and_recorded(settings, toy):
    run = ltviz.train("normface", toy, epochs=3, progress=False, device="cpu", **settings)
    assert isinstance(run.scale, float) and (run.scale == 8.0) == ("scale" in settings) and run.scale != 16.0


@pytest.mark.gpu
@every_method
def test_trains_on_a_gpu(method, toy):
    run = ltviz.train(method.key, toy, epochs=10, progress=False, device="cuda")
    assert run.status == "finished" and run.accuracy > 0.2


def test_trained_runs_differ_by_seed_only(toy):
    first, again, other = (ltviz.train("focal", toy, epochs=2, seed=s, progress=False, device="cpu") for s in (0, 0, 1))
    np.testing.assert_array_equal(first.logits, again.logits)
    assert not np.array_equal(first.logits, other.logits)


EVERYTHING_ELSE = {"but the bias of the head"}


@pytest.mark.parametrize(
    "key, settings, spared",
    [
        ("sigmoid", {}, {"head.bias"}),
        ("sigmoid", {"decay_bias": True}, set()),
        ("sigmoid", {"decay_bias": "only"}, EVERYTHING_ELSE),
        ("class_balanced", {"loss": "focal", "decay_bias": "only"}, EVERYTHING_ELSE),
        ("class_balanced", {"decay_bias": "only"}, set()),
        ("focal", {"form": "sigmoid", "decay_bias": True}, set()),
        ("focal", {"form": "sigmoid"}, {"head.bias"}),
        ("class_balanced", {"loss": "focal"}, {"head.bias"}),
        ("class_balanced", {}, set()),
        ("ring", {"base": "sigmoid"}, {"head.bias", "radius"}),
        ("normface", {"learn_scale": True}, {"head.scale"}),
    ],
)
def test_weight_decay_spares_the_prior_bias_and_what_a_loss_learns(key, settings, spared, toy):
    from ltviz.training import Trainer

    trainer = Trainer(key, toy, epochs=2, device="cpu", **settings)
    trainer.run_epoch()
    names = {id(p): name for m in (trainer.net, trainer.objective) for name, p in m.named_parameters()}
    groups = trainer.optimizer.param_groups
    found = {names[id(p)] for g in groups if g["weight_decay"] == 0.0 for p in g["params"]}
    assert found == (set(names.values()) - {"head.bias"} if spared is EVERYTHING_ELSE else spared)
    assert {names[id(p)] for g in groups for p in g["params"]} == set(names.values())


# ------------------------------------------------------------------------------------------------------- a new method

TOY = """
from torch import Tensor

from ltviz.functional import cross_entropy
from ltviz.objective import Limit, Method, Objective, Output, Setting


class Tempered(Objective):
    \"""Cross-entropy of logits divided by a temperature. Known to fail: it is only here for a test.\"""

    def __init__(self, counts: Tensor, temperature: float):
        super().__init__(counts)
        self.temperature = temperature

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return cross_entropy(out.logits / self.temperature, targets)


METHOD = Method(
    key="tempered", title="Tempered cross-entropy", paper="nobody 2000", equation="z / T", objective=Tempered,
    settings={"temperature": Setting(2.0, 0.1, 10.0, "log", symbol="T", meaning="what logits are divided by")},
    limits=(Limit({"temperature": 1.0}, "ce"),), citation="@misc{t, title = {T}, author = {N}, year = {2000}}",
)
"""


@pytest.fixture
def tempered(tmp_path):
    """A method in a file of its own, outside the package, found by discover()."""
    (tmp_path / "tempered.py").write_text(TOY)
    methods.__path__.append(str(tmp_path))
    try:
        methods.discover()
        yield METHODS["tempered"]
    finally:
        methods.__path__.remove(str(tmp_path))
        METHODS.remove("tempered")
        sys.modules.pop("ltviz.methods.tempered", None)


def test_one_file_is_a_method(tempered, toy):
    assert "tempered" in METHODS and "tempered" in list(METHODS)
    row = next(row for row in METHODS.rows() if row["key"] == "tempered")
    assert row["title"] == "Tempered cross-entropy" and "temperature=2.0" in row["settings"]
    assert "Tempered cross-entropy" in repr(METHODS) and "Tempered cross-entropy" in METHODS._repr_html_()
    for check in (check_limits, check_record):
        check(tempered)
    for check in (check_gradient, check_order, check_static, check_pure, check_state, check_odd_batches):
        check(tempered, {})
    with pytest.raises(AssertionError, match="tempered has no reference"):
        check_reference(tempered, {})
    assert ltviz.train("tempered", toy, epochs=8, progress=False, device="cpu", temperature=1.0).accuracy > 0.3
    assert "tempered" in ltviz.cite("tempered") or "@misc{t" in ltviz.cite("tempered")


def test_one_file_appears_in_the_explorers(tempered):
    explorer = ltviz.explore.loss_anatomy("tempered")
    try:
        assert "tempered" in explorer.controls["method"].setting.choices
        assert explorer.settings == {"temperature": 2.0}
        explorer.set(temperature=4.0)
        assert explorer.error is None and explorer.controls["temperature"].value == 4.0
        explorer.set(method="ce")
        assert "temperature" not in explorer.controls
        explorer.set(method="tempered")
        assert explorer.error is None and explorer.controls["temperature"].value == 4.0
    finally:
        explorer.close()


def test_a_removed_method_is_gone():
    assert "tempered" not in METHODS
    with pytest.raises(KeyError):
        METHODS["tempered"]


# -------------------------------------------------------------------------------------------------------- asked wrongly


@pytest.mark.parametrize(
    "asked, suggested",
    [("clas_balanced", "class_balanced"), ("fokal", "focal"), ("LDAM", "ldam"), ("sigmod", "sigmoid"), ("CB", "cb")],
)
def test_an_unknown_method_suggests_the_nearest(asked, suggested):
    with pytest.raises(KeyError) as error:
        METHODS[asked]
    assert f"did you mean {suggested!r}" in str(error.value)


def test_aliases_name_the_same_method():
    assert METHODS["cb"] is METHODS["class_balanced"] and METHODS["bce"] is METHODS["sigmoid"]
    assert METHODS["class_frequency_sampling"] is METHODS["square_root_sampling"]
    assert "cb" not in list(METHODS)


@pytest.mark.parametrize(
    "key, settings, words",
    [
        ("class_balanced", {"bta": 0.9}, ["bta", "did you mean 'beta'", "reduction"]),
        ("class_balanced", {"beta": 1.5}, ["beta=1.5", "from 0.0 to 1.0", "inverse frequency"]),
        ("class_balanced", {"beta": True}, ["beta=True", "from 0.0 to 1.0"]),
        ("class_balanced", {"beta": "0.9"}, ["beta='0.9'", "from 0.0 to 1.0"]),
        ("class_balanced", {"loss": "hinge"}, ["loss", "'softmax', 'sigmoid', 'focal'", "hinge"]),
        ("class_balanced", {"beta": float("nan")}, ["beta", "nan"]),
        ("focal", {"gamma": "two"}, ["gamma", "number", "two"]),
        ("ce", {"gamma": 2.0}, ["ce has no setting", "none"]),
        ("ring", {"base": 3}, ["base=3", "a method's key"]),
        ("ring", {"base": {"gamma": 2.0}}, ["base={'gamma': 2.0}", "a method's key"]),
        ("ring", {"base": "focl"}, ["focl", "did you mean 'focal'"]),
        ("ring", {"base": {"key": "focal", "gama": 2.0}}, ["gama", "did you mean 'gamma'"]),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_right(key, settings, words):
    with pytest.raises((ValueError, KeyError)) as error:
        METHODS[key](**settings).build(torch.tensor([5, 2]))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "counts",
    [
        [3], [[3, 2]], [-1, 4], [0, 0], [3, 2.5], [3, float("nan")], [3, float("inf")], [True, False], [], None, 7,
        "32", ["3", "2"], {"a": 3, "b": 2}, Counter("aaab"), [[3], [2, 1]], [3, None],
    ],
    ids=str,
)  # fmt: skip
def test_counts_that_make_no_sense_are_refused(counts):
    with pytest.raises(ValueError, match="^counts="):
        METHODS["ce"]().build(counts)


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor, lambda c: torch.tensor(c, dtype=torch.float32)])
def test_counts_come_as_any_vector_of_whole_numbers(make):
    objective = METHODS["class_balanced"](beta=1.0).build(make([40, 10, 0]))
    assert objective.counts.tolist() == [40.0, 10.0, 0.0]
    assert objective.class_weight.tolist() == pytest.approx([0.4, 1.6, 0.0])


def test_citing_what_is_no_method_names_it():
    for key in ("focl", None, 3, ["ce"]):
        with pytest.raises(ValueError, match="unknown method"):
            cite(key)


def test_methods_can_be_called_on_four_numbers():
    """The bare equations, as a notebook calls them."""
    from ltviz.methods.class_balanced import class_balanced_weights
    from ltviz.methods.focal import focal_loss
    from ltviz.methods.inverse_frequency import inverse_frequency_weights
    from ltviz.methods.sigmoid import prior_bias, sigmoid_loss

    logits, targets = torch.tensor([[2.0, -1.0, 0.5, 0.0]]), torch.tensor([0])
    assert focal_loss(logits, targets, gamma=2.0, form="softmax").shape == sigmoid_loss(logits, targets).shape == (1,)
    assert prior_bias(10) == pytest.approx(-2.197225, abs=1e-6)
    assert class_balanced_weights(torch.tensor([40, 10]), 0.0).tolist() == [1.0, 1.0]
    assert inverse_frequency_weights(torch.tensor([40, 10]), 1.0).tolist() == pytest.approx([0.4, 1.6])
