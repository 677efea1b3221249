"""Write the page: check what is given, put the parts together, keep it small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from ..files import write_atomically
from ..run import Run
from . import advice, sections
from .case import Case
from .images import Images
from .page import name, page

ENDINGS = (".html", ".htm")


def report(
    run: Run, path: Any = "report.html", *, images: Any = None, validation: Run | None = None, seed: int = 0
) -> Path:
    """Write one HTML page with all that can be said of a run; returns its path. It opens from disk and loads nothing.

    run         one run: of lt.train, lt.collect, lt.from_predictions, or a recorded one. What it does not hold is left
                out, and the page says what to pass to get it
    path        where the page goes: a file that ends in .html
    images      None, or the data set that the run was tested on, or its test images in the order of run.targets, (n,
                height, width) or (n, height, width, 1 or 3) as uint8; the first of them will do
    validation  None, or a run with the same classifier's answers on other samples: they choose the settings of the
                remedies that need no training. Without it, each half of the test samples chooses for the other half
    seed        of the halves, the bootstrap and the embedding

    The page has the scores with 95% intervals (Wilson's for one class and for all samples; for a mean over classes the
    same, added up as by Zou & Donner 2008; a bootstrap for macro F1), each class, who pays, confusions, norms, an
    embedding, calibration, the training, three remedies without training, and what to try next. Errors: ValueError for
    a wrong argument, several runs among them, OSError where the file cannot be written.
    """
    _one_run("run", run)
    path = check.path("path", path)
    if path.suffix.lower() not in ENDINGS or path.is_dir():
        raise check.refuse("path", str(path), "a file that ends in .html")
    case = Case(run, None if images is None else Images(images, run), _checked(validation, run), check.seed(seed))
    parts = [make(case) for make in sections.FIRST]
    parts += [advice.who_pays(case), *(make(case) for make in sections.LAST)]
    parts += [advice.remedies(case), advice.following(case, path.absolute().parent)]
    footer = f"Made by ltviz from the run {run.id or 'without an id'} (seed {run.seed}); seed of the page: {case.seed}."
    write_atomically(path, page(f"Report: {name(run.name, 120)}", parts, footer).encode("utf-8", "replace"))
    return path


def _one_run(label: str, run: Any) -> Run:
    if isinstance(run, (list, tuple, dict)):
        raise check.refuse(label, run, "one run; write a page for each, and compare several by lt.plot_comparison")
    return check.instance(label, run, Run, "a run: of lt.train, lt.collect, lt.from_predictions or lt.load_run")


def _checked(validation: Any, run: Run) -> Run | None:
    """The run on validation samples: of the same classes, with logits, and of other samples than the test's."""
    if validation is None:
        return None
    _one_run("validation", validation)
    if validation.class_names != run.class_names:
        raise ValueError("validation: its classes are not those of the run, in their order; pass class_names= to both")
    if validation.logits is None or validation.targets is None:
        raise check.refuse("validation", validation, "a run that holds logits; pass logits= to lt.from_predictions")
    sizes = [None if one.features is None else one.features.shape[1] for one in (validation, run)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(f"validation: its features have {sizes[0]} dimensions, those of the run {sizes[1]}")
    same = run.logits is not None and np.array_equal(validation.logits, run.logits)
    if same and np.array_equal(validation.targets, run.targets):
        raise ValueError("validation: these are the test samples, which must not choose what they judge; leave it out")
    return validation
