"""Explorers: controls beside a picture that follows them. Everything here is on top of the rest, and holds no maths.

lt.explore.dartboard()                      n darts on N tiles: how many different ones they hit
lt.explore.effective_number(data.counts)    what n images count for, as beta moves
lt.explore.loss_anatomy("focal")            loss and gradient of any method, its controls made from its settings
lt.explore.lab(data)                        train live, stop, resume, compare the runs so far
lt.explore.lengths(groups)                  lengths of classifier vectors against counts, and the law of the slides
lt.explore.posthoc(run)                     re-decide a trained network, without training
lt.explore.quality(run)                     blur, shrink, cover real pictures, and see the length of their features
lt.explore.throw()                          one long-tailed sample, its borders, and four scores
lt.explore.tug_of_war()                     two features live: which class pulls which classifier vector where
lt.explore.wall(run, photographs)           one hundred photographs, right or wrong as tau and the world move
"""

from .base import Explorer, registry
from .dartboard import dartboard
from .effective_number import effective_number
from .lab import lab
from .lengths import lengths
from .loss_anatomy import loss_anatomy
from .posthoc import posthoc
from .quality import quality
from .throw import throw
from .tug_of_war import tug_of_war
from .wall import wall

__all__ = [
    "Explorer",
    "dartboard",
    "effective_number",
    "lab",
    "lengths",
    "loss_anatomy",
    "posthoc",
    "quality",
    "registry",
    "throw",
    "tug_of_war",
    "wall",
]
