"""How far a training has come: a line in a notebook, a bar in a terminal."""

from __future__ import annotations

import html
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..check import many

if TYPE_CHECKING:
    from .loop import Trainer


class Progress:
    """A bar in a notebook (one line that stays as text), or in a terminal (tqdm), and nothing elsewhere."""

    def __init__(self, trainer: Trainer, *others: Trainer):
        self.trainer, self.runs, self._last, self._handle, self._tqdm = trainer, [], 0.0, None, None
        self.trainers = (trainer, *others)
        labels = list(dict.fromkeys(t.request.label for t in self.trainers))
        which = f"{len(self.trainers)} runs" if others else f"seed {trainer.seed}"
        self.title = f"{labels[0] if len(labels) == 1 else f'{len(labels)} settings'} on {trainer.data.name}, {which}"

    def __enter__(self) -> Progress:
        if _in_notebook():
            from IPython.display import display

            self._handle = display(_Line(f"{self.title}: starting on {self.trainer.device}"), display_id=True)
        elif sys.stderr.isatty():
            from tqdm import tqdm

            done, total = self._epochs()
            self._tqdm = tqdm(total=total, initial=done, desc=self.title, unit="epoch")
        return self

    def _epochs(self) -> tuple[int, int]:
        """Epochs done and in all, over all runs."""
        return sum(t.epoch for t in self.trainers), sum(t.recipe.epochs for t in self.trainers)

    def update(self, trainer: Trainer) -> None:
        row, (done, total), now = trainer.rows[-1], self._epochs(), time.monotonic()
        if self._tqdm is not None:
            self._tqdm.update()
            self._tqdm.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
        if self._handle is not None and now - self._last > 0.2:
            self._last = now
            text = f"{self.title}: epoch {done} of {total}, loss {row['loss']:.3f}"
            self._handle.update(_Line(text, done / total))

    def __exit__(self, *error: Any) -> None:
        if self._tqdm is not None:
            self._tqdm.close()
        if self._handle is not None and self.runs:
            runs, trainer = self.runs, self.trainer
            status = "diverged" if any(run.status == "diverged" for run in runs) else runs[0].status
            score = "" if status == "diverged" else f", test accuracy {np.mean([run.accuracy for run in runs]):.1%}"
            text = f"{status} after {many(trainer.epoch, 'epoch')} in {trainer.seconds:.1f} s on {trainer.device}"
            self._handle.update(_Line(f"{self.title}: {text}{score}"))


class _Line:
    """A line of text, with a bar while something is under way."""

    def __init__(self, text: str, share: float | None = None):
        self.text, self.share = text, share

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        bar = "" if self.share is None else f"<progress value='{self.share:.3f}' style='margin-right:1em'></progress>"
        style = "font-family:var(--jp-code-font-family, monospace); font-size:90%"
        return f"<div style='{style}'>{bar}{html.escape(self.text)}</div>"


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")
