"""Photographs of test samples, for the page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import check
from ..run import Run

EXPECTED = (
    "the data set that the run was tested on, or its test images in the order of run.targets, (m, height, width) or "
    "(m, height, width, 1 or 3) as uint8, of which row i is test sample i"
)


class Images:
    """Test images of a run: the first `len` samples have one.

    source: a data set (`test_images`, `test_targets`), an object with `images` and the `names` of their classes, such
    as lt.study.photographs(), or the images themselves. ValueError for other shapes, and where the classes are not
    those of the run's test samples.
    """

    def __init__(self, source: Any, run: Run):
        if run.targets is None:
            raise check.refuse("images", source, "None: this run does not say which test sample is of which class")
        if getattr(source, "spec", {}).get("loader") == "table_lt":
            raise check.refuse("images", source, "None: the rows of a table have no images, so leave it out")
        found = next((getattr(source, one) for one in ("test_images", "images") if hasattr(source, one)), source)
        if not hasattr(found, "shape"):
            found = check.array("images", found, None, EXPECTED)
        shape = tuple(found.shape)
        image = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
        if not image or not str(found.dtype).endswith("uint8") or not 0 < shape[0] or 0 in shape[1:]:
            raise check.refuse("images", source, EXPECTED)
        if found is source and run.provenance.get("order") == "random":
            raise ValueError(
                f"images={check.shown(source)}: the loader of this run gave its images in random order, so nobody "
                "knows which image test sample i is; collect again with a DataLoader of shuffle=False"
            )
        self.rows, self.shown = found, min(shape[0], len(run.targets))
        self._same_classes(source, run)
        if shape[0] > run.confusion.sum():
            raise check.refuse("images", source, f"{EXPECTED}; the run has {run.confusion.sum():,} test samples")

    def _same_classes(self, source: Any, run: Run) -> None:
        targets, names = getattr(source, "test_targets", None), getattr(source, "names", None)
        fits = True
        if targets is not None:
            fits = np.array_equal(check.to_array(targets)[: self.shown], run.targets[: self.shown])
        elif names is not None:
            fits = [str(one) for one in names][: self.shown] == [run.class_names[j] for j in run.targets[: self.shown]]
        if not fits:
            raise ValueError(
                f"images={check.shown(source)}: the classes of its test images are not those of the run's test "
                "samples; pass the data set that the run was tested on"
            )

    def __len__(self) -> int:
        return self.shown

    def __getitem__(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images of these test samples (m, height, width[, 1 or 3])."""
        return check.to_array(self.rows[[int(one) for one in numbers]])
