"""Write the page: check what is given, put the parts together, keep it small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import check, metrics
from ..datasets import LongTailed
from ..files import write_atomically
from ..run import Run
from ..training.network import answers
from . import advice, sections
from .case import Case
from .images import Images
from .page import name, page

ENDINGS = (".html", ".htm")
LARGE = 10_000_000  # logits from which on a page takes more than a few seconds


def report(run: Run, path: Any = "report.html", *, images: Any = None, validation: Any = None, seed: int = 0) -> Path:
    """Write one HTML page with all that can be said of a run; returns its path. It opens from disk and loads nothing.

    run         one run: of lt.train, lt.collect, lt.from_predictions, or a recorded one. What it does not hold is left
                out, and the page says what to pass to get it
    path        where the page goes: a file that ends in .html; a folder that does not exist is made
    images      None, or the data set that the run was tested on, or its test images in the order of run.targets, (n,
                height, width) or (n, height, width, 1 or 3) as uint8; the first of them will do
    validation  None, or the data set that the run was trained on, whose validation samples the run then answers, or a
                run with the same classifier's answers on other samples: they choose the settings of the remedies that
                need no training. Without it, each half of the test samples chooses for the other half
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
    if run.logits is not None and run.logits.size > LARGE:
        print(f"report: {len(run.logits):,} test samples of {run.k:,} classes, some seconds ...", flush=True)
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
    if isinstance(validation, LongTailed):
        return _answered(validation, run)
    _one_run("validation", validation)
    if validation.class_names != run.class_names:
        raise ValueError("validation: its classes are not those of the run, in their order; pass class_names= to both")
    if validation.logits is None or validation.targets is None:
        raise check.refuse("validation", validation, "a run that holds logits; pass logits= to lt.from_predictions")
    sizes = [None if one.features is None else one.features.shape[1] for one in (validation, run)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(f"validation: its features have {sizes[0]} dimensions, those of the run {sizes[1]}")
    for part in ("head_weight", "head_bias"):
        one, two = getattr(validation, part), getattr(run, part)
        if one is not None and two is not None and not np.allclose(one, two, rtol=1e-5, atol=1e-7):
            raise ValueError(
                f"validation: its classifier is not that of the run ({part} differs); pass a run with answers of the "
                "same network on other samples"
            )
    same = run.logits is not None and np.array_equal(validation.logits, run.logits)
    if same and np.array_equal(validation.targets, run.targets):
        raise ValueError("validation: these are the test samples, which must not choose what they judge; leave it out")
    return validation


def _answered(data: LongTailed, run: Run) -> Run:
    """What the run answers on the validation samples of its data set, before any post-hoc rule, as a run."""
    expected = "a run with the same classifier's answers on other samples, or the data set that the run was trained on"
    if run.network is None:
        raise check.refuse("validation", data, f"{expected}; this run keeps no network: pass a run")
    if run.data.get("fingerprint") != data.fingerprint:
        raise check.refuse("validation", data, f"{expected}; the samples of this one are not those of {run.name!r}")
    if not data.has_validation:
        raise check.refuse("validation", data, f"{expected}; this one has no validation samples: load it with some")
    try:
        out = answers(run, data.val_images.cpu().numpy())
    except ValueError as error:
        why = str(error).partition(";")[0]  # what follows is advice for a function that takes the network
        raise ValueError(f"validation: {why}; pass {expected.partition(', or')[0]}") from None
    targets, logits, features = (check.to_array(one) for one in (data.val_targets, out.logits, out.features))
    kept = {"targets": targets, "logits": logits, "features": features, "scores": None}
    return replace(run, **kept, confusion=metrics.confusion(targets, logits.argmax(1), run.k))
