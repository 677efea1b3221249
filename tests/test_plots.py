"""Plots: what is drawn, what is said, that letters neither overlap nor leave the figure, and that pyplot stays out."""

from __future__ import annotations

import base64
import csv
import dataclasses
import html
import io
import itertools
import re
import subprocess
import sys
import threading
from pathlib import Path

import matplotlib
import matplotlib.path
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import ltviz as lt
import ltviz.plots as lp
from ltviz.datasets import digits_lt
from ltviz.metrics import beyond, frontier, paired, shot_accuracy, third_groups, weight_norm_fit
from ltviz.plots import picture as shared
from ltviz.plots import text as words
from ltviz.plots.comparison import SeedRows, compare
from ltviz.plots.confusion import SHARE, number_colour
from ltviz.plots.loss_curve import LossPanels
from ltviz.plots.picture import drawing
from ltviz.plots.series import series_of
from ltviz.plots.surface import Pixels, Surface
from ltviz.plots.theme import darken
from ltviz.run import Run

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LONG = "tricdb_ce strength=0.25 margin=0.2 base=focal+gamma=2"


def make_run(
    k: int = 10,
    seed: int = 0,
    name: str = "ce",
    lift: float = 0.0,
    ratio: float = 100,
    names: list[str] | None = None,
    small: bool = False,
    per_class: int = 20,
    data: str = "fake",
) -> Run:
    """A run as training would leave it, drawn by numpy: accuracy and norms fall with the rank, `lift` flattens both."""
    rng = np.random.default_rng([seed, k, int(100 * lift)])
    counts = np.array([int(5000 * ratio ** (-i / (k - 1))) for i in range(k)])
    right = np.clip(0.95 - 0.7 * np.arange(k) / k * (1 - lift) + 0.05 * rng.normal(size=k), 0.05, 1)
    confusion = np.zeros((k, k), np.int64)
    for i, share in enumerate(right):
        confusion[i, i] = round(share * per_class)
        np.add.at(confusion[i], rng.choice(k, per_class - confusion[i, i], p=counts / counts.sum()), 1)
    weight = rng.normal(size=(k, 16)).astype(np.float32)
    norms = 1 + 0.25 * np.log(counts) * (1 - lift) + 0.03 * rng.normal(size=k)
    weight *= (norms / np.linalg.norm(weight, axis=1))[:, None]
    targets = np.repeat(np.arange(k), per_class)
    features = (weight[targets] + 0.9 * rng.normal(size=(len(targets), 16))).astype(np.float16)
    epochs = np.arange(30)
    grow = (epochs[:, None] + 1) / 30
    return Run(
        method="ce", settings={}, data={"name": data}, recipe={"name": "digits"}, seed=seed, counts=counts, label=name,
        class_names=names or (CIFAR[:k] if k <= 10 else [f"class {i}" for i in range(k)]),
        history={"epoch": epochs, "loss": 2.3 * np.exp(-epochs / 6) + 0.01, "lr": 0.1 * grow[:, 0],
                 "stage": 0 * epochs, "weight_norm": norms * grow**0.5, "feature_norm": np.ones((30, k)),
                 "val_accuracy": right * grow**0.3},
        confusion=confusion, head_weight=weight, class_feature_norm=norms,
        targets=None if small else targets, features=None if small else features,
        logits=None if small else features.astype(np.float32) @ weight.T, id=f"{name}-{seed}-{k}-{ratio}-{data}",
    )  # fmt: skip


ONE = make_run()
BETTER = make_run(name="class_balanced beta=0.999", lift=0.6)
HUNDRED = make_run(100)
THOUSAND = make_run(1000, ratio=256, per_class=5)
FOUR = make_run(4)
SEEDS = [make_run(seed=s, name=n, lift=b, small=True) for s in range(10) for n, b in (("ce", 0), (LONG, 0.4))]
SEEDS_100 = [make_run(100, s, n, b, small=True) for s in range(3) for n, b in (("ce", 0), ("ldam", 0.4))]
# The class order was drawn with the seed: a rank has no name of its own.
SHUFFLED = [make_run(seed=s, names=list(np.random.default_rng(s).permutation(CIFAR)), small=True) for s in range(3)]
BASE, METHOD = SEEDS[::2], SEEDS[1::2]
DIGITS = digits_lt()


def digits_run() -> Run:
    """A run on the digits' own test images, so that pictures and answers belong together."""
    k, rng = DIGITS.k, np.random.default_rng(0)
    targets = DIGITS.test_targets.numpy()
    logits = (3.0 * np.eye(k)[targets] + 1.6 * rng.normal(size=(len(targets), k))).astype(np.float32)
    run = make_run(k, names=list(DIGITS.class_names))
    run.counts, run.targets, run.logits = DIGITS.counts.numpy(), targets, logits
    run.confusion = np.bincount(targets * k + logits.argmax(1), minlength=k * k).reshape(k, k)
    return run


ON_DIGITS = digits_run()
RNG_A = np.random.default_rng(5)
IMBALANCES = np.geomspace(1, 48, 12)
DIGIT_ATTRIBUTES = ["tall", "three strokes", "dark", "loop", "symmetric", "slanted", "top-heavy", "thick", "wide",
                    "two loops", "left-heavy", "same upside down"]  # fmt: skip
BALANCED = {label: np.clip(0.96 - 0.09 * np.log(IMBALANCES) / cost + RNG_A.normal(0, 0.01, (5, 12)), 0, 1)
            for label, cost in (("CE", 1), ("DeepID2", 1.1), ("CRL (class level)", 2))}  # fmt: skip
FORTY = {"CE": RNG_A.uniform(0.6, 0.95, (3, 40)), "LMLE": RNG_A.uniform(0.6, 0.95, (1, 40))}
PLOTS = {
    "counts": lambda **kw: lp.plot_counts(DIGITS, **kw),
    "counts 4": lambda **kw: lp.plot_counts(FOUR, **kw),
    "counts cifar": lambda **kw: lp.plot_counts(ONE, **kw),
    "counts 1000": lambda **kw: lp.plot_counts(THOUSAND, **kw),
    "examples": lambda **kw: lp.plot_examples(DIGITS, **kw),
    "effective": lambda **kw: lp.plot_effective_number(ONE.counts, **kw),
    "weights": lambda **kw: lp.plot_class_weights(ONE, **kw),
    "weights 100": lambda **kw: lp.plot_class_weights(HUNDRED, 0.999, weights={"inverse": 1 / HUNDRED.counts}, **kw),
    "weight norms": lambda **kw: lp.plot_weight_norms(ONE, **kw),
    "weight norms seeds": lambda **kw: lp.plot_weight_norms(SEEDS, **kw),
    "weight norms 1000": lambda **kw: lp.plot_weight_norms(THOUSAND, **kw),
    "feature norms": lambda **kw: lp.plot_feature_norms(ONE, **kw),
    "feature norms kde": lambda **kw: lp.plot_feature_norms(HUNDRED, kind="kde", **kw),
    "feature norms seeds": lambda **kw: lp.plot_feature_norms(SEEDS, **kw),
    "embedding": lambda **kw: lp.plot_embedding(ONE, method="pca", **kw),
    "embedding 100": lambda **kw: lp.plot_embedding(HUNDRED, method="pca", **kw),
    "attributes": lambda **kw: lp.plot_attributes(BALANCED, IMBALANCES, DIGIT_ATTRIBUTES, **kw),
    "attributes 40": lambda **kw: lp.plot_attributes(FORTY, np.geomspace(1, 43, 40), **kw),
    "attributes 1": lambda **kw: lp.plot_attributes({"CE": [0.7]}, [3.0], ["bald"], **kw),
    "accuracy": lambda **kw: lp.plot_class_accuracy(ONE, **kw),
    "accuracy seeds": lambda **kw: lp.plot_class_accuracy(SEEDS, **kw),
    "accuracy shuffled": lambda **kw: lp.plot_class_accuracy(SHUFFLED, **kw),
    "accuracy 4": lambda **kw: lp.plot_class_accuracy(FOUR, **kw),
    "accuracy 100": lambda **kw: lp.plot_class_accuracy(SEEDS_100, **kw),
    "accuracy 1000": lambda **kw: lp.plot_class_accuracy(THOUSAND, **kw),
    "gain": lambda **kw: lp.plot_gain(METHOD, BASE, **kw),
    "gain 1 seed": lambda **kw: lp.plot_gain(BETTER, ONE, **kw),
    "gain 100": lambda **kw: lp.plot_gain(SEEDS_100[1::2], SEEDS_100[::2], **kw),
    "comparison": lambda **kw: lp.plot_comparison(SEEDS, **kw),
    "comparison 1 seed": lambda **kw: lp.plot_comparison([ONE, BETTER], **kw),
    "confusion": lambda **kw: lp.plot_confusion(ONE, **kw),
    "confusion 4": lambda **kw: lp.plot_confusion(FOUR, **kw),
    "confusion shuffled": lambda **kw: lp.plot_confusion(SHUFFLED, **kw),
    "confusion 100": lambda **kw: lp.plot_confusion(HUNDRED, **kw),
    "confusion 1000": lambda **kw: lp.plot_confusion(THOUSAND, **kw),
    "history": lambda **kw: lp.plot_history(ONE, **kw),
    "history seeds": lambda **kw: lp.plot_history(SEEDS, **kw),
    "loss curve": lambda **kw: lp.plot_loss_curve("logit_adjustment", tau=[0, 1, 2], target=1, **kw),
    "mistakes": lambda **kw: lp.plot_mistakes(ON_DIGITS, DIGITS, **kw),
    "precision recall": lambda **kw: lp.plot_precision_recall(ON_DIGITS, **kw),
    "precision recall seeds": lambda **kw: lp.plot_precision_recall([ONE, BETTER], positive=0, **kw),
    "cost": lambda **kw: lp.plot_cost(ON_DIGITS, **kw),
    "cost seeds": lambda **kw: lp.plot_cost([ONE, BETTER], cost=30, prevalence=0.01, **kw),
    "reliability": lambda **kw: lp.plot_reliability([ONE, BETTER], **kw),
}


# ------------------------------------------------------------------------------------------- what holds for all plots
def written(figure: Figure) -> list[tuple[str, float, matplotlib.transforms.Bbox]]:
    """(text, rotation, box in pixels) of every text that a drawing of the figure really draws."""
    found, draw = [], Text.draw

    def record(text, renderer, *args, **kwargs):
        if text.get_visible() and text.get_text().strip():
            found.append((text.get_text(), text.get_rotation(), text.get_window_extent(renderer)))
        return draw(text, renderer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, shared.drawing():
        patch.setattr(Text, "draw", record)
        figure.canvas.draw()
    return found


@pytest.mark.parametrize("name", PLOTS)
def test_letters_are_inside_and_apart(name):
    picture = PLOTS[name]()
    texts, figure = written(picture.figure), picture.figure.bbox
    assert texts
    for text, _, box in texts:
        assert box.x0 >= -0.5 and box.y0 >= -0.5 and box.x1 <= figure.x1 + 0.5 and box.y1 <= figure.y1 + 0.5, text
    for (one, turn, a), (other, turn_b, b) in itertools.combinations(texts, 2):
        if {turn, turn_b} - {0.0, 90.0}:
            continue  # boxes around slanted names overlap where the letters do not
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or high <= 2, f"{one!r} lies on {other!r}"
    # The sentence and the arrays that each picture carries.
    assert picture.text.endswith(".") and re.search(r"\d", picture.text)
    assert "nan" not in re.split(r"\W+", picture.text.lower()) and repr(picture) == picture.text
    assert picture.data and all(isinstance(values, np.ndarray) for values in picture.data.values())
    assert picture.figure.get_facecolor() == (1, 1, 1, 1)


@pytest.mark.parametrize("name", ["counts", "accuracy seeds", "weight norms", "embedding", "reliability", "examples"])
def test_draws_on_the_callers_axes(name):
    figure = Figure(figsize=(7, 4))
    ax = figure.subplots()
    picture = PLOTS[name](ax=ax)
    assert picture.ax is ax and picture.figure is figure
    assert ax.has_data()


@pytest.mark.parametrize(
    ("name", "panels"), [("comparison", 2), ("confusion", 2), ("history seeds", 3), ("loss curve", 2)]
)
def test_several_panels_take_several_axes(name, panels):
    axes = list(Figure(figsize=(12, 4)).subplots(1, panels))
    picture = PLOTS[name](ax=axes)
    assert set(picture.axes) == set(axes) and all(ax.has_data() for ax in axes)
    with pytest.raises(ValueError, match=f"{panels} matplotlib Axes"):
        PLOTS[name](ax=axes[0])


def test_nothing_of_pyplot_and_no_setting_of_the_user_changes():
    """In a fresh process: every plot is drawn, pyplot manages no figure, and rcParams are as the user left them."""
    code = """
import sys
sys.path.insert(0, {tests!r})
import ltviz
assert "matplotlib" not in sys.modules, "import ltviz loads matplotlib"
import matplotlib
import matplotlib.path
matplotlib.rcParams["font.size"] = 31.0
before = matplotlib.rcParams.copy()
import test_plots
for name in ("counts", "examples", "effective", "weights", "weight norms", "embedding", "accuracy 4", "gain",
             "comparison", "history", "loss curve", "mistakes", "reliability"):
    picture = test_plots.PLOTS[name]()
    if name in ("counts", "embedding", "loss curve"):
        picture._repr_png_()
assert "matplotlib.pyplot" not in sys.modules, "something imports pyplot"
test_plots.PLOTS["confusion"]()._repr_png_()      # seaborn brings pyplot along, but nobody may open a figure with it
test_plots.PLOTS["feature norms"]()._repr_png_()
assert not sys.modules["matplotlib._pylab_helpers"].Gcf.figs, "a pyplot figure was opened"
after = matplotlib.rcParams.copy()
changed = [key for key in before if key != "backend" and before[key] != after[key]]
assert not changed, changed
"""
    code = code.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_source_never_mentions_pyplot_in_code():
    for path in Path(lp.__file__).parent.glob("*.py"):
        assert not re.search(r"import.*pyplot|pyplot\.\w+\(|\.show\(\)|rcParams\[", path.read_text()), path.name


def test_the_users_dark_style_does_not_leak_in():
    dark = {"text.color": "white", "axes.facecolor": "black", "font.size": 30, "savefig.bbox": "tight"}
    with matplotlib.rc_context(dark):
        picture = lp.plot_counts(DIGITS)
        png = picture._repr_png_()
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    assert image.getpixel((2, 2)) == (255, 255, 255)
    assert np.asarray(image).mean() > 200
    assert picture.ax.yaxis.label.get_color() == shared.INK


def test_many_threads_draw_at_once():
    failed, sizes = [], []

    def work(name):
        try:
            sizes.append(len(PLOTS[name]()._repr_png_()))
        except Exception as error:  # noqa: BLE001 - reported below, in the main thread
            failed.append(error)

    names = ("counts", "accuracy", "effective", "weight norms") * 2
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed and len(sizes) == 8 and min(sizes) > 5000


# ------------------------------------------------------------------------------------------------------- the picture
def test_picture_shows_itself_and_saves(tmp_path):
    picture = lp.plot_class_accuracy(SEEDS)
    bundle, meta = picture._repr_mimebundle_()
    assert bundle["text/plain"] == picture.text and meta["image/png"]["alt"] == picture.text
    assert meta["image/png"]["width"] == round(6.6 * shared.DPI)
    assert bundle["image/png"].startswith("iVBOR")
    assert len(bundle["image/png"]) < 80_000 and picture._repr_png_().startswith(b"\x89PNG")
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        assert picture.save(tmp_path / f"a.{kind}").read_bytes().startswith(start)
    rows = list(csv.reader(picture.save(tmp_path / "a.csv").read_text().splitlines()))
    assert rows[0][0] == "counts" and "accuracy/ce[9]" in rows[0] and len(rows) == 11
    column = [float(row[rows[0].index("accuracy/ce[3]")]) for row in rows[1:]]
    np.testing.assert_allclose(column, picture.data["accuracy/ce"][3])
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.pdf or \.csv"):
        picture.save(tmp_path / "a.gif")


def test_style_scales_everything_alike():
    from PIL import Image

    small = lp.plot_counts(DIGITS)
    try:
        assert lp.style(scale=1.6) == 1.6 == lp.style()
        large = lp.plot_counts(DIGITS)
        with pytest.raises(ValueError, match="scale=50: expected a number from 0.25 to 5"):
            lp.style(scale=50)
    finally:
        lp.style(scale=1)
    a, b = (Image.open(io.BytesIO(p._repr_png_())).size for p in (small, large))
    assert large._repr_mimebundle_()[1]["image/png"]["width"] == round(1.6 * 6.6 * shared.DPI)
    np.testing.assert_allclose(np.array(b) / np.array(a), 1.6, rtol=0.01)
    for (text, _, box), (other, _, wide) in zip(written(small.figure), written(large.figure), strict=True):
        assert text == other
        assert wide.height / box.height == pytest.approx(1.6, rel=0.15)


def test_the_look_has_one_home_that_is_installed_with_the_package():
    import tomllib

    style = matplotlib.rc_params_from_file(Path(lp.__file__).with_name("ltviz.mplstyle"), use_default_template=False)
    with shared.drawing():
        assert {key: matplotlib.rcParams[key] for key in style} == dict(style)
    colours = [style[key] for key in ("text.color", "axes.edgecolor", "grid.color")]
    assert [shared.INK, shared.QUIET, shared.FAINT] == colours
    assert list(lp.PALETTE) == [kind["color"] for kind in style["axes.prop_cycle"]]
    for path in Path(lp.__file__).parent.glob("*.py"):
        keys = [key for key in style if f'"{key}":' in path.read_text()]
        assert keys == [], f"{path.name} sets {keys}"
    project = tomllib.loads((Path(lp.__file__).parents[2] / "pyproject.toml").read_text())
    assert "*.mplstyle" in project["tool"]["setuptools"]["package-data"]["ltviz.plots"]


def test_palette_is_told_apart_without_some_colours():
    """The first six colours differ by 25 in CIELAB for each kind of dichromat (Machado et al. 2009, severity 1)."""
    kinds = {
        "normal": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    rgb = np.array([matplotlib.colors.to_rgb(colour) for colour in lp.PALETTE[:6]])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    for kind, matrix in kinds.items():
        xyz = np.clip(linear @ np.array(matrix).T, 0, 1) @ to_xyz.T / [0.95047, 1, 1.08883]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
        gap = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(6, 1)]
        assert gap.min() >= 25, kind
    for colour in shared.GROUP_INK.values():  # read as text: contrast of 4.5 on white (WCAG AA)
        level = np.array(matplotlib.colors.to_rgb(colour))
        level = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (level + 0.05) >= 4.5
    looks = [shared.look(i) for i in range(len(lp.PALETTE))]
    assert len({kind["marker"] for kind in looks}) == len(looks)


# ------------------------------------------------------------------------------------------------------------ series
def test_runs_of_one_name_are_seeds_of_one_series():
    found = series_of(SEEDS)
    assert [(one.name, len(one.runs)) for one in found] == [("ce", 10), (LONG, 10)]
    assert found[0].label == "ce (10 seeds)" and series_of(ONE)[0].label == "ce (1 seed)"
    assert len(series_of([ONE, ONE])[0].runs) == 1, "the same run twice is not two seeds"
    assert [one.name for one in series_of({"mine": METHOD, "base": ONE})] == ["mine", "base"]


def test_runs_of_one_name_and_other_data_are_kept_apart():
    other = make_run(data="other", seed=1)
    found = series_of([ONE, other])
    assert [(one.name, len(one.runs)) for one in found] == [("ce name=fake", 1), ("ce name=other", 1)]


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([], "no run given"),
        ({}, "no run given"),
        ({"a": []}, "no run given"),
        ([3], "arrays need counts"),
        (["a"], "expected a run, given str"),
        ([ONE, HUNDRED], "10 and 100 classes"),
    ],
)
def test_what_is_no_run_is_refused(runs, says):
    with pytest.raises(ValueError, match=says):
        lp.plot_class_accuracy(runs)


# ------------------------------------------------------------------------------------------------------- what is drawn
def line(picture, label, ax=None):
    """The y values of the line whose label starts so."""
    return next(np.asarray(ln.get_ydata()) for ln in (ax or picture.ax).lines if str(ln.get_label()).startswith(label))


def test_counts_are_sorted_and_named():
    shuffled = np.array([3, 100, 20, 7])
    picture = lp.plot_counts(shuffled)
    np.testing.assert_array_equal(picture.data["counts"], [100, 20, 7, 3])
    assert list(picture.data["names"]) == ["1", "2", "3", "0"]
    assert picture.ax.get_yscale() == "log"
    assert [t.get_text() for t in picture.ax.texts if t.get_text().isdigit()] == ["100", "20", "7", "3"]
    assert {t.get_text() for t in picture.ax.texts} >= {"head", "mid", "tail"}
    assert "ratio 33.3" in picture.text and "2 medium" not in picture.text.split("classes and")[0]
    with_none = lp.plot_counts([5, 0, 2])
    assert "1 classes have none" in with_none.text and np.isfinite(with_none.ax.get_ylim()).all()
    with pytest.raises(ValueError, match=r"data=\[\[1, 2\], \[3, 4\]\]: expected the number of training images"):
        lp.plot_counts([[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="none negative"):
        lp.plot_counts([1, -2])


def test_examples_show_as_many_as_there_are():
    picture = lp.plot_examples(DIGITS, columns=9)
    shown = np.bincount(picture.data["targets"], minlength=10)
    np.testing.assert_array_equal(shown, np.minimum(DIGITS.counts.numpy(), 9))
    mosaic = picture.ax.images[0].get_array()
    assert mosaic.shape == (10 * 9 - 1, 9 * 9 - 1, 4)
    np.testing.assert_array_equal(mosaic[:8, :8, 0], DIGITS.images[picture.data["index"][0]].numpy()[..., 0])
    assert (mosaic[-8:, 3 * 9 :, 3] == 0).all(), "a class with two images has nothing beside them"
    few = lp.plot_examples(DIGITS, rows=3)
    assert set(few.data["targets"]) == {0, 4, 9} or set(few.data["targets"]) == {0, 5, 9}
    with pytest.raises(ValueError, match="data must be a data set"):
        lp.plot_examples(ONE)


def test_effective_number_follows_its_equation():
    picture = lp.plot_effective_number([500, 50, 5], beta=[0.9, 0.99])
    n, beta = picture.data["n"], picture.data["beta"][:, None]
    np.testing.assert_allclose(picture.data["effective"], (1 - beta**n) / (1 - beta), rtol=1e-6)
    np.testing.assert_allclose(line(picture, "β = 0.99"), picture.data["effective"][1])
    assert picture.ax.get_xscale() == picture.ax.get_yscale() == "log"
    assert len(picture.ax.get_legend().get_texts()) == 3
    assert "and the smallest (5; ratio 100)" in picture.text and "no image" not in picture.text
    text = lp.plot_effective_number([500, 50, 5, 0], beta=0.9).text
    assert "and the smallest that has any (5; ratio 100)" in text and text.endswith(" 1 class has no image.")


def test_class_weights_have_mean_one():
    counts = np.array([5, 500, 50])
    picture = lp.plot_class_weights(counts, 0.999, weights={"mine": [3, 1, 2]})
    weights = picture.data["weights"]
    np.testing.assert_allclose(weights.mean(1), 1, rtol=1e-6)
    effective = (1 - 0.999 ** np.array([500, 50, 5.0])) / 0.001
    np.testing.assert_allclose(weights[0], 3 / effective / (1 / effective).sum(), rtol=1e-5)
    np.testing.assert_allclose(weights[1], [0.5, 1, 1.5])
    assert lp.plot_class_weights(counts, weights={"mine": [3, 1, 2]}).data["weights"].shape == (1, 3)
    with pytest.raises(ValueError, match=r"weights\['mine'\] must be one finite weight"):
        lp.plot_class_weights(counts, weights={"mine": [1, 2]})


def test_weight_norms_fit_each_seed_and_say_seven():
    picture = lp.plot_weight_norms({"ce": BASE})
    norms = picture.data["norms/ce"]
    np.testing.assert_allclose(norms[2], np.linalg.norm(BASE[2].head_weight, axis=1), rtol=1e-6)
    fits = np.array([weight_norm_fit(row, BASE[0].counts) for row in norms])
    assert picture.data["s"][0] == pytest.approx(fits[:, 0].mean())
    assert picture.data["rho"][0] == pytest.approx(fits[:, 2].mean())
    labels = [text.get_text() for text in picture.ax.get_legend().get_texts()]
    assert labels[0].startswith("ce (10 seeds): s = ") and "rₛ = " in labels[0]
    assert "s = 7 (slides)" in labels and "all norms equal" in labels and "slides: s = 7" in picture.text
    seven = next(ln for ln in picture.ax.lines if ln.get_label().startswith("s = 7"))
    (x0, x1), (y0, y1) = seven.get_xdata(), seven.get_ydata()
    assert (np.log(x1) - np.log(x0)) / (y1 - y0) == pytest.approx(7)


def test_weight_norms_draw_no_slope_through_noise():
    counts = np.array([100, 50, 20, 10, 5])
    equal = lp.plot_weight_norms([2.0, 2.01, 2.0, 2.005, 2.01], counts)
    assert "norms equal to 2%" in equal.text and np.isnan(equal.data["s"][0])
    loose = lp.plot_weight_norms([2.0, 1.0, 3.0, 1.5, 2.2], counts)
    assert "no trend" in loose.text and np.isnan(loose.data["s"][0])
    assert "not finite" in lp.plot_weight_norms(np.full(5, np.nan), counts).text
    two = lp.plot_weight_norms([2.0, 1.0], counts[:2])
    assert "two classes, no slope" in two.text and np.isnan([two.data[key][0] for key in ("s", "rho")]).all()
    exact = lp.plot_weight_norms((np.log(counts) - 1) / 4, torch.tensor(counts))
    assert exact.data["s"][0] == pytest.approx(4) and exact.data["c"][0] == pytest.approx(1)
    fit = [ln for ln in exact.ax.lines if len(ln.get_xdata()) == 2 and ln.get_gid() != "reference"][-1]
    np.testing.assert_allclose(np.log(fit.get_xdata()), 4 * np.asarray(fit.get_ydata()) + 1)
    with pytest.raises(ValueError, match="norms .* or a classifier matrix"):
        lp.plot_weight_norms([1.0, 2.0], counts)


def test_feature_norms_by_group():
    picture = lp.plot_feature_norms(ONE)
    np.testing.assert_allclose(picture.data["norms"], np.linalg.norm(ONE.features.astype(float), axis=1))
    head = third_groups(ONE.counts)["head"][ONE.targets]
    assert (picture.data["group"][head] == "head").all()
    assert picture.data["means"][0] == pytest.approx(picture.data["norms"][head].mean())
    assert picture.data["means"][0] > picture.data["means"][2]
    small = lp.plot_feature_norms(BASE)  # keeps no features: the mean of each class, with a band
    assert small.data["norms/ce"].shape == (10, 10)
    np.testing.assert_allclose(line(small, "ce (10 seeds"), small.data["norms/ce"].mean(0))
    with pytest.raises(ValueError, match="kind='violin': expected one of 'hist', 'kde'"):
        lp.plot_feature_norms(ONE, kind="violin")
    with pytest.raises(ValueError, match="targets=None: features need targets"):
        lp.plot_feature_norms(ONE.features)


def test_embedding_draws_the_points_given(monkeypatch):
    points = np.random.default_rng(1).normal(size=(len(ONE.targets), 2))
    picture = lp.plot_embedding(ONE, recorded=points)
    drawn = np.concatenate([c.get_offsets() for c in picture.ax.collections])
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(points, axis=0))
    assert 0 <= picture.data["overlap"] <= 1
    many = np.random.default_rng(2).normal(size=(5000, 8))
    dense = lp.plot_embedding(many, np.arange(5000) % 10, ONE.counts, recorded=many[:, :2])
    assert sum(len(c.get_offsets()) for c in dense.ax.collections) == 4000 and len(dense.data["points"]) == 5000
    same = lp.plot_embedding(ONE.features, ONE.targets, ONE.counts, method="pca")
    np.testing.assert_allclose(same.data["points"], lp.plot_embedding(ONE, method="pca").data["points"])
    with pytest.raises(ValueError, match="one point per image"):
        lp.plot_embedding(ONE, recorded=points[:5])
    with pytest.raises(ValueError, match="keeps no test features"):
        lp.plot_embedding(BASE[0])
    with pytest.raises(ValueError, match="targets=None: features need targets"):
        lp.plot_embedding(ONE.features)


def test_class_accuracy_is_the_mean_of_the_seeds():
    picture = lp.plot_class_accuracy(SEEDS)
    rows = np.array([np.diagonal(r.confusion) / r.confusion.sum(1) for r in BASE])
    np.testing.assert_allclose(picture.data["accuracy/ce"], rows)
    np.testing.assert_allclose(line(picture, "ce (10 seeds, ±1 sd)"), rows.mean(0))
    band = picture.ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((rows.mean(0) + rows.std(0, ddof=1)).max())
    assert line(picture, "chance, 1/10")[0] == pytest.approx(0.1)
    assert f"{100 * rows.mean():.1f}%" in picture.text
    assert picture.ax.yaxis.get_major_formatter()(0.25, 0) == "25%"
    arrays = lp.plot_class_accuracy(rows, BASE[0].counts)
    np.testing.assert_allclose(arrays.data["accuracy/accuracy"], rows)


def test_classes_are_sorted_by_count_whatever_their_numbers():
    run, turned = make_run(), make_run()
    order = np.random.default_rng(3).permutation(10)
    turned.counts, turned.confusion = run.counts[order], run.confusion[np.ix_(order, order)]
    turned.head_weight, turned.class_names = run.head_weight[order], [run.class_names[j] for j in order]
    for plot, key in (
        (lp.plot_class_accuracy, "accuracy/ce"),
        (lp.plot_weight_norms, "norms/ce"),
        (lp.plot_confusion, "confusion"),
    ):
        np.testing.assert_allclose(plot(run).data[key], plot(turned).data[key])
    labels = [t.get_text() for t in lp.plot_class_accuracy(turned).ax.get_xticklabels()]
    assert [label.split()[0] for label in labels] == CIFAR


def test_classes_without_a_common_name_are_ranks():
    picture = lp.plot_class_accuracy(SHUFFLED)
    assert [t.get_text() for t in picture.ax.get_xticklabels()][0] == "1\n5,000"
    assert picture.ax.get_xlabel().startswith("rank of the class")


def test_many_classes_are_drawn_as_means_of_ranks():
    picture = lp.plot_class_accuracy(THOUSAND)
    assert picture.data["accuracy/ce"].shape == (1, 1000)
    drawn = line(picture, "ce (1 seed)")
    assert len(drawn) == 100
    np.testing.assert_allclose(drawn, picture.data["accuracy/ce"][0].reshape(100, 10).mean(1))
    assert "means of 10 ranks" in picture.ax.get_xlabel()
    middle, binned = shared.bin_ranks(np.array([np.r_[np.arange(203.0), np.nan]]))
    assert len(middle) == 68 and binned[0, -1] == 201.5 and middle[-1] == 202


def test_gain_is_paired_by_seed():
    picture = lp.plot_gain(METHOD[:5][::-1], BASE[2:])
    rows = picture.data[f"gain/{LONG}"]
    accuracy = [np.diagonal(r.confusion) / r.confusion.sum(1) for r in SEEDS]
    np.testing.assert_allclose(rows, [accuracy[2 * s + 1] - accuracy[2 * s] for s in (2, 3, 4)])
    assert "3 seeds" in picture.ax.get_legend().get_texts()[0].get_text()
    assert "one seed: no verdict" in lp.plot_gain(BETTER, ONE).text
    with pytest.raises(ValueError, match="no seed in common"):
        lp.plot_gain(METHOD[:2], BASE[3:])
    with pytest.raises(ValueError, match="base must be the runs of one name"):
        lp.plot_gain(METHOD, SEEDS)
    with pytest.raises(ValueError, match="different data"):
        lp.plot_gain(make_run(name="a", ratio=10), ONE)


@pytest.mark.parametrize("group", ["all", "tail"])
def test_comparison_draws_every_seed_and_the_verdict(group):
    picture = lp.plot_comparison(SEEDS, group=group)
    left, right = picture.axes
    values = np.array([shot_accuracy(run)[group] for run in METHOD])
    dots = [ln for ln in left.lines if len(ln.get_xdata()) == 10]
    np.testing.assert_allclose(dots[1].get_xdata(), values)
    want = paired(METHOD, BASE, group)
    assert picture.data["difference"][1] == pytest.approx(want.mean) and picture.data["half"][1] == pytest.approx(
        want.half
    )
    words = [text.get_text() for text in right.texts]
    assert words[0] == "compared with this" and words[1].endswith(want.verdict) and want.verdict == "clearly better"
    assert want.verdict in picture.text and "reference" in picture.text
    assert list(lp.plot_comparison(SEEDS, base=LONG, group=group).data["verdict"]) == ["clearly worse", "reference"]


def test_comparison_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match="base='focal': expected one of 'ce'"):
        lp.plot_comparison(SEEDS, base="focal")
    with pytest.raises(ValueError, match="group='rare': expected one of 'all'"):
        lp.plot_comparison(SEEDS, group="rare")
    apart = lp.plot_comparison({"a": BASE[:2], "b": METHOD[5:]})
    assert list(apart.data["verdict"]) == ["reference", "no seed in common"]


def test_rows_of_a_comparison_move_in_place():
    found = series_of(SEEDS)
    rows = compare(found, found[0], "all")
    ax = Figure().subplots()
    drawn = SeedRows(ax, [None, None, None])
    assert [len(dots.get_xdata()) for dots in drawn.dots] == [0, 0, 0]
    drawn.update(rows)
    np.testing.assert_array_equal(drawn.dots[1].get_xdata(), rows[1].values)
    assert drawn.means[1].get_xdata()[0] == pytest.approx(rows[1].values.mean())
    assert [words.get_text() for words in drawn.words][::2] == ["compared with this", ""]
    assert (
        drawn.words[1].get_text()
        == rows[1].words
        == (f"{100 * rows[1].pair.mean:+.1f} ± {100 * rows[1].pair.half:.1f} pp: clearly better")
    )
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[0].replace("\N{NO-BREAK SPACE}", " ") == "ce (10 seeds)" and names[2] == ""
    drawn.update(rows[:1])
    assert len(drawn.dots[1].get_xdata()) == 0 and drawn.words[1].get_text() == ""
    assert [label.get_text() for label in ax.get_yticklabels()][1:] == ["", ""]


def test_labels_that_touch_are_moved_apart_and_others_stay():
    places = np.array([[0.0, 0.0], [0.3, 0.0], [5.0, 5.0], [0.0, 0.0]])
    moved = words.apart(places, 1.0)
    away = [np.linalg.norm(one - other) for one, other in itertools.combinations(moved, 2)]
    assert min(away) >= 1.0 and np.abs(moved[:2] - places[:2]).max() < 1.0
    np.testing.assert_array_equal(moved[2], [5.0, 5.0])
    np.testing.assert_array_equal(places[0], [0.0, 0.0])  # what was given is not changed
    np.testing.assert_array_equal(words.apart(places, 1.0), moved)


def test_numbers_below_zero_are_drawn_with_a_minus_sign():
    assert words.minus("rare -1.2 ± 0.3\nmiddle -.5") == "rare \N{MINUS SIGN}1.2 ± 0.3\nmiddle \N{MINUS SIGN}.5"
    assert words.minus("10-20, 1e-05, cross-entropy, --5, +0.0") == "10-20, 1e-05, cross-entropy, --5, +0.0"
    found = series_of({"better": METHOD[:4], "worse": BASE[:4]})
    rows = compare(found, found[0], "all")
    drawn = SeedRows(Figure().add_subplot(), rows)
    assert rows[1].words.startswith("-") and rows[1].pair.mean < 0  # the sentence keeps what a keyboard has
    assert drawn.words[1].get_text().startswith(f"\N{MINUS SIGN}{-100 * rows[1].pair.mean:.1f} ± ")
    picture = lp.plot_who_pays({"one": METHOD[:4]}, [make_run(seed=seed) for seed in range(4)])
    assert picture.data["beyond"][0] < 0 and "-" in picture.text
    legend = picture.ax.figure.legends[0].get_texts()[1].get_text()
    assert f"rare \N{MINUS SIGN}{-100 * picture.data['beyond'][0]:.1f} ± " in legend


def test_comparison_says_what_cannot_be_paired():
    found = series_of({"a": BASE[:2], "b": METHOD[5:], "c": METHOD[1:4]})
    assert [row.words for row in compare(found, found[0], "all")][:2] == ["compared with this", "no seed in common"]
    shared_seed = compare(found, found[0], "all")[2]
    assert shared_seed.words == f"one shared seed: {100 * shared_seed.pair.mean:+.1f} pp"
    other = make_run(seed=0, name="other")
    other.data = {"name": "fake", "fingerprint": "2"}
    base = make_run(seed=0)
    base.data = {"name": "fake", "fingerprint": "1"}
    found = series_of({"a": base, "b": other})
    assert compare(found, found[0], "all", other_data="other data")[1].words == "other data"
    with pytest.raises(ValueError, match="different data"):
        lp.plot_comparison({"a": base, "b": other})


def test_confusion_rows_are_shares_and_bars_are_predictions():
    picture = lp.plot_confusion(ONE)
    np.testing.assert_array_equal(picture.data["confusion"], ONE.confusion)
    share = picture.ax.collections[0].get_array()
    np.testing.assert_allclose(np.reshape(share, (10, 10)), ONE.confusion / 20)
    bars = [patch.get_height() for patch in picture.axes[1].patches]
    np.testing.assert_allclose(bars[:10], ONE.confusion.sum(0) / 200)
    summed = lp.plot_confusion(BASE)
    np.testing.assert_array_equal(summed.data["confusion"], sum(run.confusion for run in BASE))
    np.testing.assert_array_equal(lp.plot_confusion(ONE.confusion, ONE.counts).data["confusion"], ONE.confusion)
    with pytest.raises(ValueError, match="draws one method"):
        lp.plot_confusion(SEEDS)
    empty = lp.plot_confusion(np.zeros((4, 4), int), FOUR.counts)
    assert "4 of 4 classes are never predicted" in empty.text


def test_confusion_of_a_thousand_classes_is_binned():
    picture = lp.plot_confusion(THOUSAND)
    share = np.reshape(picture.ax.collections[0].get_array(), (100, 100))
    np.testing.assert_allclose(share[0].sum(), 1)
    np.testing.assert_allclose(share[3, 0], THOUSAND.confusion[30:40, :10].sum() / 50)
    assert picture.data["confusion"].shape == (1000, 1000)


def test_history_by_group_and_by_series():
    picture = lp.plot_history(ONE)
    tail = third_groups(ONE.counts)["tail"]
    np.testing.assert_allclose(picture.data["accuracy/ce/tail"][0], ONE.history["val_accuracy"][:, tail].mean(1))
    np.testing.assert_allclose(picture.axes[0].lines[0].get_ydata(), ONE.history["loss"])
    assert len(picture.axes[1].lines) == 3 and picture.data["epoch"][0] == 1
    both = lp.plot_history(SEEDS)
    assert len(both.axes[2].lines) == 4, "head and tail of two series"
    unseen = make_run()
    unseen.history["val_accuracy"] = np.full((30, 10), np.nan)
    assert any("no validation" in text.get_text() for text in lp.plot_history(unseen).axes[1].texts)
    unseen.history = {}
    with pytest.raises(ValueError, match="has no history"):
        lp.plot_history(unseen)


def test_loss_curve_of_a_function_is_its_equation():
    def focal(logits, targets, gamma=2.0):
        p = logits.softmax(1).gather(1, targets[:, None])[:, 0]
        return -((1 - p) ** gamma) * p.log()

    picture = lp.plot_loss_curve(focal, gamma=[0.0, 2.0], counts=(9, 3, 1), target=2)
    p = picture.data["p"][0]
    np.testing.assert_allclose(picture.data["loss"][0], -np.log(p))
    np.testing.assert_allclose(picture.data["loss"][1], -((1 - p) ** 2) * np.log(p))
    np.testing.assert_allclose(picture.data["gradient"][0], 1 - p)
    assert list(picture.data["labels"]) == ["gamma = 0.0", "gamma = 2.0"]
    with pytest.raises(ValueError, match="one loss per image"):
        lp.plot_loss_curve(torch.nn.functional.cross_entropy)
    with pytest.raises(ValueError, match="target=2: expected a whole number from 0 to 1"):
        lp.plot_loss_curve(focal, target=2)


def test_loss_curve_of_a_reader_s_own_loss():
    from ltviz.methods import METHODS
    from ltviz.objective import Objective

    def squared(out, targets, power=2.0):
        return (1 - out.logits.softmax(1).gather(1, targets[:, None])[:, 0]) ** power

    class Squared(Objective):
        def losses(self, out, targets):
            return squared(out, targets)

    for own in (squared, Squared):
        picture = lp.plot_loss_curve(own)
        np.testing.assert_allclose(picture.data["loss"][0], (1 - picture.data["p"][0]) ** 2, rtol=1e-6, atol=1e-9)
    several = lp.plot_loss_curve(squared, power=[1.0, 3.0])
    np.testing.assert_allclose(several.data["loss"][1], (1 - several.data["p"][1]) ** 3, rtol=1e-6, atol=1e-9)
    bound = lp.plot_loss_curve(METHODS["focal"](gamma=3.0))
    np.testing.assert_array_equal(bound.data["loss"], lp.plot_loss_curve("focal", gamma=3.0).data["loss"])
    assert bound.axes[0].get_title(loc="left") == "Loss: focal gamma=3" and "focal gamma=3" in bound.text


def test_loss_curve_of_methods():
    plain = lp.plot_loss_curve("ce", counts=DIGITS)
    np.testing.assert_allclose(plain.data["loss"][0], -np.log(plain.data["p"][0]), rtol=1e-6)
    np.testing.assert_allclose(plain.data["gradient"][0], 1 - plain.data["p"][0], rtol=1e-6)
    adjusted = lp.plot_loss_curve("logit_adjustment", tau=[0.0, 1.0], target=1)
    np.testing.assert_allclose(adjusted.data["loss"][0], -np.log(adjusted.data["p"][0]), rtol=1e-5)
    assert (adjusted.data["gradient"][1] > adjusted.data["gradient"][0]).all(), "the rare class pulls harder"


def test_loss_panels_move_in_place():
    figure = Figure()
    panels = LossPanels(figure.subplots(1, 2), "Loss")
    panels.add(color="k")
    p = np.array([0.1, 0.9])
    panels.update([(p, 1 - p, p**2)])
    assert [line.get_ydata().tolist() for line in panels.curves[0]] == [(1 - p).tolist(), (p**2).tolist()]
    panels.limit((0.0, 2.0), (0.0, 1.0))
    assert [ax.get_ylim() for ax in panels.axes] == [(0.0, 2.0), (0.0, 1.0)]
    figure.stale = False
    panels.limit((0.0, 2.0), (0.0, 1.0))
    assert not figure.stale, "what stays as it is costs no new background"


def test_every_method_has_a_loss_curve():
    from ltviz.methods import METHODS

    for key in METHODS:
        picture = lp.plot_loss_curve(key)
        assert np.isfinite(picture.data["loss"]).all(), key


def test_mistakes_are_the_most_confident_ones():
    picture = lp.plot_mistakes(ON_DIGITS, DIGITS, rows=2, columns=5)
    wrong = picture.data["index"]
    assert len(wrong) == 10 and (np.diff(picture.data["confidence"]) <= 0).all()
    assert (picture.data["true"] != picture.data["predicted"]).all()
    p = torch.tensor(ON_DIGITS.logits).softmax(1).amax(1).numpy()
    missed = ON_DIGITS.logits.argmax(1) != ON_DIGITS.targets
    np.testing.assert_allclose(picture.data["confidence"], np.sort(p[missed])[::-1][:10], rtol=1e-5)
    first = picture.ax.images[0].get_array()
    np.testing.assert_array_equal(first[..., 0], DIGITS.test_images[wrong[0]].numpy()[..., 0])
    with pytest.raises(ValueError, match="not the data set that the run was tested on"):
        lp.plot_mistakes(ONE, DIGITS)
    with pytest.raises(ValueError, match="keeps no test logits"):
        lp.plot_mistakes(BASE[0], DIGITS)
    perfect = digits_run()
    perfect.logits = 9.0 * np.eye(10)[perfect.targets]
    assert lp.plot_mistakes(perfect, DIGITS).text == "No mistake in 500 test images."


def test_reliability_carries_its_error():
    from ltviz.metrics import ece

    picture = lp.plot_reliability([ONE, BETTER], bins=10)
    assert picture.data["ece"][0] == pytest.approx(ece(ONE, bins=10))
    assert f"ECE {100 * picture.data['ece'][0]:.1f}%" in picture.ax.get_legend().get_texts()[0].get_text()


def test_a_diverged_run_is_drawn_without_a_warning():
    lost = make_run(name="lost")
    lost.confusion = np.zeros((10, 10), np.int64)
    lost.head_weight = np.full((10, 16), np.nan, np.float32)
    assert "undefined" in lp.plot_class_accuracy([ONE, lost]).text
    assert "diverged" in lp.plot_weight_norms([ONE, lost]).text
    assert list(lp.plot_comparison([ONE, lost]).data["verdict"]) == ["reference", "not defined"]


def test_what_training_returns_is_drawn():
    from ltviz.training import train

    run = train("ce", DIGITS, epochs=2, progress=False)
    for plot in (
        lp.plot_class_accuracy,
        lp.plot_weight_norms,
        lp.plot_feature_norms,
        lp.plot_confusion,
        lp.plot_history,
        lp.plot_reliability,
        lp.plot_comparison,
        lp.plot_counts,
    ):
        assert plot(run).data
    assert lp.plot_mistakes(run, DIGITS).data and lp.plot_embedding(run, method="pca").data
    assert lp.plot_mistakes(run).text == lp.plot_mistakes(run, DIGITS).text
    run.data = {"name": "collected"}
    with pytest.raises(ValueError, match="data is needed beside the run"):
        lp.plot_mistakes(run)


# ------------------------------------------------------------------------------------------------ names from outside
FOUR_PLOTS = [name for name in PLOTS if not re.search(r"\d{3,}|shuffled|cifar|seed| 4|kde", name)]
ODD = {
    "long": ["Sphyrapicus_varius_of_the_north", "Sphyrapicus_varius_of_the_south", "Sphyrapicus_thyroideus_of_both",
             "s" * 3000],
    "mathematics": ["$x{$", r"$\frac{$", r"a_{b$ c$ \alpha", "$5 and $6"],
    "empty": ["", " ", "\t\n", "\x00\x1b"],
    "lines": ["one\ntwo", "a\tb\r\nc", "x\u2028y", "\ufeffstart"],
    "same": ["cat", "cat", "cat ", "cat (2)"],
    "scripts": ["赤い車のような長い名前の分類クラス一番", "고양이와 강아지", "שלום עולם", "👩‍👩‍👧 family 😀"],
    "broken": ["\ud800", "a\udfffb", "\ue000", "e" + "\u0301" * 500],
    "markup": ["<img src=x onerror=alert(1)>", "_hidden", "100%", "a\\b{}^_"],
}  # fmt: skip


def with_names(run: Run, names: list[str]) -> Run:
    """A run of four classes under these names, with the last of them as its own label."""
    run = make_run(4, run.seed, names=names, name=names[-1], lift=0.1)
    return run


def odd_plots(names: list[str]) -> dict[str, object]:
    one = with_names(ONE, names)
    other = make_run(4, names=names, name=names[-2], lift=0.5)
    digits = digits_lt(n_max=40, ratio=10)
    digits.class_names = [*names, *digits.class_names[4:]]
    shown = digits_run()
    shown.class_names, shown.counts, shown.label = list(digits.class_names), digits.counts.numpy(), names[-1]

    def lost(logits, targets):
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")

    lost.__name__ = names[-1]
    return {
        "counts": lambda **kw: lp.plot_counts(one, **kw),
        "examples": lambda **kw: lp.plot_examples(digits, **kw),
        "effective": lambda **kw: lp.plot_effective_number(one, **kw),
        "weights": lambda **kw: lp.plot_class_weights(one, weights={name: [1, 2, 3, 4] for name in names}, **kw),
        "weight norms": lambda **kw: lp.plot_weight_norms([one, other], **kw),
        "feature norms": lambda **kw: lp.plot_feature_norms(one, **kw),
        "feature norms of two": lambda **kw: lp.plot_feature_norms([one, other], **kw),
        "embedding": lambda **kw: lp.plot_embedding(one, method="pca", **kw),
        "accuracy": lambda **kw: lp.plot_class_accuracy([one, other], **kw),
        "gain": lambda **kw: lp.plot_gain(other, one, **kw),
        "comparison": lambda **kw: lp.plot_comparison([one, other], **kw),
        "confusion": lambda **kw: lp.plot_confusion(one, **kw),
        "confusion titled": lambda **kw: lp.plot_confusion(one, title=names[-1].strip("\x00\x1b\t\n ") or "$", **kw),
        "history": lambda **kw: lp.plot_history([one, other], **kw),
        "loss curve": lambda **kw: lp.plot_loss_curve(lost, **kw),
        "mistakes": lambda **kw: lp.plot_mistakes(shown, DIGITS, **kw),
        "precision recall": lambda **kw: lp.plot_precision_recall([one, other], **kw),
        "cost": lambda **kw: lp.plot_cost([one, other], **kw),
        "reliability": lambda **kw: lp.plot_reliability([one, other], **kw),
    }  # fmt: skip


@pytest.mark.parametrize("own", [True, False], ids=["own axes", "given axes"])
@pytest.mark.parametrize("kind", ODD)
def test_every_plot_takes_every_name(kind, own):
    for name, plot in odd_plots(ODD[kind]).items():
        panels = {"comparison": 2, "confusion": 2, "confusion titled": 2, "history": 3, "loss curve": 2}.get(name, 1)
        axes = list(Figure(figsize=(14, 5)).subplots(1, panels, squeeze=False).flat)
        picture = plot() if own else plot(ax=axes if panels > 1 else axes[0])
        picture.figure.set_dpi(40)
        with shared.drawing():
            picture.figure.canvas.draw()
        assert shared._csv(picture.data) and picture.text.encode(), name
        assert picture.text == " ".join(picture.text.split()), name
        for text in picture.figure.findobj(Text):
            if text.get_parse_math():  # only what is written here, never a name
                assert text.get_text().count("$") in (0, 2), (name, text.get_text())


@pytest.mark.parametrize("kind", ODD)
def test_labels_of_classes_are_short_and_all_different(kind):
    one = with_names(ONE, ODD[kind])
    labels = [t.get_text().split("\n")[0] for t in lp.plot_class_accuracy(one).ax.get_xticklabels()]
    assert len(set(labels)) == 4 and all(label.strip() for label in labels)
    assert max(words.width(label) for label in labels) <= 30
    rows = [t.get_text() for t in lp.plot_confusion(one).ax.get_yticklabels()]
    assert len(set(rows)) == 4
    series = lp.plot_weight_norms([make_run(4, name=name, lift=i / 5) for i, name in enumerate(ODD[kind])])
    legend = [text.get_text() for text in series.ax.get_legend().get_texts()]
    assert len(set(legend)) == len(legend) == 6, "four series and two reference lines"


def test_names_are_cut_where_they_differ():
    assert words.short("Sphyrapicus_varius_of_the_north", 18) == "Sphyrapicus_variu…"
    assert words.short_names(ODD["long"][:2], 18) == ["Sphyrapic…he_north", "Sphyrapic…he_south"]
    assert words.short_names(["cat", "dog", "cat", ""], 18) == ["cat", "dog", "cat (2)", "(no name)"]
    assert words.short("one\ntwo\tthree", 18) == "one two three" and words.width("赤い車") == 6
    assert words.short("赤い車のような長い名前", 10) == "赤い車の…"
    assert words.distinct(["a", "a", "a (2)", "a"]) == ["a", "a (3)", "a (2)", "a (4)"]


@pytest.fixture
def chinese(tmp_path, monkeypatch):
    """A font that has two Chinese letters, installed for this test."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib import font_manager

    pen = TTGlyphPen(None)
    for i, corner in enumerate([(100, 0), (100, 700), (800, 700), (800, 0)]):
        (pen.lineTo if i else pen.moveTo)(corner)
    pen.closePath()
    build = FontBuilder(1000, isTTF=True)
    build.setupGlyphOrder([".notdef", "cat", "dog"])
    build.setupCharacterMap({ord("猫"): "cat", ord("犬"): "dog"})
    build.setupGlyf({name: pen.glyph() for name in (".notdef", "cat", "dog")})
    build.setupHorizontalMetrics({name: (1000, 0) for name in (".notdef", "cat", "dog")})
    build.setupHorizontalHeader(ascent=800, descent=-200)
    build.setupNameTable({"familyName": "Two Letters", "styleName": "Regular", "psName": "TwoLetters"})
    build.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    build.setupPost()
    build.save(tmp_path / "two.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    monkeypatch.setattr(words, "_added", [])
    font_manager.fontManager.addfont(tmp_path / "two.ttf")
    yield "Two Letters"
    words._fonts.cache_clear()
    lp.style(font=[])


def test_letters_are_taken_from_a_font_that_has_them(chinese, tmp_path):
    run = make_run(4, names=["猫", "犬", "cat", "dog"], name="猫")
    axes = Figure(figsize=(9, 5)).subplots()
    for picture in (lp.plot_class_accuracy(run), lp.plot_class_accuracy(run, ax=axes), lp.plot_gain(run, run)):
        assert "TwoLetters" in picture.save(tmp_path / "a.svg").read_text()
    assert "TwoLetters" not in lp.plot_counts(ONE).save(tmp_path / "b.svg").read_text()


def test_the_users_own_font_comes_first(chinese, tmp_path):
    with matplotlib.rc_context({"font.family": ["Not Installed", "DejaVu Serif"]}):
        assert "DejaVuSerif" in lp.plot_counts(ONE).save(tmp_path / "a.svg").read_text()
    with matplotlib.rc_context({"font.sans-serif": ["STIXGeneral", "DejaVu Sans"]}):
        assert "STIXGeneral" in lp.plot_counts(ONE).save(tmp_path / "a.svg").read_text()
    assert "DejaVuSans" in lp.plot_counts(ONE).save(tmp_path / "a.svg").read_text()
    lp.style(font="DejaVu Serif")
    assert "DejaVuSerif" in lp.plot_counts(ONE).save(tmp_path / "a.svg").read_text()
    lp.style(font=[])
    assert "DejaVuSerif" not in lp.plot_counts(ONE).save(tmp_path / "a.svg").read_text()
    with pytest.raises(ValueError, match="font='DejaVu Serf'.*did you mean 'DejaVu Serif'"):
        lp.style(font="DejaVu Serf")


def test_letters_that_no_font_has_are_said_once(monkeypatch, caplog):
    monkeypatch.setattr(words, "_told", set())
    names = ["\N{THAI CHARACTER KO KAI}\N{THAI CHARACTER KHO KHAI}", "\N{THAI CHARACTER KHO KHUAT}", "c", "d"]
    if any(
        ord(c) in words._letters(file)
        for name, file in words._installed().items()
        if name != words.LAST
        for c in names[0]
    ):
        pytest.skip("this machine has a Thai font")  # pragma: no cover
    for _ in range(2):
        lp.plot_counts(make_run(4, names=names))._repr_png_()
    said = [record.getMessage() for record in caplog.records if record.name == "ltviz"]
    assert len(said) == 1 and "THAI CHARACTER" in said[0] and "Noto Sans" in said[0]


# ---------------------------------------------------------------------------------------------------------- identity
def test_two_runs_with_one_id_are_both_drawn():
    one, other = make_run(), make_run(lift=0.6)
    other.id = one.id
    for runs in ([one, other], {"a": one, "b": other}):
        picture = lp.plot_class_accuracy(runs)
        drawn = [values for name, values in picture.data.items() if name.startswith("accuracy/")]
        assert len(drawn) == 2 and not np.allclose(*drawn)
    assert list(lp.plot_comparison([one, other]).data["labels"]) == ["ce", "ce (2)"]
    assert list(lp.plot_reliability([one, other]).data["labels"]) == ["ce", "ce (2)"]
    again = make_run()
    again.confusion = again.confusion.copy()
    assert len(series_of([one, again])[0].runs) == 1, "a run that was read twice is one run"
    assert [s.name for s in series_of({1: one, "1": other})] == ["1", "1 (2)"]


def test_what_differs_is_said_even_where_only_one_run_has_it():
    one, other = make_run(), make_run(seed=1)
    other.settings = {"gamma": 2.0}
    assert [s.name for s in series_of([one, other])] == ["ce gamma=None", "ce gamma=2.0"]


# ------------------------------------------------------------------------------------------------------------- saving
@pytest.mark.parametrize("kind", ["png", "svg", "pdf", "csv"])
def test_a_failed_save_leaves_what_was_there(kind, tmp_path, monkeypatch):
    picture, path = lp.plot_counts(ONE), tmp_path / f"a.{kind}"
    path.write_text("before")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            picture.save(path)
        with pytest.raises(OSError, match="No space"):
            picture.save(tmp_path / f"new.{kind}")
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == [path.name]
    assert picture.save(path).read_bytes() != b"before"


@pytest.mark.parametrize("path", [None, 3, "", "a.gif", "a", b"a.png"])
def test_save_says_what_a_path_is(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="path="):
        lp.plot_counts(ONE).save(path)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match="path="):
        lp.plot_counts(ONE).save("folder.png")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


# --------------------------------------------------------------------------------------------------- wrong arguments
def broken(**changes) -> Run:
    run = make_run()
    for name, value in changes.items():
        setattr(run, name, value)
    return run


NAN_FEATURES = broken(features=np.where(np.arange(16) == 3, np.nan, ONE.features))
INF_FEATURES = broken(features=np.where(np.arange(16) == 3, np.inf, ONE.features).astype(np.float16))
NAN_LOGITS = broken(logits=np.where(np.arange(10) == 3, np.nan, ONE.logits))
NO_RUN = [
    None,
    3,
    True,
    "ce",
    b"ce",
    [],
    {},
    [None],
    ["ce"],
    {"a": None},
    {"a": 3},
    {"a": "b"},
    np.ones(3),
    Run,
    object(),
    [ONE, None],
    [[ONE]],
    broken(counts=None),
    broken(counts=np.array([-1.0] * 10)),
    broken(confusion=np.eye(3)),
    broken(confusion=None),
]
NO_COUNTS = [
    None,
    3,
    True,
    "abc",
    [],
    {},
    ["a", "b"],
    [[1, 2], [3, 4]],
    [1, -2],
    [1, np.nan],
    [1, np.inf],
    [0, 0],
    [True, False],
    [1 + 2j, 3],
    [[1], [2, 3]],
    {0: 5, 2: 3},
    {"a": "b"},
    {(): 1},
    object(),
    [None, 1],
]
NO_AX = [3, "ax", Figure(), [], [None], {}, object(), np.zeros(2)]
WRONG = {
    "counts data": [lambda v=v: lp.plot_counts(v) for v in NO_COUNTS],
    "effective data": [lambda v=v: lp.plot_effective_number(v) for v in NO_COUNTS],
    "weights data": [lambda v=v: lp.plot_class_weights(v) for v in NO_COUNTS],
    "effective beta": [lambda v=v: lp.plot_effective_number(ONE, v) for v in ("x", [], 2, -0.1, np.nan, [0.9, 2], {},
                                                                             [[0.1, 0.2], [0.3, 0.4]], True)],
    "weights beta": [lambda v=v: lp.plot_class_weights(ONE, v) for v in ("x", [], 2, -0.1, np.nan, object())],
    "weights weights": [lambda v=v: lp.plot_class_weights(ONE, weights=v) for v in (
        3, "x", [1] * 10, {"a": None}, {"a": [1] * 9}, {"a": [-1] * 10}, {"a": [np.nan] * 10}, {"a": [0] * 10},
        {"a": [np.inf] * 10}, {"a": "abcdefghij"})],
    "examples data": [lambda v=v: lp.plot_examples(v) for v in (None, 3, "x", ONE, [1, 2], type(DIGITS))],
    "examples columns": [lambda v=v: lp.plot_examples(DIGITS, columns=v) for v in (0, -1, 2.5, "3", None, True)],
    "examples rows": [lambda v=v: lp.plot_examples(DIGITS, rows=v) for v in (0, -1, 2.5, "3", None, True)],
    **{f"{plot} runs": [lambda v=v, plot=plot: getattr(lp, f"plot_{plot}")(v) for v in NO_RUN] for plot in (
        "class_accuracy", "comparison", "confusion", "history", "reliability", "weight_norms", "feature_norms")},
    "gain runs": [lambda v=v: lp.plot_gain(v, ONE) for v in NO_RUN],
    "gain base": [lambda v=v: lp.plot_gain(ONE, v) for v in NO_RUN],
    "accuracy counts": [lambda v=v: lp.plot_class_accuracy(np.full(10, 0.5), v) for v in NO_COUNTS[1:]]
    + [lambda: lp.plot_class_accuracy(ONE, ONE.counts)],
    "accuracy runs": [lambda v=v: lp.plot_class_accuracy(v, [3, 2]) for v in (
        None, "ab", [0.5], [50, 60], [-0.1, 0.2], [np.inf, 0], [np.nan, np.nan], [[[0.1, 0.2]]], ["a", "b"], {})],
    "weight norms runs": [lambda v=v: lp.plot_weight_norms(v, [3, 2]) for v in (
        None, "ab", [1.0], [-1.0, 2.0], np.zeros((2, 2, 2)), {}, ONE)] + [lambda: lp.plot_weight_norms(BASE[0], "x")],
    "confusion runs": [lambda v=v: lp.plot_confusion(v, [3, 2]) for v in (
        None, "ab", [1, 2], np.eye(3), [[1, -1], [0, 1]], [[np.nan, 1], [0, 1]], [[np.inf, 1], [0, 1]], ONE,
        [[0.5, 0.5], [0.2, 0.8]])],
    "confusion title": [lambda v=v: lp.plot_confusion(ONE, title=v) for v in (None, 3, ["a"])],
    "comparison group": [lambda v=v: lp.plot_comparison(SEEDS, group=v) for v in (None, 3, "rare", [], {})],
    "comparison base": [lambda v=v: lp.plot_comparison(SEEDS, base=v) for v in (3, "rare", [], ONE, True)],
    "feature norms kind": [lambda v=v: lp.plot_feature_norms(ONE, kind=v) for v in (None, 3, "violin", [])],
    "feature norms features": [lambda v=v: lp.plot_feature_norms(v, [0, 1], [3, 2]) for v in (
        None, "x", [1, 2], np.zeros((3, 2)), [[np.nan], [1]], [["a"], ["b"]], np.zeros((2, 0)), [[1], [2, 3]])],
    "feature norms targets": [lambda v=v: lp.plot_feature_norms(np.ones((2, 3)), v, [3, 2]) for v in (
        None, "x", [0], [0, 2], [-1, 0], [0.5, 1], ["a", "b"], [[1, 0], [0, 1]], [np.nan, 0], {})],
    "feature norms counts": [lambda v=v: lp.plot_feature_norms(np.ones((2, 3)), [0, 1], v) for v in NO_COUNTS],
    "features not finite": [lambda v=v, plot=plot: plot(v) for v in (NAN_FEATURES, INF_FEATURES) for plot in (
        lambda v: lp.plot_feature_norms(v), lambda v: lp.plot_embedding(v, method="pca"))],
    "logits not finite": [lambda plot=plot: plot(NAN_LOGITS) for plot in (
        lambda v: lp.plot_reliability(v), lambda v: lp.plot_mistakes(v, DIGITS))],
    "embedding run": [lambda v=v: lp.plot_embedding(v) for v in (None, 3, "x", [], ONE.features, Run, [ONE])],
    "embedding targets": [lambda v=v: lp.plot_embedding(np.eye(6), v, [3, 2], method="pca") for v in (
        None, "x", [0], [0, 2] * 3, [-1, 0] * 3, [0.5, 1] * 3)] + [lambda: lp.plot_embedding(ONE, ONE.targets)],
    "embedding counts": [lambda v=v: lp.plot_embedding(np.eye(6), [0, 1] * 3, v, method="pca") for v in NO_COUNTS],
    "embedding method": [lambda v=v: lp.plot_embedding(ONE, method=v) for v in (None, 3, "t-sne", [], int)],
    "embedding seed": [lambda v=v: lp.plot_embedding(ONE, seed=v) for v in (None, -1, 2.5, "0", True)],
    "embedding recorded": [lambda v=v: lp.plot_embedding(ONE, recorded=v) for v in (3, [], [[1, 2]], np.full((200, 2),
                                                                                                     np.nan))],
    "embedding setting": [lambda: lp.plot_embedding(ONE, colour=3), lambda: lp.plot_embedding(ONE, perplexity="x"),
                          lambda: lp.plot_embedding(ONE, perplexity=np.nan)],
    "precision recall run": [lambda v=v: lp.plot_precision_recall(v) for v in (None, 3, "x", [], ONE.features)],
    "precision recall positive": [lambda v=v: lp.plot_precision_recall(ONE, positive=v) for v in (
        -1, 10, "x", 0.5, True)],
    "cost run": [lambda v=v: lp.plot_cost(v) for v in (None, 3, "x", [], ONE.features, NAN_LOGITS)],
    "cost cost": [lambda v=v: lp.plot_cost(ONE, cost=v) for v in (None, 0, -1, np.nan, "3", True)],
    "cost prevalence": [lambda v=v: lp.plot_cost(ONE, prevalence=v) for v in (-0.1, 1.1, np.nan, "3", True)],
    "loss curve method": [lambda v=v: lp.plot_loss_curve(v) for v in (None, 3, "focl", [], lambda: 0)],
    "loss curve counts": [lambda v=v: lp.plot_loss_curve("ce", counts=v) for v in [*NO_COUNTS, [5]]],
    "loss curve target": [lambda v=v: lp.plot_loss_curve("ce", target=v) for v in (None, -1, 2, 0.5, "0", True)],
    "loss curve setting": [lambda: lp.plot_loss_curve("focal", gamma=[]), lambda: lp.plot_loss_curve("focal", beta=1),
                           lambda: lp.plot_loss_curve(torch.nn.functional.cross_entropy, colour=1)],
    "mistakes run": [lambda v=v: lp.plot_mistakes(v) for v in (None, 3, "x", [ONE], Run, BASE[0])],
    "mistakes data": [lambda v=v: lp.plot_mistakes(ON_DIGITS, v) for v in (3, "x", [], ONE)],
    "mistakes rows": [lambda v=v: lp.plot_mistakes(ON_DIGITS, DIGITS, rows=v) for v in (0, -1, 2.5, "3", None, True)],
    "mistakes columns": [lambda v=v: lp.plot_mistakes(ON_DIGITS, DIGITS, columns=v) for v in (0, -1, 2.5, None)],
    "reliability bins": [lambda v=v: lp.plot_reliability(ONE, bins=v) for v in (0, -1, 2.5, "3", None, True, np.nan)],
    "style scale": [lambda v=v: lp.style(v) for v in (0, -1, "1", np.nan, np.inf, True, [1], 50)],
    "style font": [lambda v=v: lp.style(font=v) for v in (3, "Nonesuch", [3], {}, True)],
    **{f"{name} ax": [lambda v=v, name=name: PLOTS[name](ax=v) for v in NO_AX] for name in FOUR_PLOTS},
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_argument_is_named(what):
    for i, call in enumerate(WRONG[what]):
        try:
            call()
        except ValueError as error:
            assert re.search(
                r"\b(data|beta|weights|columns|rows|runs?|base|counts|title|group|kind|targets|features|"
                r"method|seed|recorded|target|bins|cost|prevalence|positive|scale|font|ax|logits|confusion|settings?|gamma|colour|"
                r"perplexity)\b",
                str(error),
            ), f"{what}, call {i}: {error}"
        except Exception as error:
            pytest.fail(f"{what}, call {i}: {type(error).__name__}: {error}")
        else:
            pytest.fail(f"{what}, call {i} was accepted")


def test_counts_may_be_a_counter():
    from collections import Counter

    picture = lp.plot_counts(Counter("aabbbc"))
    assert picture.data["counts"].tolist() == [3, 2, 1] and picture.data["names"].tolist() == ["b", "a", "c"]
    assert lp.plot_counts(Counter([0, 1, 1, 2])).data["counts"].tolist() == [2, 1, 1]
    np.testing.assert_array_equal(
        lp.plot_feature_norms(np.eye(4), [0, 1, 1, 0], Counter({1: 5, 0: 9})).data["group"],
        ["head", "tail", "tail", "head"],
    )
    with pytest.raises(ValueError, match="data=.*keys? the class numbers from 0 on"):
        lp.plot_counts(Counter([1, 1, 2]))


def test_norms_of_half_precision_do_not_overflow():
    far = np.full((6, 3), 60_000, np.float16)  # each is finite in float16, its length is not
    picture = lp.plot_feature_norms(far, [0, 0, 1, 1, 2, 2], [9, 5, 1])
    np.testing.assert_allclose(picture.data["norms"], 60_000 * np.sqrt(3), rtol=1e-3)
    heads = broken(head_weight=np.full((10, 16), 40_000, np.float16))
    np.testing.assert_allclose(lp.plot_weight_norms(heads).data["norms/ce"], 160_000, rtol=1e-3)
    assert np.isfinite(
        lp.plot_embedding(
            far + np.arange(6, dtype=np.float16)[:, None] * 64, [0, 0, 1, 1, 2, 2], [9, 5, 1], method="pca"
        ).data["points"]
    ).all()


def test_seeds_that_drew_other_images_are_one_series():
    runs = [make_run(seed=seed) for seed in range(3)]
    for run in runs:  # what follows from the images, and differs with the seed that drew them
        run.data = {
            "name": "fake",
            "ratio": 50,
            "seed": run.seed,
            "fingerprint": str(run.seed),
            "mean": [0.1 * run.seed],
            "std": [1.0 + run.seed],
            "pad": 0,
            "flip": False,
        }
    assert [(one.name, len(one.runs)) for one in series_of(runs)] == [("ce", 3)]


def contrast(one, other):
    """The contrast of two colours, 1 to 21 (WCAG 2)."""
    light = []
    for colour in (one, other):
        c = np.array(to_rgb(colour))
        light.append(np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722) + 0.05)
    return max(light) / min(light)


def test_numbers_can_be_read_on_every_share_in_both_themes():
    """Also where a page of the site rounds colours to sixteen values a channel."""
    assert contrast("white", "black") == pytest.approx(21.0)
    assert contrast("#777777", "white") == pytest.approx(4.478, abs=1e-3)
    for share in np.linspace(0, 1, 401):
        for steps in (255, 15):
            cell, number = (
                np.rint(steps * np.array(to_rgb(one))) / steps for one in (SHARE(share), number_colour(share))
            )
            assert contrast(cell, number) >= 4.5, share
            turned = darken(np.rint(255 * np.array([[cell, number]])).astype(np.uint8))[0]
            assert contrast(*(1.15 * turned / 255).clip(0, 1)) >= 4.5, share  # screens are brighter by that
    light = [sum(SHARE(share)[:3]) for share in np.linspace(0, 1, 401)]
    assert all(one >= other for one, other in itertools.pairwise(light)), "the larger, the darker"
    drawn = lp.plot_confusion(ONE).ax
    shares = np.asarray(drawn.collections[0].get_array()).ravel()
    assert len(drawn.texts) == len(shares) and 0.3 < shares.max() and shares.min() < 0.5
    assert [text.get_color() for text in drawn.texts] == [number_colour(one) for one in shares]


def test_a_dark_theme_turns_lightness_and_keeps_hues_and_photographs():
    """Against the filter of CSS, worked by hand, and on pictures with and without photographs."""
    given = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]]], np.uint8)
    # invert(0.93): x -> 0.93 - 0.86 x; hue-rotate(180deg) keeps grey and turns the rest half round the circle.
    np.testing.assert_array_equal(darken(given)[0, :2], [[18] * 3, [237] * 3])
    red, blue = darken(given)[0, 2:].astype(int)
    assert red.tolist() == [255, 144, 144] and blue.tolist() == [206, 206, 255]

    def shown(picture):
        return np.asarray(Image.open(io.BytesIO(picture._repr_png_())).convert("RGB")).astype(int)

    curves, photos = lp.plot_effective_number([100, 10]), lp.plot_examples(DIGITS)
    for _ in range(2):  # the layout settles at the first drawing
        light = [shown(picture) for picture in (curves, photos)]
    try:
        lp.style(theme="dark")
        dark = [shown(picture) for picture in (curves, photos)]
    finally:
        lp.style(theme="light")
    np.testing.assert_array_equal(shown(curves), light[0])
    assert np.median(light[0]) == 255 and np.median(dark[0]) == 18
    image = photos.ax.images[0]
    x0, y0, x1, y1 = (1.5 * image.get_window_extent().extents).round().astype(int)
    top = light[1].shape[0] - y1
    first = np.s_[top + 3 : top + 9, x0 + 3 : x0 + 9]  # inside the first picture of the first row
    np.testing.assert_allclose(dark[1][first], light[1][first], atol=3)  # 255 colours
    last = np.s_[light[1].shape[0] - y0 - 6 : light[1].shape[0] - y0 - 2, x1 - 6 : x1 - 2]  # beside the last row
    assert (light[1][last] == 255).all() and (dark[1][last] == 18).all()
    with pytest.raises(ValueError, match="theme='night'"):
        lp.style(theme="night")
    page = photos._repr_mimebundle_()[0]["text/html"]
    day, night = (base64.b64decode(found) for found in re.findall(r"data:image/png;base64,([\w+/=]+)", page))
    for found, want in ((day, light[1]), (night, dark[1])):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found)).convert("RGB")), want)
    page = curves._repr_mimebundle_()[0]["text/html"]
    assert 'class="ltviz-picture"' in page and f'alt="{html.escape(curves.text)}"' in page and "--dark" not in page


def test_who_pays_draws_the_line_of_each_seed_and_a_dot_with_its_interval():
    base = [make_run(seed=seed) for seed in range(4)]
    picture = lp.plot_who_pays({"other": METHOD[:4], "same": base}, base, goal=(0.7, 0.4))
    lines = [frontier(run) for run in base]
    drawn = [line for line in picture.ax.lines if line.get_alpha() == 0.45]
    np.testing.assert_allclose([line.get_ydata() for line in drawn], [one.tail[one.tau >= 0] for one in lines])
    data = picture.data
    np.testing.assert_allclose(data["frontier_head"], np.mean([one.head[one.tau >= 0] for one in lines], axis=0))
    want = beyond(METHOD[:4], base)
    assert data["beyond"][0] == pytest.approx(want.mean) and data["beyond_half"][0] == pytest.approx(want.half)
    assert list(data["labels"]) == ["other", "same"] and data["verdict"][0] == want.verdict
    assert data["head"][0] == pytest.approx(np.mean([shot_accuracy(run)["head"] for run in METHOD[:4]]))
    assert want.verdict in picture.text and "goal of 70% and 40%" in picture.text
    assert data["middle"][0] == pytest.approx(beyond(METHOD[:4], base, "mid").mean)
    legend = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert len(legend) == 3 and want.verdict in legend[1] and "middle" in legend[1]


def test_who_pays_draws_crowded_dots_once_more_and_larger():
    base = [make_run(seed=seed) for seed in range(4)]
    near = {"one": base, "other": base[:3]}
    heads = [np.mean([shot_accuracy(run)["head"] for run in runs]) for runs in near.values()]
    assert min(heads) > 0.55 and np.ptp(heads) < 0.12, "the case that is meant"
    (inset,) = lp.plot_who_pays(near, base).ax.child_axes
    (left, right), (low, high) = inset.get_xlim(), inset.get_ylim()
    tails = [np.mean([shot_accuracy(run)["tail"] for run in runs]) for runs in near.values()]
    assert left < min(heads) and max(heads) < right and low <= min(tails) and max(tails) <= high
    assert right - left < 0.5 and not lp.plot_who_pays({"one": base}, base).ax.child_axes
    single = lp.plot_who_pays({"one": base[:1], "other": base[:1]}, base[:1])  # without intervals
    assert len(single.ax.child_axes) == 1 and np.isfinite(single.ax.child_axes[0].get_xlim()).all()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_who_pays_writes_tau_where_it_covers_no_dot_interval_or_larger_picture(theme):
    base = [make_run(seed=seed) for seed in range(4)]
    lp.style(theme=theme)
    try:
        picture = lp.plot_who_pays({"one": base, "other": base[:3], "mine": METHOD[:4]}, base)
        picture._repr_png_()
    finally:
        lp.style(theme="light")
    ax, data = picture.ax, picture.data
    taus = [text for text in ax.texts if text.get_text().startswith("τ")]
    assert 2 <= len(taus) <= 5 and ax.child_axes
    boxes = [text.get_window_extent() for text in taus]
    assert all(text.get_zorder() > 4.5 and text.get_path_effects() for text in taus), "above what they might touch"
    place, head, tail = ax.transData.transform, np.array(data["head"]), np.array(data["tail"])
    for i, (x, y) in enumerate(zip(head, tail, strict=True)):
        reach = np.nan_to_num([data["head_half"][i], data["tail_half"][i]])
        for half in np.diag(reach):
            bar = matplotlib.path.Path(place([np.array([x, y]) - half, np.array([x, y]) + half]))
            assert not any(bar.intersects_bbox(box, filled=False) for box in boxes)
        assert not any(box.contains(*place((x, y))) for box in boxes)
    (inset,) = ax.child_axes
    larger = inset.get_window_extent()
    assert not any(box.overlaps(larger) for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_who_pays_of_many_groups_shows_verdicts_and_the_names_that_find_room():
    base = [make_run(seed=seed) for seed in range(4)]
    groups = {f"group {i:02d}": (METHOD[:4] if i % 2 else base) for i in range(14)}
    picture = lp.plot_who_pays(groups, base)
    legend = [text.get_text() for text in picture.ax.figure.legends[0].get_texts()]
    said = dict(line.rsplit(": ", 1) for line in legend[1:])
    verdicts = picture.data["verdict"]
    better, worse = (sum(one.endswith(word) for one in verdicts) for word in ("better", "worse"))
    assert said == {"beyond the line (p < .05)": str(better), "undecided": str(14 - better - worse),
                    "below the line (p < .05)": str(worse)}  # fmt: skip
    names = [text for text in picture.ax.texts if text.get_text().startswith("group")]
    assert 2 <= len(names) < 14, "seven lie on one another"
    boxes = [text.get_window_extent() for text in names]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert "luck alone would call\nabout 0.7" in picture.ax.figure.legends[0].get_title().get_text()


def test_who_pays_takes_a_run_for_a_list_of_one():
    base = make_run(seed=METHOD[0].seed)
    one = lp.plot_who_pays({"mine": METHOD[0]}, base).data
    other = lp.plot_who_pays({"mine": METHOD[:1]}, [base]).data
    np.testing.assert_array_equal(one["tail"], other["tail"])
    np.testing.assert_array_equal(one["frontier_tail"], other["frontier_tail"])


def test_who_pays_refuses_what_it_cannot_draw():
    base = [make_run()]
    for goal in (0.5, (0.5,), (0.5, 2.0), ("a", 0.1)):
        with pytest.raises(ValueError, match="^goal"):
            lp.plot_who_pays(base, base, goal=goal)
    with pytest.raises(ValueError, match="logits"):
        lp.plot_who_pays(base, METHOD[:1])
    for wrong in (3, [3], "ce", None, {"ce": base}):
        with pytest.raises(ValueError, match="^base=.*the plain network's runs"):
            lp.plot_who_pays(base, wrong)
    with pytest.raises(ValueError, match="^base="):
        lp.plot_who_pays(base, [])


@pytest.mark.parametrize("origin", ["upper", "lower"])
@pytest.mark.parametrize("turned", [False, True])
def test_pixels_are_drawn_as_imshow_draws_them(origin, turned):
    """The same picture, whichever row comes first and whichever way the axis runs."""
    colours = np.random.default_rng(0).integers(0, 255, (7, 5, 3), np.uint8)
    found = []
    for fast in (False, True):
        surface = Surface(3, 2)
        with drawing():
            ax = surface.figure.add_axes((0.1, 0.1, 0.8, 0.8))
            look = {"origin": origin, "zorder": 2}
            if fast:
                image = Pixels(ax, colours, (0, 5, 0, 7), **look)
            else:
                image = ax.imshow(colours, extent=(0, 5, 0, 7), interpolation="nearest", aspect="auto", **look)
            ax.set(xlim=(0, 5), ylim=(7, 0) if turned else (0, 7))
        surface.animate(image)
        found.append(surface.pixels())
    assert np.array_equal(*found) and len(np.unique(found[0].reshape(-1, 4), axis=0)) >= 35
    image.set_visible(False)
    assert not np.array_equal(surface.pixels(), found[1])


def test_labels_and_answers_are_no_counts_and_no_accuracies():
    labels = np.arange(60) % 3
    two = np.arange(60) % 2
    for draw, match in (
        (lambda: lp.plot_counts(labels), "data=.*look like the labels of 60 images: count them"),
        (lambda: lp.plot_counts(torch.from_numpy(labels) + 1), "data=.*look like the labels of 60 images"),
        (lambda: lp.plot_counts([0.5, 0.3, 0.2]), "data=.*numbers of training images, at least one"),
        (lambda: lp.plot_class_accuracy(labels, labels), "counts=.*look like the labels"),
        (lambda: lp.plot_class_accuracy(two, two), "counts=.*look like the labels"),
        (lambda: lp.plot_class_accuracy(two, np.linspace(0, 0.9, 60)), "counts=.*numbers of training images"),
        (lambda: lp.plot_class_accuracy([90, 50], [100, 10]), "runs=.*fractions from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=match):
            draw()
    few = np.sort(labels)[::-1]  # few images of many classes, sorted
    for counts in (few, dict(enumerate(labels))):
        np.testing.assert_array_equal(lp.plot_counts(counts).data["counts"], few)


# --- equal counts: no class is frequent and none rare ---------------------------------------------------------------
EQUAL = [make_run(ratio=1, seed=s, name=n, lift=b) for s in range(2) for n, b in (("ce", 0), ("b", 0.5))]
NO_GROUPS = "All classes have the same number of training images: there are no head and tail classes."


@pytest.mark.parametrize("draw", [
    lambda: lp.plot_counts(EQUAL[0]), lambda: lp.plot_counts([5, 5]), lambda: lp.plot_confusion(EQUAL[0]),
    lambda: lp.plot_class_accuracy(EQUAL), lambda: lp.plot_gain(EQUAL[1::2], EQUAL[::2]),
    lambda: lp.plot_history(EQUAL[0]), lambda: lp.plot_history(EQUAL), lambda: lp.plot_feature_norms(EQUAL[0]),
    lambda: lp.plot_feature_norms(EQUAL), lambda: lp.plot_embedding(EQUAL[0], method="pca"),
    lambda: lp.plot_class_weights(EQUAL[0]),
])  # fmt: skip
def test_equal_counts_make_no_groups_and_the_sentence_says_so(draw):
    picture = draw()
    assert picture.text.endswith(NO_GROUPS) and "undefined" not in picture.text
    assert not re.search(r"\b(head|mid|tail) ", picture.text.removesuffix(NO_GROUPS))
    shown = [text.get_text() for ax in picture.axes for text in ax.figure.findobj(Text)]
    assert not {"head", "mid", "tail", "head classes", "tail classes"} & set(shown)


def test_equal_counts_have_all_classes_in_one_look():
    bars, points = lp.plot_confusion(EQUAL[0]).axes[1], lp.plot_counts(EQUAL[0]).axes[0]
    assert len(bars.patches) == 10 and sum(len(line.get_xdata()) == 10 for line in points.lines) == 1
    data = lp.plot_history(EQUAL[0]).data
    assert [key for key in data if key.startswith("accuracy/")] == ["accuracy/ce/all"]
    np.testing.assert_allclose(data["accuracy/ce/all"][0], EQUAL[0].history["val_accuracy"].mean(1))


def test_groups_that_equal_counts_do_not_make_are_refused():
    with pytest.raises(ValueError, match="group='tail': expected 'all'.*the same number of training images"):
        lp.plot_comparison(EQUAL, group="tail")
    with pytest.raises(ValueError, match="groups: All classes have the same number of training images"):
        lp.plot_who_pays(EQUAL[1::2], EQUAL[::2])


@pytest.mark.parametrize("plot, arrays", [
    (lp.plot_confusion, [[5, 1], [2, 3]]), (lp.plot_class_accuracy, [0.9, 0.5, 0.1]),
    (lp.plot_class_accuracy, np.full((2, 3), 0.5)), (lp.plot_weight_norms, np.ones((3, 4))),
])  # fmt: skip
def test_arrays_without_counts_are_told_that_they_need_them(plot, arrays):
    for given in (arrays, np.array(arrays)):
        with pytest.raises(ValueError, match=r"^counts=None: arrays need counts \(k,\) beside them"):
            plot(given)


def test_lengths_of_a_cosine_head_are_said_to_decide_nothing():
    rng = np.random.default_rng(0)
    f, w = rng.normal(size=(40, 4)), rng.normal(size=(3, 4))
    unit = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (f, w)]
    made = dict(targets=np.arange(40) % 3, counts=[9, 5, 2], features=f, head_weight=w)
    cosine = lt.from_predictions(logits=16 * unit[0] @ unit[1].T, name="cosine", **made)
    linear = lt.from_predictions(logits=f @ w.T, name="linear", **made)
    says = "is a cosine head, which compares directions only: its lengths change no decision."
    assert cosine.scale == pytest.approx(16)
    assert lp.plot_weight_norms(cosine).text.endswith(f" The classifier {says}")
    assert lp.plot_weight_norms([cosine, linear]).text.endswith(f" That of cosine {says}")
    assert "cosine" not in lp.plot_weight_norms(linear).text


def test_who_pays_where_no_rare_image_was_tested_says_undefined():
    run = lt.from_predictions([0, 1] * 10, np.random.default_rng(0).normal(size=(20, 3)), counts=[9, 5, 2])
    said = lp.plot_who_pays({"a": [run]}, [run]).text
    assert "% and undefined (its distance from it is undefined)" in said and "nan" not in said


@pytest.mark.parametrize("method", ["predictions", "collected"])
def test_answers_without_a_training_have_no_history_and_are_told_why(method):
    run = lt.from_predictions([0, 1], predictions=[0, 1], counts=[9, 5])
    run = dataclasses.replace(run, method=method)
    made = "from_predictions" if method == "predictions" else "collect"
    with pytest.raises(ValueError, match=f"has no history: lt.{made} sees no training; lt.train records one"):
        lp.plot_history(run)
