"""The batch desk: chances of pairs, mined pairs against a plain loop, the photographs, and the explorer on top."""

import itertools
from math import comb
from types import SimpleNamespace

import matplotlib.colors
import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz import metrics
from ltviz.explore.batch_desk import ALONE, DESK, FAR, MINOR, NEAR, PROFILE, BatchDesk
from ltviz.explore.screen import Click, Drag
from ltviz.training.network import Network


@pytest.fixture(autouse=True)
def close_all():
    """Each test leaves no explorer open."""
    yield
    for explorer in lt.explore.registry():
        explorer.close()


@pytest.fixture(scope="module")
def run():
    return lt.recorded("cifar16", "ce", seed=0)[0]


@pytest.fixture(scope="module")
def photographs():
    return lt.study.batch_photographs()


def batch(n=40, k=6, d=5, seed=0):
    """Logits, features and targets of a batch whose classes differ in size."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(k, n, p=np.arange(1, k + 1)[::-1] ** 2 / np.sum(np.arange(1, k + 1) ** 2))
    features = rng.normal(size=(n, d)) + 0.7 * rng.normal(size=(k, d))[targets]
    return rng.normal(size=(n, k)) + 1.5 * np.eye(k)[targets], features, targets


# --- chances ---------------------------------------------------------------------------------------------------------


def test_pair_chance_of_a_plain_epoch_is_that_of_every_batch():
    counts = [3, 2, 1]
    images = [j for j, n in enumerate(counts) for _ in range(n)]
    batches = list(itertools.combinations(range(6), 3))
    pairs = [np.mean([sum(images[i] == j for i in one) >= 2 for one in batches]) for j in range(3)]
    assert metrics.pair_chance(counts, 3) == pytest.approx(pairs)


def test_pair_chance_of_the_photographs(run):
    found = metrics.pair_chance(run.counts, 64)
    n, total = 20, 4958
    exact = 1 - (comb(total - n, 64) + n * comb(total - n, 63)) / comb(total, 64)
    assert found[-1] == pytest.approx(exact, abs=1e-12) and exact == pytest.approx(0.02684, abs=1e-5)
    assert found[0] == pytest.approx(1.0) and (np.diff(found) < 0).all()


def test_pair_chance_with_replacement_and_at_its_ends():
    found = metrics.pair_chance([5, 5, 1, 0], 4, [0.5, 0.25, 0.25, 0.0])
    exact = [1 - (1 - p) ** 4 - 4 * p * (1 - p) ** 3 for p in (0.5, 0.25, 0.25, 0.0)]
    assert found == pytest.approx(exact)
    assert metrics.pair_chance([5, 3, 1], 1) == pytest.approx(np.zeros(3), abs=1e-12)
    assert metrics.pair_chance([5, 3, 1], 9) == pytest.approx([1.0, 1.0, 0.0], abs=1e-12), "the whole set is one batch"
    assert metrics.pair_chance([2], 2) == pytest.approx([1.0])
    with pytest.raises(ValueError, match="^p=.*: expected"):
        metrics.pair_chance([5, 0], 2, [0.5, 0.5])  # a class without images is not drawn


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("batch_size", {"batch_size": 0}), ("batch_size", {"batch_size": 7}), ("batch_size", {"batch_size": 2.5}),
        ("batch_size", {"batch_size": True}), ("p", {"p": [0.5, 0.6]}), ("p", {"p": [1.0]}), ("p", {"p": [-1.0, 2.0]}),
        ("counts", {"counts": [1, -1]}), ("counts", {"counts": "many"}),
    ],
)  # fmt: skip
def test_pair_chance_refuses(name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        metrics.pair_chance(**{"counts": [4, 2], "batch_size": 2} | given)


# --- mining ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["class", "instance"])
@pytest.mark.parametrize("kappa", [1, 3, 60])
def test_mined_pairs_are_those_of_a_plain_loop(level, kappa):
    logits, features, targets = batch()
    found = metrics.mine(logits, features, targets, level=level, kappa=kappa)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    x = features / np.linalg.norm(features, axis=1, keepdims=True)
    sizes = np.bincount(targets, minlength=6)
    order = np.argsort(sizes, kind="stable")
    minority = {j for j, total in zip(order, np.cumsum(sizes[order]), strict=True) if total <= 20 and sizes[j] >= 2}
    assert found.sizes.tolist() == sizes.tolist() and set(np.flatnonzero(found.minority)) == minority and minority
    hinges, near, far = [], [], []
    for a in range(40):
        assert found.anchors[a] == (targets[a] in minority)
        if targets[a] not in minority:
            assert not found.has_positive[a].any() and not found.has_negative[a].any()
            continue
        c = targets[a]
        same = [i for i in range(40) if targets[i] == c and i != a]
        other = [i for i in range(40) if targets[i] != c]
        if level == "class":
            positives = sorted(same, key=lambda i: p[i, c])[:kappa]
            negatives = sorted(other, key=lambda i: -p[i, c])[:kappa]
            d_near = [abs(p[a, c] - p[i, c]) for i in positives]
            d_far = [p[a, c] - p[i, c] for i in negatives]
        else:
            gap = np.linalg.norm(x - x[a], axis=1)
            positives, negatives = (
                sorted(same, key=lambda i: -gap[i])[:kappa],
                sorted(other, key=lambda i: gap[i])[:kappa],
            )
            d_near, d_far = [gap[i] for i in positives], [gap[i] for i in negatives]
        assert found.positives[a][found.has_positive[a]].tolist() == positives
        assert found.negatives[a][found.has_negative[a]].tolist() == negatives
        assert found.triplets[a] == len(positives) * len(negatives)
        hinges += [0.5 + one - two for one in d_near for two in d_far]
        near, far = near + d_near, far + d_far
    assert np.sort(found.hinges(0.5)) == pytest.approx(np.sort(hinges), abs=1e-6)
    assert found.loss["relative"] == pytest.approx(np.mean(np.clip(hinges, 0, None)), abs=1e-6)
    absolute = 0.5 * (np.mean(np.square(near)) + np.mean(np.square(np.clip(0.5 - np.array(far), 0, None))))
    assert found.loss["absolute"] == pytest.approx(absolute, abs=1e-6)
    nearer = np.mean(np.array(far)[None] < np.array(near)[:, None])
    assert found.loss["distribution"] == pytest.approx(nearer, abs=0.03), "of a histogram with 100 nodes"
    assert found.h_near.sum() == pytest.approx(1.0) and found.h_far.sum() == pytest.approx(1.0)
    assert (found.h_near * found.h_far.cumsum()).sum() == pytest.approx(found.loss["distribution"])
    by_class = metrics.triplets_by_class(targets, 6, kappa=kappa)
    assert by_class.tolist() == [int(found.triplets[targets == j].sum()) for j in range(6)]


@pytest.mark.parametrize("level", ["class", "instance"])
def test_losses_are_those_that_the_method_trains_with(level):
    logits, features, targets = batch(seed=3)
    found = metrics.mine(logits, features, targets, level=level)
    counts = torch.from_numpy(np.bincount(targets, minlength=6))
    out = lt.objective.Output(torch.from_numpy(logits), torch.from_numpy(features), torch.zeros(6, 5))
    for comparison, value in found.loss.items():
        method = lt.METHODS["crl"](level=level, comparison=comparison).build(counts)
        assert float(method.rectification(out, torch.from_numpy(targets))[0]) == pytest.approx(value, abs=1e-6)


def test_a_batch_without_a_minority_gives_nothing():
    found = metrics.mine(np.zeros((4, 2)), np.eye(4), [0, 0, 0, 1], rho=0.2)
    assert not found.anchors.any() and found.triplets.sum() == 0 and len(found.hinges(0.5)) == 0
    assert set(found.loss.values()) == {0.0}
    assert metrics.triplets_by_class([0, 0, 0, 1], 3).tolist() == [0, 0, 0]


def test_triplets_by_class_by_hand():
    targets = [0] * 5 + [1] * 3 + [2] * 2 + [3]
    assert metrics.triplets_by_class(targets, 4).tolist() == [0, 0, 2 * 1 * 9, 0]
    assert metrics.triplets_by_class(targets, 4, rho=1.0, kappa=3).tolist() == [5 * 3 * 3, 3 * 2 * 3, 2 * 1 * 3, 0]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("level", {"level": "pixel"}), ("rho", {"rho": 1.1}), ("rho", {"rho": np.nan}), ("rho", {"rho": True}),
        ("kappa", {"kappa": 0}), ("kappa", {"kappa": 2.5}), ("margin", {"margin": -1}), ("bins", {"bins": 1}),
        ("targets", {"targets": [0, 1]}), ("targets", {"targets": [0, 1, 7]}), ("logits", {"logits": [1.0, 2.0]}),
        ("logits", {"logits": np.full((3, 2), np.nan)}), ("features", {"features": "x"}),
    ],
)  # fmt: skip
def test_mine_refuses(name, given):
    with pytest.raises(ValueError, match=f"^{name}"):
        metrics.mine(**{"logits": np.zeros((3, 2)), "features": np.ones((3, 2)), "targets": [0, 1, 1]} | given)


@pytest.mark.parametrize(
    ("name", "given"),
    [("targets", {"targets": []}), ("targets", {"targets": [5]}), ("k", {"k": 0}), ("rho", {"rho": "half"}),
     ("kappa", {"kappa": 0})],
)  # fmt: skip
def test_triplets_by_class_refuses(name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        metrics.triplets_by_class(**{"targets": [0, 1], "k": 2} | given)


def test_hinges_refuse_a_negative_margin():
    with pytest.raises(ValueError, match="^margin="):
        metrics.mine(*batch()).hinges(-0.5)


# --- the photographs -------------------------------------------------------------------------------------------------


def test_photographs_are_the_training_images_of_the_record(run, photographs):
    assert photographs.images.shape == (len(photographs.index), 16, 16, 3) and photographs.images.dtype == np.uint8
    _, features = Network(run, (3, 16, 16)).answer(photographs.images.copy())
    kept = run.train_features[photographs.index]
    assert np.abs(features - kept).max() < 5e-3 * np.abs(kept).max(), "the network sees in them what it saw"
    plain, even = photographs.batches["plain"], photographs.batches["class_balanced"]
    assert plain.shape == even.shape == (6, 64) and len(np.unique(plain)) == plain.size
    sizes = [np.bincount(run.train_targets[rows.ravel()], minlength=10) for rows in (plain, even)]
    assert sizes[0].max() > 100 and sizes[0].min() < 5 and sizes[1].min() > 20 and sizes[1].max() < 60


def test_batches_are_the_first_that_the_samplers_draw(run, photographs):
    from tools.batch_photographs import DRAWN, first_batches

    targets = torch.from_numpy(run.train_targets)
    for name, sampler in DRAWN.items():
        assert (first_batches(targets, sampler, 64, 0) == photographs.batches[name]).all()


def test_photographs_by_number(photographs):
    few = photographs.index[[5, 0, 5]]
    assert (photographs.of(few) == photographs.images[[5, 0, 5]]).all()
    missing = next(i for i in range(5000) if i not in photographs.index)
    with pytest.raises(ValueError, match=f"^numbers={missing}: expected"):
        photographs.of(np.array([missing]))
    with pytest.raises(ValueError, match="^numbers="):
        photographs.of(["first"])


def test_a_sheet_is_cut_as_it_was_laid():
    from ltviz.study.photographs import ACROSS
    from tools.batch_photographs import sheet

    images = np.random.default_rng(0).integers(0, 255, (ACROSS + 3, 4, 4, 3), dtype=np.uint8)
    laid = sheet(images)
    assert laid.shape == (8, 4 * ACROSS, 3) and (laid[4:, 8:12] == images[ACROSS + 2]).all()


# --- the explorer ----------------------------------------------------------------------------------------------------


def test_what_is_drawn_is_what_is_mined(run, photographs):
    explorer = lt.explore.batch_desk(run, photographs)
    result, numbers = explorer.result, photographs.batches["plain"][0]
    assert sorted(result.numbers) == sorted(numbers)
    sizes = np.bincount(run.train_targets[numbers], minlength=10)
    assert sizes.tolist() == [26, 15, 5, 5, 8, 3, 1, 0, 0, 1]
    assert (np.diff(sizes[result.targets]) >= 0).all(), "the smallest class first"
    of_profile = [j for j in result.ascending if sizes[j]]
    assert list(dict.fromkeys(result.targets.tolist())) == of_profile, "pictures and profile in one order"
    assert result.mined.triplets[result.picture] == result.mined.triplets.max() == 9, "picture None"
    assert {run.class_names[j] for j in np.flatnonzero(result.mined.minority)} == {"dog", "automobile", "deer", "truck"}
    colours = explorer.frames.get_colors()
    hexes = [matplotlib.colors.to_hex(one) if one[3] else "none" for one in colours]
    assert [hexes[i] for i in result.positives] == [NEAR.lower()] * 3
    assert [hexes[i] for i in result.negatives] == [FAR.lower()] * 3
    taken = {*result.positives, *result.negatives, result.picture}
    for i, j in enumerate(result.targets):
        if i not in taken:
            expected = MINOR if result.mined.minority[j] else ALONE if sizes[j] == 1 else "none"
            assert hexes[i] == expected.lower()
    shown = explorer.pictures.get_array()[:16, :16, :3]
    assert (shown == photographs.of(result.numbers[:1])[0]).all()
    assert [len(links.get_segments()) for links in explorer.links] == [3, 3]
    assert "21 anchors, 180 triplets with κ = 3 at class level" in explorer.sentence
    for side, places in (("positives", result.positives), ("negatives", result.negatives)):
        first, second, third = places + 1
        assert f"hard {side} {first}, {second} and {third}" in explorer.sentence, "for readers who do not see the lines"
    assert [text.get_text() for text in explorer.comparisons.values] == [
        f"{value:.3f}" for value in result.mined.loss.values()
    ]


def test_the_profile_and_its_line(run, photographs):
    explorer = lt.explore.batch_desk(run, photographs, rho=0.25)
    result = explorer.result
    sizes = result.mined.sizes[result.ascending]
    assert [round(64 * bar.get_width()) for bar in explorer.bars] == sizes.tolist()
    assert [round(64 * bar.get_x()) for bar in explorer.bars] == [0, *np.cumsum(sizes)[:-1]]
    (handle,) = explorer.screen.frame.handles
    assert (handle.name, handle.x, handle.axis, handle.region) == ("rho", 0.25, "x", PROFILE)
    assert handle.label == "ρ", "one name for the line and for its slider"
    before = result.mined.anchors.sum()
    explorer.dragged(Drag("rho", 0.801, 3.0, True))
    assert explorer.values["rho"] == 0.8 and explorer.result.mined.anchors.sum() > before
    assert list(explorer.limit.get_xdata()) == [0.8, 0.8]


def test_a_click_chooses_a_picture(run, photographs):
    explorer = lt.explore.batch_desk(run, photographs)
    explorer._clicked(Click(2.1, 5.9, DESK, None))
    assert explorer.values["picture"] == 6 * 8 + 2 + 1
    explorer._clicked(Click(0.0, 0.0, PROFILE, None))
    assert explorer.values["picture"] == 51
    explorer._clicked(Click(0.0, 0.0, DESK, None))
    assert "Picture 1 (airplane" in explorer.sentence and "is no anchor" in explorer.sentence
    assert [len(links.get_segments()) for links in explorer.links] == [0, 0]
    points = [point for point in explorer.screen.frame.points if point.region == DESK]
    assert len(points) == 64 and points[0].text.startswith("1: airplane, p = ")


def test_class_balanced_batches_have_pairs_of_every_size(run, photographs):
    explorer = lt.explore.batch_desk(run, photographs, composition="class_balanced")
    assert explorer.result.mined.sizes.min() >= 2 and explorer.result.mined.minority.sum() >= 4
    explorer.set(rho=0.0)
    assert "no minority class has a pair" in explorer.sentence
    assert [text.get_text() for text in explorer.comparisons.values] == ["–"] * 3


def test_controls_at_their_ends_and_the_background_that_rests(run, photographs):
    explorer = lt.explore.batch_desk(run, photographs)
    assert list(explorer.controls) == ["rho", "level", "batch", "kappa", "composition", "picture"]
    in_sight = [one.name for one in explorer.controls.values() if one.widget in explorer.column.first.children]
    assert in_sight == ["rho", "level", "batch"], "what the text asks a reader to move"
    assert explorer.drive() == [] and explorer.error is None
    drawn = explorer.surface.backgrounds
    for name, value in (("rho", 0.7), ("kappa", 9), ("level", "instance"), ("picture", 60)):
        explorer.set(**{name: value})
    assert explorer.surface.backgrounds == drawn, "only another batch draws the photographs anew"
    assert len(explorer.screen.frame.photos) == 64


def test_state_and_code_give_the_same_picture_again(run, photographs):
    explorer = lt.explore.batch_desk(run, photographs, rho=0.6, kappa=2, level="instance", batch=3, picture=50)
    again = BatchDesk.from_state(explorer.state, run, photographs)
    assert again.sentence == explorer.sentence and again.picture() == explorer.picture()
    names = {"lt": lt, "run": run, "photographs": photographs}
    code = explorer.as_code()
    assert "rho=0.6, level='instance', batch=3, kappa=2, composition='plain', picture=50)" in code
    assert eval(code, names).sentence == explorer.sentence


def test_of_many_hard_pictures_the_first_are_named(run, photographs):
    explorer = lt.explore.batch_desk(run, photographs, kappa=20)
    found = explorer.result.negatives + 1
    assert len(found) == 20
    assert f"hard negatives {', '.join(map(str, found[:5]))} and 15 more." in explorer.sentence
    alone = lt.explore.batch_desk(run, photographs, kappa=1)
    assert f"hard positives {alone.result.positives[0] + 1}, hard negatives" in alone.sentence


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("rho", -0.1), ("rho", 1.5), ("rho", np.nan), ("rho", "half"), ("rho", True), ("kappa", 0), ("kappa", 21),
        ("kappa", 2.5), ("level", "pixel"), ("level", 1), ("composition", "odd"), ("batch", 0), ("batch", 7),
        ("batch", 1.5), ("picture", 0), ("picture", 65), ("picture", "first"),
    ],
)  # fmt: skip
def test_the_explorer_refuses(run, photographs, name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        lt.explore.batch_desk(run, photographs, **{name: given})


def test_the_explorer_refuses_other_runs_and_pictures(run, photographs):
    with pytest.raises(ValueError, match="^run=.*: expected"):
        lt.explore.batch_desk("ce", photographs)
    with pytest.raises(ValueError, match="keeps no features of training images"):
        lt.explore.batch_desk(lt.recorded("cifar16", "ce", seed=1)[0], photographs)
    answers = lt.from_predictions([0, 1], [[0, 5.0], [5.0, 0]], counts=[9, 5], features=[[1.0], [2.0]])
    for call in (lambda: lt.explore.batch_desk(answers, photographs), lambda: answers.posthoc("ncm")):
        with pytest.raises(ValueError, match=r"keeps no features of training .*lt.collect\(..., training="):
            call()
    with pytest.raises(TypeError, match="photographs"):
        lt.explore.batch_desk(run)
    of = photographs.of
    for batches in (None, {}, {"a": [[1, 2]]}, {"a": np.array([[0, 9999]])}, {"a": np.array([[-1, 3]])}):
        with pytest.raises(ValueError, match="^photographs.*: expected"):
            lt.explore.batch_desk(run, SimpleNamespace(of=of, batches=batches))
    with pytest.raises(ValueError, match="^photographs=.*: expected"):
        lt.explore.batch_desk(run, lt.study.photographs())
