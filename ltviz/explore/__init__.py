"""Explorers: controls beside a picture that follows them. Everything here is on top of the rest, and holds no maths.

lt.explore.effective_number(data.counts)    what n images count for, as beta moves
lt.explore.loss_anatomy("focal")            loss and gradient of any method, its controls made from its settings
lt.explore.lab(data)                        train live, stop, resume, compare the runs so far
lt.explore.posthoc(run)                     re-decide a trained network, without training
"""

from .base import Explorer, registry
from .effective_number import effective_number
from .lab import lab
from .loss_anatomy import loss_anatomy
from .posthoc import posthoc

__all__ = ["Explorer", "effective_number", "lab", "loss_anatomy", "posthoc", "registry"]
