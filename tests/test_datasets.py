"""Data: counts to the unit, subsets by seed, splits that never move, crops equal to PIL's, files that are damaged."""

import dataclasses
import hashlib
import io
import json
import math
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from ltviz.datasets import cifar, cifar_lt, digits_lt, folder_lt, load, profile_counts, sources
from ltviz.datasets.augment import crop_flip, draw_crops, normalise, pad_black
from ltviz.datasets.longtailed import cut

CIFAR10 = {
    200: "5000 2775 1540 854 474 263 146 81 45 25",
    100: "5000 2997 1796 1077 645 387 232 139 83 50",
    50: "5000 3237 2096 1357 878 568 368 238 154 100",
    20: "5000 3584 2569 1842 1320 946 678 486 348 250",
    10: "5000 3871 2997 2320 1796 1391 1077 834 645 500",
}
CIFAR100 = {
    200: "500 473 449 425 403 382 362 343 325 308 292 277 263 249 236 224 212 201 190 180 171 162 154 146 138 131 124 "
    "117 111 105 100 95 90 85 81 76 72 69 65 62 58 55 52 50 47 44 42 40 38 36 34 32 30 29 27 26 24 23 22 21 20 19 "
    "18 17 16 15 14 13 13 12 11 11 10 10 9 9 8 8 7 7 6 6 6 5 5 5 5 4 4 4 4 3 3 3 3 3 2 2 2 2",
    100: "500 477 455 434 415 396 378 361 344 328 314 299 286 273 260 248 237 226 216 206 197 188 179 171 163 156 149 "
    "142 135 129 123 118 112 107 102 98 93 89 85 81 77 74 70 67 64 61 58 56 53 51 48 46 44 42 40 38 36 35 33 32 "
    "30 29 27 26 25 24 23 22 21 20 19 18 17 16 15 15 14 13 13 12 12 11 11 10 10 9 9 8 8 7 7 7 6 6 6 6 5 5 5 5",
    50: "500 480 462 444 426 410 394 379 364 350 336 323 311 299 287 276 265 255 245 235 226 218 209 201 193 186 178 "
    "172 165 158 152 146 141 135 130 125 120 115 111 107 102 98 95 91 87 84 81 78 75 72 69 66 64 61 59 56 54 52 "
    "50 48 46 44 43 41 39 38 36 35 34 32 31 30 29 27 26 25 24 23 22 22 21 20 19 18 18 17 16 16 15 14 14 13 13 12 "
    "12 11 11 10 10 10",
    20: "500 485 470 456 442 429 416 404 392 380 369 358 347 337 327 317 308 298 290 281 272 264 256 249 241 234 227 "
    "220 214 207 201 195 189 184 178 173 168 163 158 153 149 144 140 136 132 128 124 120 116 113 110 106 103 100 "
    "97 94 91 89 86 83 81 78 76 74 72 69 67 65 63 61 60 58 56 54 53 51 50 48 47 45 44 43 41 40 39 38 37 35 34 33 "
    "32 31 30 29 29 28 27 26 25 25",
    10: "500 488 477 466 455 445 434 424 415 405 396 387 378 369 361 352 344 336 328 321 314 306 299 292 286 279 273 "
    "266 260 254 248 243 237 232 226 221 216 211 206 201 197 192 188 183 179 175 171 167 163 159 156 152 149 145 "
    "142 139 135 132 129 126 123 121 118 115 112 110 107 105 102 100 98 95 93 91 89 87 85 83 81 79 77 75 74 72 70 "
    "69 67 66 64 63 61 60 58 57 56 54 53 52 51 50",
}


@pytest.fixture(autouse=True)
def elsewhere(request, monkeypatch, tmp_path_factory):
    """Downloads and caches of a test land in a folder of its own, and nobody's LTVIZ_DATA leaks in."""
    if not request.node.get_closest_marker("realdata"):
        folder = tmp_path_factory.mktemp("own")
        monkeypatch.delenv("LTVIZ_DATA", raising=False)
        monkeypatch.setenv("LTVIZ_CACHE", str(folder / "cache"))
        monkeypatch.setattr(sources, "own_folder", lambda: folder)


# ---------------------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize("n_max, table", [(5000, CIFAR10), (500, CIFAR100)])
def test_exponential_counts_of_the_papers(n_max, table):
    for ratio, text in table.items():
        counts = [int(n) for n in text.split()]
        assert profile_counts(n_max, len(counts), ratio) == counts


def test_totals_that_papers_quote():
    quoted = {
        (5000, 10, 200): 11203,
        (500, 100, 200): 9502,
        (5000, 10, 100): 12406,
        (5000, 10, 50): 13996,
        (500, 100, 100): 10847,
        (500, 100, 50): 12608,
        (4750, 10, 100): 11785,
        (475, 100, 100): 10302,
    }
    assert {key: sum(profile_counts(*key)) for key in quoted} == quoted


def test_step_and_pareto():
    assert profile_counts(5000, 10, 100, "step") == [5000] * 5 + [50] * 5
    assert profile_counts(500, 100, 100, "step") == [500] * 50 + [5] * 50
    assert profile_counts(90, 3, 9, "step") == [90, 10, 10]
    for n_max, k, ratio in [(5000, 10, 100), (1280, 1000, 256), (49, 5, 49)]:
        pareto, exp = profile_counts(n_max, k, ratio, "pareto"), profile_counts(n_max, k, ratio)
        assert pareto[0] == n_max and pareto[-1] == int(n_max / ratio) and pareto == sorted(pareto, reverse=True)
        assert all(p <= e for p, e in zip(pareto[:-1], exp[:-1], strict=True)) and sum(pareto) < sum(exp)
    # ratio 128 = 2^7 puts x on 1 .. 2, where log n falls by 7 per log x.
    n, x = np.array(profile_counts(10**9, 50, 128, "pareto")), np.linspace(1, 2, 50)
    assert np.allclose(np.diff(np.log(n)) / np.diff(np.log(x)), -7, atol=1e-4)


@pytest.mark.parametrize("profile", ["exp", "step", "pareto"])
def test_ratio_one_is_balanced(profile):
    assert profile_counts(30, 7, 1, profile) == [30] * 7
    assert profile_counts(30, 1, 5, profile)[0] == 30


def whole_part(n_max, ratio, i, steps):
    """The whole part of n_max * ratio^(-i / steps), by bisection over whole numbers only."""
    low, high = 0, n_max + 1
    while high - low > 1:
        middle = (low + high) // 2
        fits = middle**steps * ratio.numerator**i <= n_max**steps * ratio.denominator**i
        low, high = (middle, high) if fits else (low, middle)
    return low


def test_counts_are_exact_where_floats_are_not():
    draw, seen = random.Random(5), 0
    for _ in range(400):
        smallest, k, root = draw.randint(1, 60), draw.randint(2, 12), Fraction(draw.randint(2, 12), draw.randint(1, 2))
        ratio = draw.choice([draw.randint(1, 300), root ** (k - 1), root**2, Fraction(100, 3), Fraction(23, 10)])
        ratio = Fraction(ratio)
        if not 1 <= ratio < 10**6:
            continue
        n_max = smallest * ratio.numerator
        for given in {float(ratio), ratio.numerator if ratio.denominator == 1 else float(ratio)}:
            exact = [whole_part(n_max, ratio, i, k - 1) for i in range(k)]
            assert profile_counts(n_max, k, given) == exact
            assert exact[-1] == smallest * ratio.denominator
            step = profile_counts(n_max, k, given, "step")
            assert step == [n_max] * (k // 2) + exact[-1:] * (k - k // 2)
            pareto = profile_counts(n_max, k, given, "pareto")
            assert pareto[0] == n_max and pareto[-1] == exact[-1] and pareto == sorted(pareto, reverse=True)
        seen += any(m**2 == n_max * exact[-1] for m in exact[1:-1])
    assert seen > 10, "whole numbers inside the profile came up as well"


def test_whole_numbers_inside_a_profile():
    assert digits_lt(ratio=49, n_max=98).counts.tolist()[-1] == 2  # 98 * (1 / 49) is 1.9999999999999998
    assert profile_counts(100, 4, 100 / 3)[-1] == 3 and profile_counts(23, 2, 2.3) == [23, 10]
    assert profile_counts(1000, 4, 1000) == [1000, 100, 10, 1]
    assert profile_counts(3**9, 10, 3**9) == [3**i for i in range(9, -1, -1)]
    # At ratio 128 = 2^7, x is 1, 4/3, 5/3, 2: n_max * (3/4)^7, n_max * (3/5)^7.
    assert profile_counts(20**7, 4, 128, "pareto") == [20**7, 15**7, 12**7, 10**7]


# ---------------------------------------------------------------------------------------------------------- cutting


def numbered(per_class, shape=(1, 1)):
    """Images that carry their own row number in their first pixel, and labels that come mixed."""
    labels = np.random.RandomState(7).permutation(np.repeat(np.arange(len(per_class)), per_class)).astype(np.int64)
    images = np.zeros((len(labels), *shape, 3), np.uint8)
    rows = np.arange(len(labels))
    for channel in range(3):
        images[:, 0, 0, channel] = rows >> (8 * channel) & 255
    return images, labels


def rows_of(images):
    return (images[:, 0, 0].long() @ torch.tensor([1, 256, 65536])).tolist()


def tail_of(per_class, test_per_class=2, order=None, **settings):
    k = len(per_class)
    full = numbered(per_class)
    given = dict(ratio=100, n_max=None, profile="exp", seed=0, validation=0)
    return full, cut(
        "numbers",
        full,
        numbered([test_per_class] * k),
        [f"c{i}" for i in range(k)],
        order=np.arange(k) if order is None else np.asarray(order),
        mean=[0.5] * 3,
        std=[0.25] * 3,
        pad=0,
        flip=False,
        recipe="digits",
        spec={},
        **(given | settings),
    )


@pytest.mark.parametrize(
    "k, n, validation, total",
    [(10, 5000, 0, 12406), (10, 5000, 250, 11785), (100, 500, 0, 10847), (100, 500, 25, 10302)],
)
def test_validation_is_held_out_before_the_tail_is_cut(k, n, validation, total):
    (_, labels), data = tail_of([n] * k, validation=validation)
    assert len(data) == len(data.targets) == int(data.counts.sum()) == total
    assert data.counts.tolist() == profile_counts(n - validation, k, 100)
    assert torch.equal(torch.bincount(data.targets, minlength=k), data.counts)
    train, val = rows_of(data.images), rows_of(data.val_images)
    assert len(set(train)) == total and not set(train) & set(val)
    assert torch.bincount(data.val_targets, minlength=k).tolist() == [validation] * k
    assert labels[train].tolist() == data.targets.tolist() and labels[val].tolist() == data.val_targets.tolist()
    _, other = tail_of([n] * k, validation=validation, ratio=10, seed=3)
    assert rows_of(other.val_images) == val, "the same validation images for every seed and ratio"


def test_a_seed_fixes_the_subset_and_smaller_tails_are_nested():
    one, same, other = (set(rows_of(tail_of([200] * 5, seed=seed)[1].images)) for seed in (1, 1, 2))
    assert one == same != other
    more = set(rows_of(tail_of([200] * 5, seed=1, ratio=10)[1].images))
    assert one < more


def test_classes_are_relabelled_by_frequency():
    order = [3, 0, 4, 1, 2]
    (_, labels), data = tail_of([60] * 5, order=order, ratio=20, validation=4)
    assert data.class_names == ("c3", "c0", "c4", "c1", "c2")
    assert (data.counts.diff() < 0).all() and data.k == 5 and data.ratio == float(data.counts[0] / data.counts[-1])
    for images, targets in ((data.images, data.targets), (data.val_images, data.val_targets)):
        assert np.array(order)[targets].tolist() == labels[rows_of(images)].tolist()
    for targets in (data.val_targets, data.test_targets):  # the first part of a balanced set is balanced too
        assert sorted(targets[:5].tolist()) == list(range(5))


# ---------------------------------------------------------------------------------------------------------- digits


def test_digits_default():
    data = digits_lt()
    assert data.counts.tolist() == [114, 73, 47, 30, 20, 12, 8, 5, 3, 2] and data.counts.dtype == torch.int64
    assert "".join(data.class_names) == "6048579231" and data.name == "digits_lt" and data.recipe == "digits"
    assert data.shape == (1, 8, 8) and (data.pad, data.flip) == (0, False) and data.has_validation
    assert torch.bincount(data.test_targets).tolist() == [50] * 10
    assert torch.bincount(data.val_targets).tolist() == [10] * 10
    assert "114 to 2" in repr(data) and "digits_lt" in repr(data)


def test_digits_are_the_real_ones_and_no_image_is_in_two_parts():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    known = {image.astype(np.uint8).tobytes(): digit for image, digit in zip(bunch.images, bunch.target, strict=True)}
    data = digits_lt()
    seen = []
    for images, targets in (
        (data.images, data.targets),
        (data.val_images, data.val_targets),
        (data.test_images, data.test_targets),
    ):
        for image, target in zip(images, targets, strict=True):
            original = (image[..., 0] // 15).numpy().tobytes()
            assert str(known[original]) == data.class_names[target]
            seen.append(original)
    assert len(set(seen)) == len(seen) == 314 + 100 + 500


def test_digits_are_normalised_as_documented():
    data = digits_lt()
    x = data.images.permute(0, 3, 1, 2).double() / 15
    assert torch.allclose(data.batch(slice(None)).double(), (x / 16 - 0.3053) / 0.376, atol=1e-6)
    assert data.batch([0, 5]).shape == (2, 1, 8, 8)


def test_digits_by_seed():
    data = digits_lt(class_order="seed", seed=1)
    assert data.fingerprint == digits_lt(class_order="seed", seed=1).fingerprint
    assert digits_lt(class_order="seed", seed=6).class_names == digits_lt().class_names
    other = data.with_seed(2)
    assert other.spec == data.spec | {"seed": 2}
    assert other.fingerprint == digits_lt(class_order="seed", seed=2).fingerprint != data.fingerprint
    assert other.class_names != data.class_names and other.counts.tolist() == data.counts.tolist()
    # The test images are the same ones whatever the seed; only their numbers follow the class order.
    assert torch.equal(other.test_images, data.test_images) and torch.equal(other.val_images, data.val_images)
    names = [[d.class_names[t] for t in d.test_targets] for d in (data, other)]
    assert names[0] == names[1]
    fixed = digits_lt(seed=1).with_seed(2)
    assert fixed.class_names == digits_lt().class_names and not torch.equal(fixed.images, digits_lt(seed=1).images)


@pytest.mark.parametrize("order", [list("9876543210"), range(9, -1, -1), np.arange(9, -1, -1)])
def test_a_class_order_of_ones_own(order):
    data = digits_lt(class_order=order)
    assert "".join(data.class_names) == "9876543210"
    assert load(json.loads(json.dumps(data.spec))).fingerprint == data.fingerprint


def test_spec_survives_json_and_rebuilds():
    data = digits_lt(ratio=np.int64(20), seed=np.int64(3), profile="step", validation=0, test=60)
    assert not data.has_validation and data.val_batch().shape == (0, 1, 8, 8)
    again = load(json.loads(json.dumps(data.spec)))
    assert again.fingerprint == data.fingerprint and again.spec == data.spec


def test_one_spelling_of_every_argument(tmp_path):
    plain = digits_lt().spec
    assert plain == dict(
        loader="digits_lt", ratio=50, n_max=114, profile="exp", seed=0, class_order="fixed", validation=10, test=50
    )
    for same in (
        dict(ratio=50.0, n_max=np.int64(114)),
        dict(ratio=np.float32(50), seed=np.int32(0)),
        dict(class_order=list("6048579231")),
        dict(class_order=np.array([6, 0, 4, 8, 5, 7, 9, 2, 3, 1])),
        dict(validation=torch.tensor(10), test=np.uint8(50)),
    ):
        spec = digits_lt(**same).spec
        assert json.dumps(spec, sort_keys=True) == json.dumps(plain, sort_keys=True)
    assert digits_lt(class_order=range(10)).spec["class_order"] == "natural"
    assert digits_lt(class_order=list("9876543210")).spec["class_order"] == list(range(9, -1, -1))
    assert digits_lt(ratio=2.5).spec["ratio"] == 2.5
    write_folder(tmp_path / "own", [30, 40, 24])
    one, two = (
        folder_lt(root, ratio=5, size=size, n_max=n_max, pad=pad, validation=validation, flip=flip).spec
        for root, size, n_max, pad, validation, flip in (
            (tmp_path / "own", 16, None, None, 2, True),
            (f"{tmp_path}/own/", np.int64(16), 30, 2, 2.0, np.True_),
        )
    )
    assert json.dumps(one) == json.dumps(two) and one["pad"] == 2 and one["n_max"] == 30


@pytest.mark.parametrize(
    "settings, fingerprint",
    [
        ({}, "d19b50de7d3924f7"),
        (dict(class_order="seed"), "9bc0cdbced9b84f9"),
        (dict(class_order="seed", seed=3), "267099462a0ec9bf"),
    ],
)
def test_the_data_of_recorded_runs_stay_what_they_are(settings, fingerprint):
    assert digits_lt(**settings).fingerprint == fingerprint


def test_identity_holds_all_that_can_change_a_result():
    import dataclasses

    data = digits_lt()
    assert data.identity == dict(
        fingerprint=data.fingerprint,
        class_names=list("6048579231"),
        pad=0,
        flip=False,
        mean=data.mean.tolist(),
        std=data.std.tolist(),
    )
    assert json.loads(json.dumps(data.identity)) == data.identity
    for change in (
        dict(pad=1),
        dict(flip=True),
        dict(mean=data.mean + 0.1),
        dict(std=data.std * 2),
        dict(class_names=list("abcdefghij")),
    ):
        other = dataclasses.replace(data, **change)
        assert other.fingerprint == data.fingerprint and other.identity != data.identity


def test_edits_in_place_are_seen():
    data = colour().prepare()
    generator = torch.Generator().manual_seed(0)
    first, print_before = data.batch([0, 1], generator), data.fingerprint
    kept = data.padded(), data._normalised["images"]
    data.images.zero_()
    black = (-data.mean / data.std).view(1, 3, 1, 1)
    assert torch.allclose(data.batch([0, 1]), black.expand(2, 3, 32, 32), atol=1e-6)
    again = data.batch([0, 1], torch.Generator().manual_seed(0))
    assert not torch.equal(again, first) and torch.allclose(again, black.expand(2, 3, 32, 32), atol=1e-6)
    assert data.fingerprint != print_before and data.to("cpu").fingerprint == data.fingerprint
    assert data.padded() is kept[0] and data._normalised["images"] is kept[1], "a graph reads from the same memory"
    data.mean[:] = 0.0
    assert float(data.batch([0]).abs().max()) == 0.0, "the normalisation follows"
    data.images = torch.full_like(data.images, 255)
    assert torch.allclose(data.batch([0]), (1 / data.std).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    assert int(data.padded()[0, 0, 4, 4]) == 255
    data.targets[0] = 3
    with pytest.raises(ValueError, match="^counts: expected the number of targets of each class"):
        data.prepare()


def test_data_of_another_seed_lose_no_edit():
    """The loader, which makes them, knows of none."""
    data = digits_lt()
    assert data.with_seed(3).fingerprint == digits_lt(seed=3).fingerprint
    edited, named = digits_lt(), digits_lt()
    edited.test_images[0, 0, 0] = 255
    named.class_names = tuple(name.upper() + "!" for name in named.class_names)
    for changed, what in [
        (edited, "images or targets"), (named, "class_names"), (dataclasses.replace(data, pad=1), "pad"),
        (dataclasses.replace(data, std=data.std * 2), "std")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^data: {what} differ from what digits_lt makes"):
            changed.with_seed(3)
    data.with_seed(4)
    data.targets[0] += 0  # counted as an edit, and none
    assert data.with_seed(4).spec["seed"] == 4
    data.images[0] += 1
    with pytest.raises(ValueError, match="^data: images or targets differ"):
        data.with_seed(4)


def test_the_callers_defaults_of_torch_change_no_data():
    plain = digits_lt().identity
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            assert digits_lt().identity == plain
            assert digits_lt().prepare().batch([0, 1]).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_fingerprint_sees_every_part():
    data = digits_lt()
    assert re.fullmatch("[0-9a-f]{16}", data.fingerprint) and data.fingerprint == digits_lt().fingerprint
    prints = {data.fingerprint}
    for part in ("images", "val_images", "test_images"):
        changed = digits_lt()
        getattr(changed, part)[3, 2, 1] += 1
        prints.add(changed.fingerprint)
    for part in ("val_targets", "test_targets"):
        changed = digits_lt()
        getattr(changed, part)[:2] = getattr(changed, part)[:2].flip(0)
        prints.add(changed.fingerprint)
    assert len(prints) == 6


# ---------------------------------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize("pad, height, width, channels", [(4, 32, 32, 3), (2, 16, 16, 3), (3, 12, 20, 1)])
def test_every_crop_equals_pil(device, pad, height, width, channels):
    steps = 2 * pad + 1
    images = torch.randint(256, (steps * steps * 2, height, width, channels), dtype=torch.uint8)
    grid = torch.cartesian_prod(torch.arange(steps), torch.arange(steps), torch.arange(2)).to(device)
    dy, dx, mirror = grid[:, 0], grid[:, 1], grid[:, 2].bool()
    store = pad_black(images.to(device), pad)
    assert store.is_contiguous() and store.shape == (len(images), channels, height + 2 * pad, width + 2 * pad)
    index = torch.arange(len(images), device=device).flip(0)
    ours = crop_flip(store, index, dy, dx, mirror, pad).permute(0, 2, 3, 1).cpu().numpy()
    for i, (y, x, m) in enumerate(grid.tolist()):
        picture = images[index[i].item()].numpy()
        picture = Image.fromarray(picture if channels == 3 else picture[..., 0])
        picture = ImageOps.expand(picture, border=pad, fill=0).crop((x, y, x + width, y + height))
        picture = np.asarray(ImageOps.mirror(picture) if m else picture).reshape(height, width, channels)
        assert np.array_equal(ours[i], picture), (y, x, m)


def colour(n=64, size=32, pad=4, flip=True, seed=0):
    """A small colour set, made by hand."""
    images = np.random.RandomState(seed).randint(0, 256, (n, size, size, 3), dtype=np.uint8)
    labels = np.arange(n) % 4
    return cut(
        "colour",
        (images, labels),
        (images, labels),
        list("abcd"),
        ratio=4,
        n_max=None,
        profile="exp",
        seed=0,
        order=np.arange(4),
        validation=0,
        mean=[0.49, 0.48, 0.45],
        std=[0.2, 0.19, 0.21],
        pad=pad,
        flip=flip,
        recipe="cao2019",
        spec={"loader": None},
    )


def test_a_batch_is_normalised_contiguous_and_plain_without_a_generator(device):
    data = colour().to(device)
    index = torch.tensor([5, 0, 9], device=device)
    x = data.batch(index)
    mean, std = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.2, 0.19, 0.21])
    expected = ((data.images.cpu()[index.cpu()].double() / 255 - mean) / std).permute(0, 3, 1, 2)
    assert x.shape == (3, *data.shape) and x.dtype == torch.float32 and x.is_contiguous() and x.device.type == device
    assert torch.allclose(x.cpu().double(), expected, atol=1e-6)
    assert torch.equal(data.batch(slice(2, 8, 2)), data.batch([2, 4, 6]))
    assert torch.equal(data.batch(np.array([2, 4])), data.batch(slice(2, 5, 2)))
    assert torch.equal(
        data.test_batch([1, 2]), normalise(data.test_images[1:3].permute(0, 3, 1, 2), *data._normalisation())
    )
    assert len(data.test_batch()) == 64 and len(data.val_batch()) == 0
    for wrong, words in (
        (data.targets == 0, "boolean mask"),
        ([0.5], "whole numbers"),
        ("abc", "whole numbers"),
        (3, "whole numbers"),
        (None, "whole numbers"),
        ([[0]], "whole numbers"),
    ):
        with pytest.raises(ValueError, match=f"^index=.*{words}"):
            data.batch(wrong)
    for made in (lambda: data.test_batch([64]), lambda: data.batch([0, 99], torch.Generator(device))):
        if device == "cpu":  # a GPU says so later, in its own words
            with pytest.raises(ValueError, match=r"^index: expected positions 0 .. \d+, got"):
                made()
    with pytest.raises(ValueError, match="^generator=3: expected a torch.Generator"):
        data.batch([0], 3)


def test_a_batch_is_the_crop_of_the_offsets_drawn(device):
    data = colour().to(device)
    index = torch.arange(20, device=device)
    made = data.batch(index, torch.Generator(device).manual_seed(5))
    drawn = draw_crops(20, 4, True, torch.Generator(device).manual_seed(5), data.device)
    crops = crop_flip(data.padded(), index, *drawn, 4)
    assert torch.equal(made, normalise(crops, *data._normalisation())) and made.is_contiguous()
    assert made.shape == (20, 3, 32, 32) and made.dtype == torch.float32
    assert data.padded() is data.padded()
    # A generator on the CPU gives the same crops wherever the images are.
    on_cpu = colour().batch(index.cpu(), torch.Generator().manual_seed(5))
    assert torch.equal(data.batch(index, torch.Generator().manual_seed(5)).cpu(), on_cpu)
    assert torch.equal(data.batch(slice(0, 20), torch.Generator(device).manual_seed(5)), made)


def test_offsets_and_flips_are_uniform():
    dy, dx, mirror = draw_crops(90_000, 4, True, torch.Generator().manual_seed(0), torch.device("cpu"))
    cells = torch.bincount((dy * 9 + dx) * 2 + mirror, minlength=162)
    expected = 90_000 / 162
    chi2 = float(((cells - expected) ** 2 / expected).sum())
    assert len(cells) == 162 and abs(chi2 - 161) < 5 * math.sqrt(2 * 161)
    assert not draw_crops(50, 4, False, torch.Generator(), torch.device("cpu"))[2].any()


def test_draws_come_from_the_given_generator_only():
    data, generator = colour(), torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    digits_lt(class_order="seed").with_seed(4)
    first, second = data.batch([1, 2, 3], generator), data.batch([1, 2, 3], generator)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert not torch.equal(first, second), "the generator moves on"
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(first, data.batch([1, 2, 3], generator))
    state = generator.get_state()
    data.batch([1, 2, 3])
    digits_lt().batch([1, 2, 3], generator)
    assert torch.equal(state, generator.get_state()), "nothing is drawn where nothing is augmented"


def test_shapes_are_static():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        store, index = torch.empty(30, 3, 40, 40, dtype=torch.uint8), torch.empty(8, dtype=torch.int64)
        crops = crop_flip(store, index, index, index, torch.empty(8, dtype=torch.bool), 4)
        batch = normalise(crops, torch.empty(1, 3, 1, 1), torch.empty(1, 3, 1, 1))
    assert batch.shape == (8, 3, 32, 32) and batch.dtype == torch.float32


def test_moving_keeps_everything(device):
    data = digits_lt()
    moved = data.to(device)
    assert moved.device.type == device and moved.counts.device.type == "cpu" and data.to("cpu") is data
    for name in ("images", "targets", "val_images", "val_targets", "test_images", "test_targets", "mean", "std"):
        assert getattr(moved, name).device.type == device
    assert moved.to("cpu").fingerprint == data.fingerprint == moved.fingerprint
    assert moved.with_seed(1).device.type == device
    assert torch.allclose(moved.batch([0, 1]).cpu(), data.batch([0, 1]))


def test_augmentation_is_far_faster_than_pil():
    """At half the promised ratio, in CPU time, the least of interleaved repeats: it guards against collapse only."""
    from torch.utils.data import DataLoader, Dataset

    data, n = colour(n=4000), 1000
    generator = torch.Generator().manual_seed(0)

    class Usual(Dataset):
        def __len__(self):
            return n

        def __getitem__(self, i):
            picture = ImageOps.expand(Image.fromarray(data.images[i].numpy()), border=4, fill=0)
            y, x, mirror = torch.randint(9, (2,)).tolist() + torch.randint(2, (1,)).tolist()
            picture = picture.crop((x, y, x + 32, y + 32))
            picture = ImageOps.mirror(picture) if mirror else picture
            tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div(255)
            return (tensor - data.mean.view(3, 1, 1)) / data.std.view(3, 1, 1)

    assert len(data) >= n
    data.padded()

    def seconds(epoch):
        start = time.process_time()
        assert sum(len(batch) for batch in epoch()) == n
        return time.process_time() - start

    loader = DataLoader(Usual(), batch_size=128)
    order = torch.randperm(n)
    times = [
        (seconds(lambda: loader), seconds(lambda: (data.batch(i, generator) for i in order.split(128))))
        for _ in range(8)
    ]
    usual, ours = (min(column) for column in zip(*times, strict=True))
    assert usual / ours > 4, f"{usual / ours:.1f} times"


# ------------------------------------------------------------------------------------------------------- image files


def write_tree(root, classes=10, train=6, test=2, size=32, suffix="png"):
    """A tree of tiny random images; returns the arrays in it, by split and class name."""
    made = {}
    for split, n in (("train", train), ("test", test)):
        for c in range(classes):
            folder = root / split / f"class{c:03d}"
            folder.mkdir(parents=True)
            images = np.random.RandomState([c, n]).randint(0, 256, (n, size, size, 3), dtype=np.uint8)
            made[split, folder.name] = images
            for i, image in enumerate(images):
                Image.fromarray(image).save(folder / f"{i:04d}.{suffix}")
    return made


def no_decoding(monkeypatch):
    def fail(*_):
        raise AssertionError("an image was decoded again")

    monkeypatch.setattr(sources, "decode", fail)


SMALL = dict(ratio=2, validation=1)


def test_cifar_from_an_image_folder(tmp_path):
    made = write_tree(tmp_path)
    data = cifar_lt(root=tmp_path, **SMALL)
    assert data.counts.tolist() == profile_counts(5, 10, 2) and data.name == "cifar10_lt" and data.recipe == "cao2019"
    assert data.shape == (3, 32, 32) and (data.pad, data.flip) == (4, True)
    for images, targets, split in (
        (data.images, data.targets, "train"),
        (data.val_images, data.val_targets, "train"),
        (data.test_images, data.test_targets, "test"),
    ):
        for image, target in zip(images.numpy(), targets, strict=True):
            assert (made[split, data.class_names[target]] == image).all((1, 2, 3)).any()
    assert torch.allclose(data.mean, torch.tensor(cifar.MEAN)) and torch.allclose(data.std, torch.tensor(cifar.STD))
    assert load(json.loads(json.dumps(data.spec))).fingerprint == data.fingerprint


def test_cifar_at_16_is_the_mean_of_2_by_2(tmp_path):
    write_tree(tmp_path)
    full, small = (cifar_lt(root=tmp_path, size=size, **SMALL) for size in (32, 16))
    assert small.shape == (3, 16, 16) and small.pad == 2 and small.recipe == "cifar16_live"
    for part in ("images", "val_images", "test_images"):
        for big, little in zip(getattr(full, part), getattr(small, part), strict=True):
            assert np.array_equal(np.asarray(Image.fromarray(big.numpy()).reduce(2)), little.numpy())


def test_images_are_decoded_once(tmp_path, monkeypatch):
    write_tree(tmp_path)
    first = cifar_lt(root=tmp_path, **SMALL)
    kept = sorted(sources.cache_places()[0].iterdir())
    assert [path.suffix for path in kept] == [".pixels", ".npz"], "two files, no temporary ones"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test", "train"], "nothing among the reader's files"
    with monkeypatch.context() as patch:
        no_decoding(patch)
        assert cifar_lt(root=tmp_path, **SMALL).fingerprint == first.fingerprint
        assert cifar_lt(root=tmp_path, size=16, **SMALL).shape == (3, 16, 16)

    for damage in (lambda b: b[: len(b) // 2], lambda b: b[:3000] + bytes([b[3000] ^ 1]) + b[3001:], lambda b: b""):
        for file in kept:
            file.write_bytes(damage(file.read_bytes()))
            assert cifar_lt(root=tmp_path, **SMALL).fingerprint == first.fingerprint, "a damaged cache is made again"
            with monkeypatch.context() as patch:
                no_decoding(patch)
                assert cifar_lt(root=tmp_path, **SMALL).fingerprint == first.fingerprint

    for name in ("0000.png", "0001.png", "0002.png", "0003.png", "0004.png", "0005.png"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / "train" / "class000" / name)
    red = cifar_lt(root=tmp_path, **SMALL)
    assert (red.images[red.targets == 0] == torch.tensor([255, 0, 0])).all(), "changed images are seen"
    (tmp_path / "train" / "class000" / "0000.png").unlink()
    with pytest.raises(ValueError, match="n_max=5 is too large"):
        cifar_lt(root=tmp_path, n_max=5, **SMALL)


def test_a_cache_that_cannot_be_written_is_said_and_harmless(tmp_path, monkeypatch):
    write_tree(tmp_path)

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left"):
        data = cifar_lt(root=tmp_path, **SMALL)
    kept = [path for place in sources.cache_places() for path in place.iterdir()]
    assert len(data) and not kept, "no half-written file stays"


def test_a_cache_that_cannot_be_written_is_elsewhere(tmp_path, monkeypatch):
    write_tree(tmp_path)
    sources.cache_places()[0].parent.mkdir()
    sources.cache_places()[0].touch()  # stands in the way of the folder, also for root
    first = cifar_lt(root=tmp_path, **SMALL)
    no_decoding(monkeypatch)
    assert cifar_lt(root=tmp_path, **SMALL).fingerprint == first.fingerprint


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
def test_cifar_from_an_archive(tmp_path, monkeypatch, suffix):
    tree = tmp_path / "tree"
    write_tree(tree)
    expected = cifar_lt(root=tree, **SMALL).fingerprint
    archive = tmp_path / f"cifar10-small.{suffix}"
    with tarfile.open(archive, "w:" + suffix.removeprefix("tar").removeprefix(".")) as tar:
        tar.add(tree, arcname="some/where")
    assert cifar_lt(root=archive, **SMALL).fingerprint == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([archive.name, "tree"]), "nothing is unpacked beside it"
    with monkeypatch.context() as patch:
        no_decoding(patch)
        assert cifar_lt(root=archive, **SMALL).fingerprint == expected
        (tree / "train").rename(tmp_path / "hidden")
        patch.setenv("LTVIZ_DATA", str(tmp_path))
        assert cifar_lt(**SMALL).fingerprint == expected, "found by its name in LTVIZ_DATA"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{archive.name} is truncated or damaged .* copy or download it again"):
        cifar_lt(root=archive, **SMALL)


def test_an_archive_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("no images")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "notes.txt", arcname="notes.txt")
    with pytest.raises(ValueError, match="other.tar holds no images at train/<class>"):
        cifar_lt(root=tmp_path / "other.tar")
    with pytest.raises(ValueError, match="notes.txt is truncated or damaged"):
        cifar_lt(root=tmp_path / "notes.txt")


def test_data_are_found_by_ltviz_data_then_in_the_own_folder(tmp_path, monkeypatch):
    write_tree(sources.own_folder() / "cifar10", train=5)
    assert int(cifar_lt(**SMALL).counts[0]) == 4
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path))
    assert int(cifar_lt(**SMALL).counts[0]) == 4, "LTVIZ_DATA has none yet"
    write_tree(tmp_path / "cifar10", train=7)
    assert int(cifar_lt(**SMALL).counts[0]) == 6
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path / "cifar10"))
    data = cifar_lt(**SMALL)
    assert int(data.counts[0]) == 6 and data.spec["root"] is None
    write_tree(tmp_path / "cifar100", classes=100, train=3, test=1)
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path))
    hundred = cifar_lt(classes=100, **SMALL)
    assert hundred.k == 100 and hundred.name == "cifar100_lt"


def encoded(image, kind="PNG", **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_images_keep_their_shades(kind):
    values = [[0, 1, 128, 129, 257, 385, 386], [1000, 20_000, 32_767, 32_768, 65_278, 65_534, 65_535]]
    values = np.array(values, np.uint16)
    pixels = sources.decode(encoded(Image.fromarray(values), kind), "deep")
    assert pixels.dtype == np.uint8 and pixels.shape == (2, 7, 3)
    assert np.array_equal(pixels, np.rint(values / 257).astype(np.uint8)[..., None].repeat(3, 2))
    smooth = np.linspace(0, 65_535, 64 * 64).reshape(64, 64).astype(np.uint16)
    small = sources.decode(encoded(Image.fromarray(smooth), kind), "deep", 8)
    assert small.shape == (8, 8, 3) and len(np.unique(small)) > 32 and abs(float(small.mean()) - 127.5) < 1


@pytest.mark.parametrize("values", [[-0.01, 0.5], [0, 1.01], [float("nan"), 0], [0, 255]])
def test_values_without_a_range_are_refused(values):
    with pytest.raises(ValueError, match=r"image x.tif cannot be read \(its float values .* are not in 0 .. 1"):
        sources.decode(encoded(Image.fromarray(np.array([values], np.float32)), "TIFF"), "x.tif")
    with pytest.raises(ValueError, match=r"image x.tif cannot be read \(its 32-bit values have no range"):
        sources.decode(encoded(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"), "x.tif")


def test_float_images_run_from_0_to_1():
    values = np.array([[0, 0.001, 0.5, 0.7, 0.999, 1]], np.float32)
    assert sources.decode(encoded(Image.fromarray(values), "TIFF"), "x")[0, :, 1].tolist() == [0, 0, 128, 178, 255, 255]


def tiff(values, white_is_zero, order="<", packed=False, bits=None, big=False, **more):
    """A grey TIFF by hand, as the standard describes it, with these values in it; more: tags by name."""
    numbers = {"sample_format": 339, "extra": 338}
    bits = bits or values.dtype.itemsize * 8
    body = values.astype(values.dtype.newbyteorder(order)).tobytes()
    if bits < 8:
        digits = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :]
        body = np.packbits(digits.reshape(len(values), -1), axis=1).tobytes()
    body = zlib.compress(body) if packed else body
    body += b"\0" * (len(body) % 2)
    samples = values.shape[2] if values.ndim == 3 else 1
    tags = {256: values.shape[1], 257: len(values), 258: [bits] * samples, 259: 8 if packed else 1,
            262: 0 if white_is_zero else 1, 273: 16, 277: samples, 278: len(values), 279: len(body),
            **{numbers[name]: value for name, value in more.items()}}  # fmt: skip
    pointer, count, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    end = 16 + len(body)
    start = struct.pack(order + "HHHQ", 43, 8, 0, end) if big else struct.pack(order + "HIQ", 42, end, 0)
    start = (b"II" if order == "<" else b"MM") + start
    entries = b""
    for tag, value in sorted(tags.items()):
        value = value if isinstance(value, list) else [value]
        packed_value = struct.pack(f"{order}{len(value)}H", *value).ljust(room, b"\0")
        entries += struct.pack(f"{order}HH{pointer}", tag, 3, len(value)) + packed_value
    return start + body + struct.pack(order + count, len(tags)) + entries + struct.pack(order + pointer, 0)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order, big", [("<", False), (">", False), ("<", True)])
def test_grey_tiff_that_counts_from_white(order, packed, big):
    """A zero is black or white as the file says, whatever its depth, byte order and compression."""
    shades = np.array([[0, 51, 255, 10], [200, 100, 1, 128]], np.uint8)
    for depth, values, shown in [
        (8, shades, shades), (16, shades.astype(np.uint16) * 257, shades), (4, shades // 17, shades // 17 * 17),
        (2, shades // 85, shades // 85 * 85), (1, shades // 128, shades // 128 * 255)]:  # fmt: skip
        found = [sources.decode(tiff(values, white, order, packed, depth, big), "x.tif") for white in (False, True)]
        assert np.array_equal(found[0], shown[..., None].repeat(3, 2)), (depth, order)
        assert np.array_equal(found[1], 255 - shown[..., None].repeat(3, 2)), (depth, order)


def test_transparent_grey_tiff_that_counts_from_white():
    both = np.array([[[0, 255], [200, 255], [200, 0]]], np.uint8)
    for white, shown in ((False, [0, 200, 255]), (True, [255, 55, 255])):
        assert sources.decode(tiff(both, white, extra=2), "x")[0, :, 0].tolist() == shown


def test_a_fax_and_what_our_image_library_writes():
    bits = Image.fromarray(np.array([[0, 255, 255, 0]] * 3, np.uint8)).convert("1")
    for settings in ({"compression": "group4"}, {"compression": "tiff_lzw"}, {}):
        for photometric in (0, 1):
            data = encoded(bits, "TIFF", tiffinfo={262: photometric}, **settings)
            assert sources.decode(data, "x")[0, :, 0].tolist() == [0, 255, 255, 0]


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow has to say about the damage
def test_damaged_and_signed_tiff_are_refused():
    data = tiff(np.zeros((2, 4), np.uint16), True)
    for n in range(2, 80, 3):
        with pytest.raises(ValueError, match="^image x.tif cannot be read"):
            sources.decode(data[:n], "x.tif")
    with pytest.raises(ValueError, match=r"^image x.tif cannot be read \(its signed values have no range"):
        sources.decode(tiff(np.zeros((2, 4), np.uint8), False, sample_format=2), "x.tif")


def test_other_kinds_of_pixels_become_the_colours_they_show():
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4) * 17
    thrice = grey[..., None].repeat(3, 2)
    alpha = np.full_like(grey, 255)
    for image in (
        Image.fromarray(grey),
        Image.fromarray(np.dstack([grey, alpha])),
        Image.fromarray(np.dstack([thrice, alpha])),
        Image.fromarray(thrice).quantize(16),
    ):
        assert np.array_equal(sources.decode(encoded(image), "x"), thrice), image.mode
    two = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert sources.decode(encoded(two), "x")[..., 0].tolist() == [[0, 255], [255, 0]]
    ink = Image.fromarray(np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8), "CMYK")
    assert sources.decode(encoded(ink, "TIFF"), "x")[0].tolist() == [[255] * 3, [0, 255, 255], [0] * 3]
    # A black sign on a transparent ground is a black sign on white, not a black image.
    sign = Image.fromarray(np.array([[[0, 0, 0, 255], [0, 0, 0, 0]]], np.uint8))
    for image in (sign, sign.convert("LA"), sign.quantize(2)):
        assert sources.decode(encoded(image), "x")[0, :, 0].tolist() == [0, 255], image.mode


def test_a_cache_that_lies_is_made_again(tmp_path):
    made = []

    def make():
        made.append(1)
        return {
            "class_names": np.array(["a", "b"]),
            "train_images": np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3),
            "train_labels": np.array([0, 1]),
        }

    def read():
        return sources.cached([tmp_path], "small", "key", make)

    true, file = read(), tmp_path / "small.npz"
    whole = file.read_bytes()
    read()
    assert len(made) == 1
    with np.load(file) as stored:
        fields = {name: stored[name] for name in stored.files}
    images = fields["train_images"]
    for lie in (images[:1], images.astype(np.int8), images.reshape(2, 3, 4, 4), images + 1):
        np.savez(file, **(fields | {"train_images": lie}))
        assert np.array_equal(read()["train_images"], true["train_images"])
    np.savez(file, **{name: value for name, value in fields.items() if name != "train_labels"})
    assert set(read()) == set(true)
    assert len(made) == 6
    for position in range(0, len(whole), 9):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        found = read()
        assert set(found) == set(true) and all(np.array_equal(found[name], true[name]) for name in true), position
        assert found["train_images"].dtype == np.uint8
    assert [path.name for path in tmp_path.iterdir()] == ["small.npz"]


# ------------------------------------------------------------------------------------------------ torchvision's files


def torchvision_files(folder, classes, monkeypatch, packed=False):
    """Tiny files in torchvision's format, and torchvision told their checksums; returns the test images."""
    import torchvision.datasets

    loader = torchvision.datasets.CIFAR10 if classes == 10 else torchvision.datasets.CIFAR100
    names, archive = cifar.TORCHVISION[classes]
    assert (names, archive) == (loader.base_folder, loader.filename)
    base = folder / names
    base.mkdir(parents=True)
    key = "labels" if classes == 10 else "fine_labels"
    pixels = {}

    def write(name, content):
        (base / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((base / name).read_bytes()).hexdigest()

    sums = {}
    for part, per_class in (("train_list", 3), ("test_list", 1)):
        sums[part] = []
        for i, (name, _) in enumerate(getattr(loader, part)):
            labels = list(range(classes)) * per_class
            pixels[name] = np.random.RandomState(i).randint(0, 256, (len(labels), 3072), dtype=np.uint8)
            sums[part].append([name, write(name, {"data": pixels[name], key: labels})])
        monkeypatch.setattr(loader, part, sums[part])
    meta = loader.meta
    words = [f"name{c:03d}" for c in range(classes)]
    monkeypatch.setattr(loader, "meta", meta | {"md5": write(meta["filename"], {meta["key"]: words})})
    with tarfile.open(folder / archive, "w:gz") as tar:
        tar.add(base, arcname=names)
    monkeypatch.setattr(loader, "tgz_md5", hashlib.md5((folder / archive).read_bytes()).hexdigest())
    monkeypatch.setattr(loader, "url", "http://127.0.0.1:9/nothing.tar.gz")  # nobody listens: no network
    if packed:
        for path in base.iterdir():
            path.unlink()
        base.rmdir()
    else:
        (folder / archive).unlink()
    test = pixels[loader.test_list[0][0]].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return base, folder / archive, test


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_from_torchvisions_files(tmp_path, monkeypatch, classes):
    base, _, test = torchvision_files(tmp_path, classes, monkeypatch)
    data = cifar_lt(classes=classes, root=tmp_path, ratio=2, validation=1)
    per_class = 15 if classes == 10 else 3
    assert data.counts.tolist() == profile_counts(per_class - 1, classes, 2)
    assert data.class_names[:2] == ("name000", "name001") and data.name == f"cifar{classes}_lt"
    assert np.array_equal(data.test_images.numpy(), test) and data.test_targets.tolist() == list(range(classes))
    import torchvision.datasets

    def fail(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr(torchvision.datasets, f"CIFAR{classes}", fail)
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path))
    again = cifar_lt(classes=classes, ratio=2, validation=1)
    assert again.fingerprint == data.fingerprint, "the second load reads the arrays kept beside the files"


def test_torchvisions_files_when_damaged(tmp_path, monkeypatch):
    base, archive, _ = torchvision_files(tmp_path, 10, monkeypatch)
    (base / "data_batch_2").write_bytes((base / "data_batch_2").read_bytes()[:-9])
    with pytest.raises(ValueError, match="damaged, truncated or incomplete .*delete both and pass download=True"):
        cifar_lt(root=tmp_path)


def test_an_archive_carried_here_is_unpacked_without_network(tmp_path, monkeypatch):
    base, archive, test = torchvision_files(tmp_path, 10, monkeypatch, packed=True)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="damaged, truncated or incomplete .*copy cifar-10-python.tar.gz again"):
        cifar_lt(root=tmp_path)
    archive.write_bytes(whole)
    for _ in range(3):
        data = cifar_lt(root=tmp_path, ratio=2, validation=1)
        assert np.array_equal(data.test_images.numpy(), test) and base.is_dir()


def test_missing_data_and_no_network(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as caught:
        cifar_lt()
    message = str(caught.value)
    for words in ("no CIFAR-10 found", "download=True", "root=", "train/<class>/*", "cifar-10-python.tar.gz", "digits"):
        assert words in message
    torchvision_files(tmp_path / "elsewhere", 100, monkeypatch)
    with pytest.raises(ConnectionError, match="CIFAR-100 could not be downloaded .*cifar-100-python.tar.gz elsewhere"):
        cifar_lt(classes=100, download=True)


# ------------------------------------------------------------------------------------------------------- any folder


def write_folder(root, counts, sizes=((20, 20),), salt=0):
    for c, n in enumerate(counts):
        folder = root / f"kind{c}"
        folder.mkdir(parents=True)
        for i in range(n):
            draw = np.random.RandomState([c, i, salt] if salt else [c, i])
            pixels = draw.randint(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:03d}.png")
        (folder / "readme.txt").write_text("not an image")
        (folder / ".hidden.png").write_text("not an image either")


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(ratio=0.5), r"ratio=0.5: expected largest / smallest class >= 1"),
        (dict(ratio=float("nan")), r"ratio=nan: expected"),
        (dict(profile="expo"), r"profile='expo': expected one of 'exp', 'step', 'pareto' \(did you mean 'exp'\?\)"),
        (dict(ratio=200), r"class '1' is left with no image: ratio=200 with n_max=114 .* a ratio below n_max"),
        (dict(n_max=500), r"n_max=500 is too large: class '6' needs 500 .* pass n_max=1\d\d or less"),
        (dict(n_max=0), r"n_max=0: expected a whole number of at least 1"),
        (dict(n_max=20.5), r"n_max=20.5: expected a whole number"),
        (dict(seed=-1), r"seed=-1: expected a whole number from 0 to 2,147,483,647"),
        (dict(validation=-1), r"validation=-1: expected a whole number of at least 0"),
        (dict(test=0), r"test=0 leaves nothing to test on"),
        (dict(test=180), r"class '0' is left with no image: it has 178, and test holds out 180"),
        (
            dict(class_order="fixd"),
            r"class_order='fixd': expected one of .*'fixed' \(did you mean 'fixed'\?\), or each",
        ),
        (dict(class_order=[0, 1, 2]), r"class_order=\[0, 1, 2\]: expected each of the 10 classes once"),
        (dict(class_order=["zero"] * 10), r"expected each of the 10 classes once"),
    ],
)
def test_bad_settings_say_what_to_do(settings, words):
    with pytest.raises(ValueError, match=words):
        digits_lt(**settings)


def test_wrong_layouts(tmp_path):
    with pytest.raises(ValueError, match="classes=20: expected 10 or 100; .* folder_lt"):
        cifar_lt(classes=20)
    with pytest.raises(ValueError, match=r"size=24: expected 32 .* or 16"):
        cifar_lt(size=24)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="neither train/<class>.* nor torchvision's files; it holds nothing"):
        cifar_lt(root=tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 found in .*nowhere"):
        cifar_lt(root=tmp_path / "nowhere")
    tree = tmp_path / "tree"
    write_tree(tree, classes=7)
    with pytest.raises(ValueError, match="holds 7 classes, not classes=10"):
        cifar_lt(root=tree)
    (tree / "test" / "class000").rename(tree / "test" / "cat")
    with pytest.raises(ValueError, match="test/ and train/ hold different classes: test/ lacks class000 and adds cat"):
        cifar_lt(root=tree)
    (tree / "test").rename(tree / "testing")
    with pytest.raises(ValueError, match="has no class folders in test/.*folder_lt"):
        cifar_lt(root=tree)
    write_tree(tmp_path / "large", size=40)
    with pytest.raises(ValueError, match="images of 40 x 40, CIFAR's are 32 x 32; use folder_lt"):
        cifar_lt(root=tmp_path / "large")


def test_specs_of_nobody():
    with pytest.raises(ValueError, match=r"loader 'digit_lt' is unknown \(did you mean 'digits_lt'\?\)"):
        load({"loader": "digit_lt"})
    with pytest.raises(ValueError, match="loader None is unknown"):
        colour().with_seed(3)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(images=torch.zeros(314, 8, 8, 1)), "images: expected uint8"),
        (dict(targets=torch.zeros(3, dtype=torch.int64)), r"targets: expected int64 \(314,\)"),
        (dict(test_targets=torch.full((500,), 10)), r"test_targets: expected 0 .. 9, got 10 .. 10"),
        (dict(targets=torch.zeros(314, dtype=torch.int64)), "counts: expected the number of targets"),
    ],
)
def test_a_set_that_does_not_add_up_is_refused(change, words):
    import dataclasses

    with pytest.raises(ValueError, match=words):
        dataclasses.replace(digits_lt(), **change)
    with pytest.raises(ValueError, match="counts: expected falling numbers"):
        data = digits_lt()
        dataclasses.replace(data, targets=9 - data.targets, counts=data.counts.flip(0))


@pytest.mark.parametrize(
    "names, words",
    [
        (list("abcdefghi"), r"^class_names: expected a list of 10 texts, the name of each class, got 9"),
        (list("abcdefghia"), r"^class_names: 'a' names more than one class"),
        ([*"abcdefghi", 9], r"^class_names=.*expected a list of 10 texts"),
        ([*"abcdefghi", " "], r"^class_names=.*expected a list of 10 texts"),
        ("abcdefghij", r"^class_names='abcdefghij': expected a list of 10 texts"),
        (None, r"^class_names=None: expected a list"),
        (set("abcdefghij"), r"^class_names=.*expected a list"),
        (np.arange(10), r"^class_names=.*expected a list"),
    ],
)
def test_class_names_that_name_no_class(names, words):
    import dataclasses

    with pytest.raises(ValueError, match=words):
        dataclasses.replace(digits_lt(), class_names=names)


def test_class_names_may_be_an_array():
    import dataclasses

    names = dataclasses.replace(digits_lt(), class_names=np.array(list("abcdefghij"))).class_names
    assert names == tuple("abcdefghij") and all(type(name) is str for name in names)


# Meaningless for a number, a text, a path and a sequence alike; what one argument may be is left out below.
WRONG = [None, True, "3", 2.5, -1, float("nan"), float("inf"), [1], {}, object(), np.array([1, 2]), 10**30]


def wrong_values(*fine):
    """WRONG without what may be given, compared by type as well."""
    return [value for value in WRONG if not any(type(value) is type(one) and value == one for one in fine)]


FINE = {"ratio": (2.5,), "n_max": (None,), "validation": (None,), "root": (None, "3"), "download": (True,)}


@pytest.mark.parametrize("name", ["ratio", "n_max", "profile", "seed", "class_order", "validation", "test"])
def test_wrong_arguments_of_digits(name):
    for value in wrong_values(*(FINE[name] if name in ("ratio", "n_max") else ())):
        with pytest.raises(ValueError, match=name):
            digits_lt(**{name: value})


@pytest.mark.parametrize(
    "name", ["classes", "size", "ratio", "n_max", "profile", "seed", "class_order", "validation", "root", "download"]
)
def test_wrong_arguments_of_cifar(tmp_path, name):
    write_tree(tmp_path)
    for value in wrong_values(*FINE.get(name, ())):
        with pytest.raises(ValueError, match=name):
            cifar_lt(**({"root": tmp_path, "ratio": 2, "validation": 1} | {name: value}))


@pytest.mark.parametrize(
    "name", ["root", "ratio", "size", "n_max", "profile", "seed", "class_order", "validation", "test", "pad", "flip"]
)
def test_wrong_arguments_of_a_folder(tmp_path, name):
    write_folder(tmp_path, [12, 10])
    fine = {"ratio": (None, 2.5), "size": (None,), "n_max": (None,), "pad": (None,), "flip": (True,), "root": ("3",)}
    for value in wrong_values(*fine.get(name, ())):
        with pytest.raises(ValueError, match=name):
            folder_lt(**({"root": tmp_path, "ratio": 2} | {name: value}))


def test_wrong_arguments_elsewhere():
    data = digits_lt()
    for wrong in (-1, 1.5, "3", True, None, float("nan"), 2**31):
        with pytest.raises(ValueError, match="^seed="):
            data.with_seed(wrong)
    assert data.with_seed(np.int64(2)).spec == data.with_seed(2).spec
    for wrong in ("gpu", 3.5, None, "cuda:99"):
        with pytest.raises(ValueError, match="^device="):
            data.to(wrong)
    for wrong, words in (
        ("digits_lt", "^spec='digits_lt': expected"),
        (None, "^spec=None"),
        ({}, "loader None is unknown"),
        ({"loader": ["digits_lt"]}, "is unknown"),
        ({"loader": "folder_lt"}, "folder_lt needs root"),
        ({"loader": "digits_lt", "rato": 3}, r"no argument 'rato' \(did you mean 'ratio'\?\)"),
        ({"loader": "digits_lt", 3: 3}, "no argument 3"),
    ):
        with pytest.raises(ValueError, match=words):
            load(wrong)
    for wrong in WRONG:
        with pytest.raises(ValueError, match="^n_max="):
            profile_counts(wrong, 5, 2)
        with pytest.raises(ValueError, match="^k="):
            profile_counts(50, wrong, 2)
    for images in (torch.zeros(2, 4, 4, 1), torch.zeros(2, 3, 4, 1, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="^images="):
            cifar.halve(images)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(images=None), "^images=None: expected a tensor"),
        (dict(counts={"a": 3}), "^counts=.*expected a tensor"),
        (dict(counts=torch.ones(10)), r"^counts: expected int64 \(k,\), got torch.float32"),
        (dict(counts=torch.tensor(3)), r"^counts: expected int64 \(k,\)"),
        (dict(targets=torch.zeros(314, 10, dtype=torch.int64)), r"^targets: expected int64 \(314,\)"),
        (dict(targets=torch.full((314,), -100)), "^targets: expected 0 .. 9, got -100"),
        (dict(val_images=torch.zeros(100, 9, 8, 1, dtype=torch.uint8)), r"^val_images: expected \(8, 8, 1\)"),
        (dict(mean=torch.zeros(3)), r"^mean: expected float32 \(1,\)"),
        (dict(std=torch.zeros(1)), r"^std: expected float32 \(1,\), one finite number for each channel above 0"),
        (dict(std=torch.tensor([float("nan")])), "^std: expected"),
        (dict(mean=[0.5]), "^mean=.*expected a tensor"),
        (dict(pad=-1), "^pad=-1: expected a whole number from 0 to 8"),
        (dict(pad=2.5), "^pad=2.5"),
        (dict(pad=True), "^pad=True"),
        (dict(flip=1), "^flip=1: expected True or False"),
        (dict(name=3), "^name=3: expected a text"),
        (dict(recipe=None), "^recipe=None"),
        (dict(spec=None), "^spec=None: expected how the data were made"),
        (dict(spec={"a": object()}), "^spec="),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, words):
    import dataclasses

    with pytest.raises(ValueError, match=words):
        dataclasses.replace(digits_lt(), **change)


def test_importing_loads_no_image_library(repo):
    code = (
        "import sys, ltviz.datasets; "
        "print(sorted({'torchvision', 'sklearn', 'PIL', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -------------------------------------------------------------------------------------------------------- real images


@pytest.mark.realdata
def test_real_cifar10_at_16():
    """The recipe of the recorded runs; LTVIZ_DATA, or ../shared/data, may hold a tree or an archive of one."""
    folder = Path(os.environ.get("LTVIZ_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    try:
        data = cifar_lt(root=folder, size=16, n_max=2000)
    except ValueError as error:
        if "nor torchvision's files" not in str(error):
            raise
        pytest.skip(f"realdata: no CIFAR-10 in {folder}")
    assert data.counts.tolist() == [2000, 1198, 718, 430, 258, 154, 92, 55, 33, 20] and data.recipe == "cifar16"
    assert len(data) == 4958 and data.shape == (3, 16, 16) and data.pad == 2
    assert len(data.val_images) == 2500 and len(data.test_images) == 10_000
    assert torch.bincount(data.test_targets).tolist() == [1000] * 10
    assert data.class_names[0] == "airplane" and data.class_names[-1] == "truck"
    x = data.test_batch()
    assert x.mean(dim=(0, 2, 3)).abs().max() < 0.1 and 0.8 < float(x.std()) < 1.2, "real images, well normalised"
    start = time.process_time()
    other = data.with_seed(1)
    assert time.process_time() - start < 3, "a second load reads the kept arrays"
    assert torch.equal(other.test_images, data.test_images) and not torch.equal(other.images, data.images)
    assert cifar_lt(root=folder, size=16, validation=0).counts.tolist() == profile_counts(5000, 10, 100)
