"""The anatomy of a loss: what its formula, its controls and its sentence say of the focal loss and its forms."""

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz.probe import probe


@pytest.fixture
def anatomy():
    made = lt.explore.loss_anatomy("focal", [2000, 20], gamma=2.0)
    yield made
    made.close()


def shown(widget):
    return widget.layout.display != "none"


def test_the_formula_has_both_forms_of_the_focal_loss(anatomy):
    assert "(softmax)" in anatomy.formula.value and "(sigmoid)" in anatomy.formula.value
    assert "p^t_{ij}" in anatomy.formula.value


def test_more_is_offered_only_where_it_opens_something_that_can_be_changed(anatomy):
    assert list(anatomy.controls) == ["method", "gamma", "form", "decay_bias"]
    assert not shown(anatomy.column.more)
    anatomy.set(form="sigmoid")
    assert shown(anatomy.column.more)
    anatomy.column.more.click()
    anatomy.set(form="softmax")
    assert shown(anatomy.column.more) and shown(anatomy.column.rest), "what is open can be closed"
    anatomy.column.more.click()
    anatomy.set(gamma=1.0)
    assert not shown(anatomy.column.more)
    anatomy.set(method="class_balanced")
    assert shown(anatomy.column.more)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gamma": 2.0}, "focal: an image"),
        ({"gamma": 0.5}, "focal, gamma = 0.5: an image"),
        ({"form": "weighted_softmax"}, "focal, form = weighted softmax: an image"),
    ],
)
def test_the_sentence_says_the_settings_in_words(anatomy, settings, words):
    anatomy.set(**settings)
    assert anatomy.sentence.startswith(words)


def test_the_name_beside_the_list_of_forms_is_a_word(anatomy):
    assert anatomy.controls["form"].widget.description == "form"


@pytest.mark.parametrize("form", ["sigmoid", "weighted_softmax"])
def test_at_equal_p_the_forms_have_the_same_gradient_on_the_true_logit(form):
    counts = torch.tensor([2000, 200, 20])
    usual, other = (probe("focal", counts, 2, settings={"gamma": 2.0, "form": one}) for one in ("softmax", form))
    np.testing.assert_allclose(other.p, usual.p, atol=1e-9)
    np.testing.assert_allclose(other.gradient, usual.gradient, atol=1e-9)
