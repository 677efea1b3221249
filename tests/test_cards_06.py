"""Chapter 06: its exercises name the mistakes that readers make, and its predictions follow from the records."""

import sys

import numpy as np
import pytest
import torch
from conftest import REPO

import ltviz as lt

F = torch.nn.functional


@pytest.fixture(scope="module")
def cards():
    sys.path.insert(0, str(REPO / "notebooks"))
    try:
        import cards_06

        yield cards_06
    finally:
        sys.path.remove(str(REPO / "notebooks"))


def split_by(exponent, swap=False):
    def answer(n1, n2, total):
        a, b = float(n1) ** exponent, float(n2) ** exponent
        a, b = (b, a) if swap else (a, b)
        return torch.tensor([total * a / (a + b), total * b / (a + b)])

    return answer


def own(cosine, targets):
    return F.one_hot(targets, cosine.shape[1])


def margins(counts, most):
    raw = counts.double() ** -0.25
    return (most * raw / raw.max()).float()


SPLIT = [
    (split_by(-0.25, swap=True), "exchanged"),
    (split_by(-0.5), "the two terms of the bound equal"),
    (split_by(-1.0), "in proportion to $1/n$"),
    (lambda n1, n2, total: torch.tensor([n1**-0.25, n2**-0.25]), "do not sum to `total`"),
    (lambda n1, n2, total: torch.tensor([total / 2, total / 2]), ""),
]
LDAM = [
    (lambda c, y, n, m, s: F.cross_entropy(s * (c - margins(n, m)), y, reduction="none"), "every class's margin"),
    (lambda c, y, n, m, s: F.cross_entropy(s * c - own(c, y) * margins(n, m), y, reduction="none"), "before the scale"),
    (lambda c, y, n, m, s: F.cross_entropy(s * (c + own(c, y) * margins(n, m)), y, reduction="none"), "added the"),
    (lambda c, y, n, m, s: F.cross_entropy(s * (c - own(c, y) * n.double() ** -0.25), y, reduction="none"),
     "the largest is `most`"),
    (lambda c, y, n, m, s: F.cross_entropy(s * (c - own(c, y) * margins(n, m)), y), ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "answer", "said"), [("split", *row) for row in SPLIT] + [("ldam_exercise", *row) for row in LDAM]
)
def test_exercises_name_the_mistake(cards, name, answer, said):
    result = getattr(cards, name).check(answer)
    wrong = [detail for passed, _, detail in result.rows if not passed]
    assert not result.passed and any(said in detail for detail in wrong), result.text
    assert "raised" not in result.text


def test_the_right_answers_pass(cards):
    assert cards.split.check(split_by(-0.25)).passed

    def ldam(cosine, targets, counts, most, scale):
        z = scale * (cosine - own(cosine, targets) * margins(counts, most).to(cosine.dtype))
        return -z.log_softmax(1).gather(1, targets[:, None])[:, 0]

    assert cards.ldam_exercise.check(ldam).passed


def test_the_fourth_root_is_the_smallest_bound():
    """By brute force, for two counts: the split that the exercise asks for."""
    grid = np.linspace(0.001, 0.999, 9981)
    for n1, n2 in ((2000, 20), (16, 1), (7, 7)):
        best = grid[(1 / (grid * n1**0.5) + 1 / ((1 - grid) * n2**0.5)).argmin()]
        assert best == pytest.approx(float(split_by(-0.25)(n1, n2, 1.0)[0]), abs=2e-4)


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("scale_one", pytest.approx(25.235, abs=1e-3)),
        ("margin_at_test", 120.0),
        ("ldam_alone", "less than 3 points either way"),
        ("late", "mainly the frequent and the middle classes"),
        ("margins_on_top", "no clear difference"),
    ],
)
def test_predictions_follow_from_the_records(cards, name, truth):
    assert getattr(cards, f"open_{name}")().truth == truth


def test_both_networks_of_the_branch_know_their_training_images(cards):
    """What the question says, on the seeds that the chapter trains; and what it answers."""
    grown, learned = {}, []
    for key in ("ce_drw", "ldam_drw"):
        trunk = lt.training.Trainer(key, lt.digits_lt(class_order="seed"), deferral=cards.AT / cards.EPOCHS)
        for _ in range(cards.AT):
            trunk.run_epoch()
        features, targets = trunk.embed_training()
        learned.append(float((trunk.net.head(features).argmax(1) == targets).float().mean()))
        before = lt.training.branch(trunk, beta=0.0)
        grown[key] = [(before.run(), trunk.run())]
    assert learned == [1.0, 1.0]
    found = cards.open_parts_on_the_bench(grown, cards.AT, learned)
    assert found.truth == "only cross-entropy's" and "differ before" not in found.because


def test_claims_hold_where_the_records_say_so(cards):
    html = cards.claims().html
    holds = [row.split("<td")[4].split(">")[1].split("<")[0] for row in html.split("<tr>")[2:]]
    assert holds == ["no", "yes", "yes", "yes", "undecided", "no"]
