"""The test images that a network gets wrong with the most confidence."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import check, metrics
from .classes import drawn_groups, no_groups
from .examples import mosaic
from .picture import GROUP_INK, Picture, as_percent, draws, get_axes
from .series import array, checked_run, class_counts, given_names, test_scores
from .text import short_names
from .theme import PHOTO


@draws
def plot_mistakes(run: Any, data: Any = None, *, rows: int = 3, columns: int = 7, ax: Axes | None = None) -> Picture:
    """Wrongly decided test images, the most confident first; below each the true class, then what it was taken for.

    run: a run that kept its test logits; data: the data set it was tested on (a run keeps no images; None: loaded as
    run.data says). The true class is written in the colour of its group: head, mid or tail.
    `.data`: index (into the test images), true, predicted, confidence.

    Shows what the confident mistakes have in common. Cannot show how many there are of a kind: see plot_confusion.
    """
    rows, columns = check.whole("rows", rows, 1, 100), check.whole("columns", columns, 1, 100)
    logits, targets = test_scores(checked_run(run), str(getattr(run, "name", "run")))
    data = _tested_on(run) if data is None else data
    if isinstance(data, type) or not (hasattr(data, "test_targets") and hasattr(data, "test_images")):
        raise check.refuse("data", data, "the data set that the run was tested on, such as ltviz.digits_lt()")
    if not getattr(data, "has_pictures", True):
        raise check.refuse("data", data, "a data set of pictures; this is a table, and its rows cannot be looked at")
    kept = array(data.test_targets, name="data.test_targets")[: len(targets)]
    if not np.array_equal(kept, targets):
        raise ValueError(
            "data is not the data set that the run was tested on (its test targets differ); rebuild it "
            f"from run.data: {getattr(run, 'data', {}).get('name', '?')}"
        )
    p = metrics.probabilities(logits, getattr(run, "probability", "softmax"))
    said, sure = p.argmax(1), p.max(1)
    wrong = np.flatnonzero(said != targets)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][: rows * columns]
    data_out = {"index": wrong, "true": targets[wrong], "predicted": said[wrong], "confidence": sure[wrong]}
    total = int((said != targets).sum())
    (ax,) = get_axes(ax, columns * 0.95 + 0.2, max(1, -(-len(wrong) // columns)) * 1.38 + 0.4)
    ax.axis("off")
    ax.set_title(f"Most confident of {total:,} mistakes in {len(targets):,} test images")
    if not len(wrong):
        return Picture(ax, data_out, f"No mistake in {len(targets):,} test images.")
    _draw(ax, array(data.test_images[wrong]), data_out, class_counts(run), given_names(run, logits.shape[1]), columns)
    counts = class_counts(run)
    tail = drawn_groups(counts).get("tail")
    of_tail = "" if tail is None else f" {as_percent(float(tail[targets[wrong]].mean()))} are of tail classes"
    text = (
        f"{total:,} of {len(targets):,} test images are decided wrongly; of the {len(wrong)} most confident "
        f"mistakes (confidence {as_percent(sure[wrong].min())} to {as_percent(sure[wrong].max())})"
        f"{of_tail}.{no_groups(counts)}"
    )
    return Picture(ax, data_out, text)


def _tested_on(run: Any) -> Any:
    """The data set of a run, loaded again."""
    from ..datasets import LOADERS, load

    loader = LOADERS.get(run.data.get("loader"))
    if loader is None:
        raise ValueError("data is needed beside the run: its record does not say how its test images are loaded")
    arguments = inspect.signature(loader).parameters
    return load({name: value for name, value in run.data.items() if name == "loader" or name in arguments})


def _draw(
    ax: Axes, images: np.ndarray, what: dict[str, np.ndarray], counts: np.ndarray, names: list[str], columns: int
) -> None:
    """Pictures in a grid with room for two lines below each; coordinates in picture heights."""
    names = short_names(names, 9)
    n, side = len(images), images.shape[1]
    group_of = np.empty(len(counts), dtype=object)
    for group, mask in drawn_groups(counts).items():
        group_of[mask] = group
    for i in range(n):
        row, column = divmod(i, columns)
        left, top = column * 1.12, row * 1.62
        picture = mosaic(images[i : i + 1], [(0, 0)], 1, 1)
        ax.imshow(picture, extent=(left, left + 1, top + 1, top), interpolation="nearest", zorder=2, gid=PHOTO)
        true, said = what["true"][i], what["predicted"][i]
        below, colour = {"ha": "center", "va": "top"}, GROUP_INK[group_of[true]]
        ax.text(left + 0.5, top + 1.06, names[true], fontsize=8, fontweight="bold", color=colour, **below)
        taken = f"→ {names[said]} {100 * what['confidence'][i]:.0f}%"
        ax.text(left + 0.5, top + 1.30, taken, fontsize=7.5, **below)
    ax.set_xlim(-0.06, columns * 1.12)
    ax.set_ylim(-(-n // columns) * 1.62, -0.05)
    ax.set_aspect(side / images.shape[2])
