"""Samplers: how often each class comes, against theory; how long an epoch is; and that nothing else is drawn from."""

import math

import numpy as np
import pytest
import torch

from ltviz.check import MOST_CLASSES
from ltviz.samplers import (
    SAMPLERS,
    draw,
    images_per_class,
    instance,
    oversample,
    power_probability,
    progressive,
    sampler,
    split,
    square_root,
    undersample,
)

COUNTS = torch.tensor([60, 25, 10, 5])
MIXED = torch.randperm(100, generator=torch.Generator().manual_seed(9))
TARGETS = torch.repeat_interleave(torch.arange(4), COUNTS)[MIXED]
PRIOR, BALANCED = COUNTS / COUNTS.sum(), torch.full((4,), 0.25)
ROOT = COUNTS.sqrt() / COUNTS.sqrt().sum()


def epoch(sampler, progress=0.0, targets=TARGETS, batch_size=16, seed=0):
    return sampler(targets, batch_size, progress, torch.Generator().manual_seed(seed))


def frequencies(name, progress=0.0, epochs=200):
    """Share of each class over many epochs."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.cat(SAMPLERS[name](TARGETS, 16, progress, generator)) for _ in range(epochs)]
    return images_per_class(TARGETS[torch.cat(drawn)], 4) / (epochs * len(TARGETS))


@pytest.mark.parametrize(
    "name, progress, expected",
    [
        ("instance", 0.5, PRIOR),
        ("class_balanced", 0.5, BALANCED),
        ("square_root", 0.5, ROOT),
        ("progressive", 0.0, PRIOR),
        ("progressive", 1.0, BALANCED),
        ("progressive", 0.3, 0.7 * PRIOR + 0.3 * BALANCED),
        ("undersample", 0.5, BALANCED),
        ("oversample", 0.5, BALANCED),
    ],
)
def test_class_frequencies_are_those_of_theory(name, progress, expected):
    share = frequencies(name, progress)
    error = (expected * (1 - expected) / 20_000).sqrt()  # of a share among 20,000 draws
    assert ((share - expected).abs() <= 4.5 * error).all(), f"{share.tolist()} instead of {expected.tolist()}"


@pytest.mark.parametrize("name", SAMPLERS)
def test_images_of_a_class_are_drawn_alike(name):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([torch.cat(SAMPLERS[name](TARGETS, 16, 0.5, generator)) for _ in range(300)])
    times = images_per_class(drawn, 100).to(torch.float64)
    for j in range(4):
        own = times[TARGETS == j]
        assert own.min() > 0.6 * own.mean() and own.max() < 1.4 * own.mean()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "n, batch_size, steps", [(100, 16, 7), (97, 16, 6), (96, 16, 6), (16, 16, 1), (15, 16, 1), (2, 1, 1)]
)
def test_every_sampler_has_the_same_number_of_steps(name, n, batch_size, steps):
    batches = epoch(SAMPLERS[name], 0.5, TARGETS[:n], batch_size)
    assert len(batches) == steps
    assert sum(map(len, batches)) == n
    if n == 97:
        assert len(batches[-1]) == 17
    index = torch.cat(batches)
    assert index.dtype == torch.int64 and index.min() >= 0 and index.max() < n


def test_a_last_batch_of_one_joins_the_one_before():
    assert [len(b) for b in split(torch.arange(9), 4)] == [4, 5]
    assert [len(b) for b in split(torch.arange(10), 4)] == [4, 4, 2]
    assert [len(b) for b in split(torch.arange(1), 4)] == [1]


def test_instance_sampling_shows_every_image_once():
    assert torch.cat(epoch(instance)).sort().values.tolist() == list(range(100))


def test_undersampling_takes_fresh_balanced_subsets_without_replacement():
    index = torch.cat(epoch(undersample))
    for first in range(0, 100, 20):
        subset = index[first : first + 20]
        assert len(set(subset.tolist())) == 20
        assert images_per_class(TARGETS[subset], 4).tolist() == [5, 5, 5, 5]
    heads = [set(index[i : i + 20][TARGETS[index[i : i + 20]] == 0].tolist()) for i in range(0, 100, 20)]
    assert len(set.union(*heads)) > 15, "one subset is used again and again"


def test_every_pass_of_undersampling_is_in_mixed_order():
    """No class comes sooner or later in a pass than another, so that a cut pass cuts no class first."""
    generator, places, last = torch.Generator().manual_seed(0), torch.zeros(4), torch.zeros(4)
    targets, epochs = TARGETS[:97], 400  # four whole passes of 20 or less, and a cut one
    smallest = int(images_per_class(targets).min())
    size = 4 * smallest
    for _ in range(epochs):
        classes = targets[torch.cat(undersample(targets, 16, 0.0, generator))]
        assert len(classes) == 97
        for first in range(0, 97 - size, size):
            one = classes[first : first + size]
            assert images_per_class(one, 4).tolist() == [smallest] * 4
            places += torch.stack([(one == j).nonzero().float().mean() for j in range(4)])
        last += images_per_class(classes[97 - 97 % size :], 4)
    mean = places / (epochs * (97 // size))
    assert (mean - (size - 1) / 2).abs().max() < 0.4, f"mean places {mean.tolist()} in a pass of {size}"
    share = last / last.sum()
    assert (share - 0.25).abs().max() < 0.03, f"of the cut pass, the classes have {share.tolist()}"


def test_batches_of_undersampling_hold_every_class():
    tail = torch.tensor([0] * 2000 + [1] * 500 + [2] * 64)
    batches = undersample(tail, 64, 0.0, torch.Generator().manual_seed(0))
    assert all(images_per_class(tail[batch], 3).min() >= 8 for batch in batches[:-1]), "21 of each are expected"


def test_oversampling_repeats_no_image_before_its_class_is_used_up():
    drawn = oversample(TARGETS, 1000, 0.0, torch.Generator().manual_seed(0))
    assert len(drawn) == 1
    times = images_per_class(drawn[0], 100)
    for j, n in enumerate(COUNTS.tolist()):
        assert times[TARGETS == j].max() <= math.ceil(60 / n)


def test_oversampled_classes_are_in_mixed_order():
    first = TARGETS[torch.cat(epoch(oversample))[:25]]
    assert len(first.unique()) == 4


def test_progressive_sampling_clamps_its_progress():
    for progress, same in ((-1.0, 0.0), (2.0, 1.0)):
        a, b = (torch.cat(epoch(progressive, p)) for p in (progress, same))
        assert torch.equal(a, b)


def test_power_probability():
    assert power_probability(torch.tensor([8, 2, 0]), 1.0).tolist() == pytest.approx([0.8, 0.2, 0.0])
    assert power_probability(torch.tensor([8, 2, 0]), 0.0).tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert power_probability(torch.tensor([9, 1]), 0.5).tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_class_without_images_and_a_single_class(name):
    with_gap = torch.tensor([0] * 8 + [2] * 4)
    index = torch.cat(epoch(SAMPLERS[name], 0.5, with_gap, 4))
    assert set(with_gap[index].tolist()) == {0, 2}
    alone = torch.cat(epoch(SAMPLERS[name], 0.5, torch.zeros(6, dtype=torch.int64), 4))
    assert len(alone) == 6


@pytest.mark.parametrize("name", SAMPLERS)
def test_only_its_own_generator_is_drawn_from(name):
    before = torch.random.get_rng_state()
    first = torch.cat(epoch(SAMPLERS[name], 0.5, seed=4))
    torch.rand(7)
    second = torch.cat(epoch(SAMPLERS[name], 0.5, seed=4))
    other = torch.cat(epoch(SAMPLERS[name], 0.5, seed=5))
    assert torch.equal(first, second) and not torch.equal(first, other)
    torch.random.set_rng_state(before)
    epoch(SAMPLERS[name], 0.5)
    assert torch.equal(before, torch.random.get_rng_state())


def test_square_root_lies_between_the_prior_and_balance():
    assert PRIOR[0] > ROOT[0] > BALANCED[0] and PRIOR[3] < ROOT[3] < BALANCED[3]
    assert square_root is SAMPLERS["square_root"]


def refuses(function):
    right = dict(targets=TARGETS, batch_size=16, progress=0.5, generator=torch.Generator())
    wrong = {
        "targets": (None, [0, 1], TARGETS.float(), TARGETS[:, None], TARGETS[:0], TARGETS - 1, torch.tensor(3)),
        "batch_size": (0, -1, 2.5, True, "3", None, float("nan")),
        "progress": (None, "1", True, float("nan"), torch.ones(2)),
        "generator": (None, 3, torch.random),
    }
    expected = {"targets": "an int64 tensor|classes numbered", "batch_size": "a whole number", "progress": "a number",
                "generator": "a torch.Generator, on the device of the targets"}  # fmt: skip
    for argument, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=f"^{argument}[=:].*expected ({expected[argument]})"):
                function(**(right | {argument: value}))


@pytest.mark.parametrize("name", SAMPLERS)
def test_wrong_arguments(name):
    refuses(SAMPLERS[name])


def test_a_sampler_is_entered_under_its_name_and_gets_what_it_was_given(monkeypatch):
    monkeypatch.setitem(SAMPLERS, "toy", None)  # gone after the test

    @sampler
    def toy(targets, batch_size, progress, generator):
        """A toy."""
        return [targets, batch_size, progress, generator]

    assert SAMPLERS["toy"] is toy and toy.__name__ == "toy" and toy.__doc__ == "A toy."
    generator = torch.Generator()
    for batch_size, progress in ((1, 0), (np.int64(7), np.float32(0.5))):
        found = toy(TARGETS, batch_size, progress, generator)
        assert found == [TARGETS, batch_size, progress, generator] and found[0] is TARGETS
        assert [type(one) for one in found[1:3]] == [int, float]
    refuses(toy)


@pytest.mark.parametrize("name", SAMPLERS)
def test_indices_are_where_the_targets_are(name):
    """Whatever torch makes new tensors on."""
    expected = torch.cat(epoch(SAMPLERS[name], 0.5))
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        found = SAMPLERS[name](TARGETS, 16, 0.5, generator)
    assert torch.equal(torch.cat(found), expected)


def test_wrong_arguments_of_the_parts():
    with pytest.raises(ValueError, match="^q='1'"):
        power_probability(COUNTS, "1")
    with pytest.raises(ValueError, match="^counts=.*expected images of each class"):
        power_probability([3, 1], 0.5)
    with pytest.raises(ValueError, match="^class_probability=.*one probability for each of 4 classes"):
        draw(TARGETS, torch.ones(2), torch.Generator())
    with pytest.raises(ValueError, match="^batch_size=0: expected a whole number of at least 1"):
        split(torch.arange(4), 0)


NO_CLASSES = (None, [0, 1], TARGETS.numpy(), TARGETS.float(), TARGETS.int(), TARGETS > 0, TARGETS[:, None],
              torch.tensor(3), TARGETS[:0], TARGETS - 1, TARGETS + 2**15)  # fmt: skip
THREE, RANDOM = torch.tensor([0, 1, 1]), torch.Generator()
PARTS = [
    (split, {"order": TARGETS, "batch_size": 16}, {
        "order": (*NO_CLASSES[:9], list(range(4))), "batch_size": (0, True, 2.5, "3", None)}),
    (images_per_class, {"targets": TARGETS, "k": None}, {
        "targets": NO_CLASSES, "k": (0, -1, True, 2.5, "3", float("nan"), 2, 3, 10**9)}),
    (draw, {"targets": THREE, "class_probability": torch.ones(2), "generator": RANDOM}, {
        "targets": NO_CLASSES,
        "class_probability": (None, [0.5, 0.5], 1.0, torch.ones(1), torch.ones(2, 1), torch.ones(2).long(),
                              torch.ones(2) > 0, torch.tensor([1.0, -0.1]), torch.tensor([1.0, float("nan")]),
                              torch.tensor([1.0, float("inf")]), torch.zeros(2), torch.tensor([0.0, 0.0, 1.0]),
                              torch.ones(2, device="meta")),
        "generator": (None, 3, torch.random)}),
    (power_probability, {"counts": COUNTS, "q": 0.5}, {
        "counts": (None, [3, 1], 3, COUNTS > 0, COUNTS[:, None], COUNTS[:0], -COUNTS, 0 * COUNTS,
                   COUNTS * float("nan"), COUNTS * float("inf")),
        "q": (None, "1", True, float("nan"), float("inf"), 17, -17, torch.ones(2))}),
]  # fmt: skip


@pytest.mark.parametrize("call, right, wrong", PARTS, ids=[call.__name__ for call, *_ in PARTS])
def test_a_wrong_argument_of_a_part_is_refused_by_name(call, right, wrong):
    call(**right)
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=f"^{name}[=:].*(expected (?!None)|it is on)"):
                call(**{**right, name: value})


def test_counts_of_no_images_and_of_numpys_numbers():
    assert images_per_class(TARGETS[:0], 3).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"^targets=.*expected an int64 tensor \(n,\)"):
        images_per_class(torch.zeros((0, 2), dtype=torch.int64), 3)
    for k in (None, MOST_CLASSES):
        assert len(images_per_class(torch.tensor([MOST_CLASSES - 1]), k)) == MOST_CLASSES
        with pytest.raises(ValueError, match=f"^targets: .*got {MOST_CLASSES}$"):
            images_per_class(torch.tensor([MOST_CLASSES]), k)
    assert images_per_class(THREE, np.int64(3)).tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="^k=1: expected at least 2, as the targets hold class 1$"):
        images_per_class(THREE, 1)
    assert power_probability(torch.tensor([10**12, 1]), 16).tolist() == pytest.approx([1.0, 0.0])
    assert power_probability(torch.tensor([4, 1, 0]), -1.0).tolist() == pytest.approx([0.2, 0.8, 0.0])


def test_a_class_of_one_image_is_drawn_as_often_as_any():
    """Exactly: each image's share is its class's, divided by the images of the class."""
    targets = torch.tensor([0, 0, 0, 0, 1])
    index = torch.cat([draw(targets, torch.tensor([0.5, 0.5]), torch.Generator().manual_seed(s)) for s in range(2000)])
    share = images_per_class(index, 5) / len(index)
    assert (share - torch.tensor([0.125] * 4 + [0.5])).abs().max() < 0.02


def test_the_last_classes_may_have_no_image():
    targets = torch.tensor([0, 0, 1])
    index = draw(targets, torch.tensor([0.5, 0.5, 0.0]), torch.Generator().manual_seed(0))
    assert len(index) == 3 and images_per_class(targets, 4).tolist() == [2, 1, 0, 0]


def test_an_epoch_draws_what_it_needs_and_no_more():
    """One pass over two classes of two fills this epoch: one draw of the order, one of the mix."""
    generator, other = (torch.Generator().manual_seed(0) for _ in range(2))
    undersample(torch.tensor([0, 0, 1, 1]), 4, 0.0, generator)
    for _ in range(2):
        torch.randperm(4, generator=other)
    assert torch.equal(generator.get_state(), other.get_state())
