"""The gradient river: shares of a gradient on numbers known by hand, what is drawn, and what it can be told."""

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz.explore.gradient_river import BINS, EPOCHS, HISTOGRAM, RIVER, SIZE, GradientRiver, film
from ltviz.explore.screen import Click, Drag
from ltviz.methods.focal import focal_loss


@pytest.fixture(scope="module")
def explorer():
    made = lt.explore.gradient_river()
    yield made
    made.close()


@pytest.fixture
def still(explorer):
    """The explorer, back where it was afterwards."""
    yield explorer
    explorer.reset()


def cross_entropy(z, y):
    return torch.nn.functional.cross_entropy(z, y, reduction="none")


def focal(gamma, form="softmax"):
    return lambda z, y: focal_loss(z, y, gamma, form)


# --- the share of the gradient ---------------------------------------------------------------------------------------
def test_undecided_images_share_the_gradient_as_they_share_the_counts():
    found = lt.metrics.gradient_shares(cross_entropy, np.zeros((4, 2)), [0, 0, 0, 1])
    assert found.share == pytest.approx([0.75, 0.25]) and found.mean == pytest.approx(1.0)  # |p - 1| + p at p = 1/2


def test_the_size_of_cross_entropy_s_gradient_is_twice_one_minus_p():
    p = np.array([0.1, 0.5, 0.9, 0.999])
    z = np.stack([np.log(p / (1 - p)), np.zeros(4)], 1)
    sizes = lt.metrics.gradient_sizes(cross_entropy, z, np.zeros(4, int))
    assert sizes == pytest.approx(2 * (1 - p))
    share = lt.metrics.gradient_shares(cross_entropy, z, [0, 0, 0, 0]).share
    assert share == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_the_focal_gradient_is_that_of_the_closed_form(gamma):
    p = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
    z = np.stack([np.log(p / (1 - p)), np.zeros(5)], 1)
    expected = (1 - p) ** gamma * (1 - p - gamma * p * np.log(p))
    sizes = lt.metrics.gradient_sizes(focal(gamma), z, np.zeros(5, int))
    assert sizes == pytest.approx(2 * expected)


def test_under_sigmoids_the_other_answers_count_by_themselves():
    """z = 0: each of three answers pulls with 1/2, whatever the class."""
    sizes = lt.metrics.gradient_sizes(focal(0.0, "sigmoid"), np.zeros((2, 3)), [0, 2])
    assert sizes == pytest.approx([1.5, 1.5])


def test_several_epochs_are_each_computed_by_themselves():
    z = np.random.default_rng(0).normal(size=(3, 20, 4))
    y = np.arange(20) % 4
    found = lt.metrics.gradient_shares(focal(2.0), z, y)
    for i in range(3):
        one = lt.metrics.gradient_shares(focal(2.0), z[i], y)
        assert found.share[i] == pytest.approx(one.share) and found.mean[i] == pytest.approx(one.mean)
    assert found.share.sum(1) == pytest.approx(np.ones(3))


def test_class_weights_of_the_loss_are_part_of_the_share():
    weight = torch.tensor([1.0, 3.0], dtype=torch.float64)
    found = lt.metrics.gradient_shares(lambda z, y: weight[y] * cross_entropy(z, y), np.zeros((4, 2)), [0, 0, 0, 1])
    assert found.share == pytest.approx([0.5, 0.5]) and found.mean == pytest.approx(1.5)


def test_where_nothing_pulls_there_is_no_share():
    found = lt.metrics.gradient_shares(lambda z, y: 0.0 * cross_entropy(z, y), np.zeros((2, 2)), [0, 1])
    assert np.isnan(found.share).all() and found.mean == 0.0


@pytest.mark.parametrize(
    ("loss", "logits", "targets", "name"),
    [
        (cross_entropy, [[0.0, np.nan]], [0], "logits="),
        (cross_entropy, [0.0, 1.0], [0], "logits="),
        (cross_entropy, np.zeros((0, 2)), np.zeros(0, int), "logits="),
        (cross_entropy, "no", [0], "logits="),
        (cross_entropy, [[0.0, 1.0]], [2], "targets="),
        (cross_entropy, [[0.0, 1.0]], [0.5], "targets="),
        (cross_entropy, [[0.0, 1.0]], [0, 1], "targets="),
        ("focal", [[0.0, 1.0]], [0], "loss="),
        (lambda z, y: z.sum(), [[0.0, 1.0]], [0], "loss="),
        (lambda z, y: z.detach().sum(1), [[0.0, 1.0]], [0], "loss="),
        (lambda z, y: 3.0, [[0.0, 1.0]], [0], "loss="),
    ],
)
def test_shares_refuse(loss, logits, targets, name):
    with pytest.raises(ValueError, match=f"{name}.*: expected"):
        lt.metrics.gradient_shares(loss, logits, targets)
    if np.ndim(logits) == 2:
        with pytest.raises(ValueError, match=f"{name}.*: expected"):
            lt.metrics.gradient_sizes(loss, logits, targets)


# --- the explorer ----------------------------------------------------------------------------------------------------
def test_what_is_drawn_is_what_the_network_says(still):
    still.set(gamma=2.0, epoch=25)
    one, found = film(0.0, "softmax", 0), still.result
    assert one.logits.shape == (EPOCHS + 1, 314, 10) and found.share.shape == (EPOCHS + 1, 3)
    p = torch.from_numpy(one.logits[25]).softmax(1).numpy()[range(314), one.targets]
    size = (1 - p) ** 2 * (1 - p - 2 * p * np.log(p))
    rare = one.targets >= 7
    assert found.share[25, 2] == pytest.approx(size[rare].sum() / size.sum())
    assert found.size[25] == pytest.approx(2 * size.mean())
    assert found.plain_share[25, 2] == pytest.approx((1 - p)[rare].sum() / (1 - p).sum())
    assert found.p[2] == pytest.approx(p[rare]) and [len(one) for one in found.p] == [234, 70, 10]
    last = int((p[rare] >= BINS[-2]).sum())
    assert found.images[2, -1] == pytest.approx(last / 10)
    assert found.left[2].sum() == pytest.approx(((1 - p[rare]) ** 2).mean())
    assert f"rare {100 * found.share[25, 2]:.1f}%" in still.sentence


@pytest.mark.parametrize(("seed", "trained"), [(0, 0.0), (3, 2.0)])
def test_the_last_epoch_is_the_run_that_is_recorded(seed, trained):
    made = {0.0: ("ce", {}), 2.0: ("focal", {"gamma": 2.0, "form": "softmax"})}[trained]
    (run,) = lt.recorded("digits", made[0], seed=seed, **made[1])
    named = lt.metrics.shot_accuracy(run)
    accuracy = film(trained, "softmax", seed).accuracy[-1]
    assert accuracy == pytest.approx([named[one] for one in ("head", "mid", "tail")], abs=0.011)  # rounding: an image


def test_at_the_start_the_shares_are_those_of_the_counts_and_gamma_does_not_matter(still):
    still.set(gamma=2.0, epoch=0)
    counts = np.array([234, 70, 10]) / 314
    assert still.result.share[0] == pytest.approx(counts, abs=0.02)
    assert still.result.share[0] == pytest.approx(still.result.plain_share[0], abs=0.01)


def test_at_gamma_zero_nothing_is_taken_away(still):
    still.set(gamma=0.0)
    found = still.result
    assert found.share == pytest.approx(found.plain_share) and found.left == pytest.approx(found.images)
    assert found.weight == pytest.approx(np.ones(len(found.weight)))


def test_gamma_raises_the_rare_share_of_a_fitted_network_and_shrinks_its_gradient(still):
    shares, sizes = [], []
    for gamma in (0.0, 1.0, 2.0, 5.0):
        still.set(gamma=gamma, epoch=EPOCHS)
        shares.append(still.result.share[-1, 2])
        sizes.append(still.result.size[-1])
    assert shares == sorted(shares) and shares[0] < 0.6 < 0.9 < shares[2]
    assert sizes == sorted(sizes, reverse=True) and sizes[2] < sizes[0] / 100


def test_trained_and_form_give_other_networks(still):
    still.set(epoch=EPOCHS, gamma=2.0)
    plain = still.result
    still.set(trained=2.0)
    assert still.result.share[-1, 2] < plain.share[-1, 2] - 0.2
    still.set(form="sigmoid")
    one = film(2.0, "sigmoid", 0)
    assert still.result.p[0] == pytest.approx(
        torch.from_numpy(one.logits[-1]).sigmoid().numpy()[range(314), one.targets][one.targets < 3]
    )
    still.set(seed=3)
    assert not np.array_equal(film(2.0, "sigmoid", 3).logits, one.logits)


def test_the_curve_of_the_weight_and_the_epoch_are_dragged(still):
    still.set(gamma=2.0)
    epoch, gamma = still.handles(still.result)
    assert (epoch.name, epoch.x, epoch.axis, epoch.region) == ("epoch", 10, "x", RIVER)
    assert (gamma.name, gamma.x, gamma.axis, gamma.region) == ("gamma", 0.3, "y", HISTOGRAM)
    assert gamma.told == "2; weight 0.49 at p = 0.3" and epoch.step == 1
    assert gamma.y == pytest.approx(0.49) and gamma.ylim == pytest.approx((0.7**5, 1.0))
    still.dragged(Drag("gamma", 0.3, 0.343, True))
    assert still.values["gamma"] == 3.0
    still.dragged(Drag("gamma", 0.3, 0.0, True))
    assert still.values["gamma"] == 5.0
    still.dragged(Drag("epoch", 42.2, 0.0, True))
    assert still.values["epoch"] == 42


def test_a_click_over_the_epochs_goes_there(still):
    still._clicked(Click(33.4, 0.5, RIVER, None))
    assert still.values["epoch"] == 33 and still.result.epoch == 33
    still._clicked(Click(60.3, 1e-3, SIZE, None))
    assert still.values["epoch"] == 60
    still._clicked(Click(0.3, 0.5, HISTOGRAM, None))
    assert still.values["epoch"] == 60 and still.values["gamma"] == 2.0


def test_what_can_be_pointed_at_says_its_numbers(still):
    still.set(gamma=2.0, epoch=25)
    found, told = still.result, [mark.text for mark in still.marks(still.result)]
    assert f"rare classes: {100 * found.share[25, 2]:.1f}% of the gradient" in told[2]
    assert len(still.regions()) == 5 and {mark.region for mark in still.marks(found)} == set(range(5))


def test_the_sentence_names_the_network_and_what_is_drawn(still):
    still.set(gamma=0.0, epoch=60, trained=2.0, form="sigmoid", seed=1)
    assert still.sentence.startswith("Epoch 60, sigmoid, seed 1, trained with γ = 2. Share of the gradient at γ = 0: ")
    assert f"Gradient of an average image: {still.result.size[60]:.3g}. Rare" in still.sentence


def test_a_frame_draws_no_background_again(still):
    still._frame(still.values)
    before = still.surface.backgrounds
    for change in ({"epoch": 3}, {"epoch": 60}, {"gamma": 0.0}, {"gamma": 5.0}, {"trained": 5.0}):
        still._frame({**still.values, **change})
    assert still.surface.backgrounds == before


def test_it_drives(still):
    assert still.drive() == [] and still.error is None


def test_it_comes_back_from_its_state_and_from_its_code(still):
    still.set(gamma=1.5, epoch=30, trained=2.0)
    again = GradientRiver.from_state(still.state)
    assert again.values == still.values and again.picture() == still.picture()
    again.close()
    assert still.as_code() == ("lt.explore.gradient_river(gamma=1.5, epoch=30, trained=2.0, form='softmax', seed=0)")
    copy = eval(still.as_code(), {"lt": lt})
    assert copy.sentence == still.sentence
    copy.close()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("gamma", -0.1), ("gamma", 5.1), ("gamma", np.nan), ("gamma", "2"), ("gamma", True), ("epoch", 61),
        ("epoch", -1), ("epoch", 2.5), ("epoch", None), ("trained", 1.0), ("trained", "2"), ("form", "tanh"),
        ("form", None), ("seed", 10), ("seed", -1), ("seed", 0.5),
    ],
)  # fmt: skip
def test_the_explorer_refuses(name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        lt.explore.gradient_river(**{name: given})
