"""Explorers: controls beside a picture that follows them. Everything here is on top of the rest, and holds no maths.

lt.explore.attributes()                     attributes x methods over imbalance, and the minority of each in a batch
lt.explore.batch_desk(run, photographs)     one batch: its minority classes, and the hard pairs of each picture
lt.explore.dartboard()                      n darts on N tiles: how many different ones they hit
lt.explore.effective_number(data.counts)    what n images count for, as beta moves
lt.explore.feedback_dial(runs)              accuracy, difficulty, exponent, class weights, epoch by epoch
lt.explore.gallery()                        a query among strangers: the nearest pictures, right and wrong
lt.explore.gradient_river()                 which classes the gradient of the focal loss comes from, epoch by epoch
lt.explore.loss_anatomy("focal")            loss and gradient of any method, its controls made from its settings
lt.explore.lab(data)                        train live, stop, resume, compare the runs so far
lt.explore.lengths(groups)                  lengths of classifier vectors against counts, and the law of the slides
lt.explore.papers()                         printed errors by protocol, and what is left of a paper's order
lt.explore.pizza()                          cosine classifier: slices in training, with a margin, and at test
lt.explore.posthoc(run)                     re-decide a trained network, without training
lt.explore.quality(run)                     blur, shrink, cover real pictures, and see the length of their features
lt.explore.threshold(run)                   from which probability on a class is answered, and what that costs
lt.explore.throw()                          one long-tailed sample, its borders, and four scores
lt.explore.tug_of_war()                     two features live: which class pulls which classifier vector where
lt.explore.tuning(tuning)                   settings by hand beside a sampler, all of them trials of one study
lt.explore.two_rings()                      lengths of features and vectors under ring, UP, dual ring, DARL, dual
lt.explore.wall(run, photographs)           one hundred photographs, right or wrong as tau and the world move
"""

from .attributes import attributes
from .base import Explorer, registry
from .batch_desk import batch_desk
from .dartboard import dartboard
from .effective_number import effective_number
from .feedback_dial import feedback_dial
from .gallery import gallery
from .gradient_river import gradient_river
from .lab import lab
from .lengths import lengths
from .loss_anatomy import loss_anatomy
from .papers import papers
from .pizza import pizza
from .posthoc import posthoc
from .quality import quality
from .threshold import threshold
from .throw import throw
from .tug_of_war import tug_of_war
from .tuning import tuning
from .two_rings import two_rings
from .wall import wall

__all__ = [
    "Explorer",
    "attributes",
    "batch_desk",
    "dartboard",
    "effective_number",
    "feedback_dial",
    "gallery",
    "gradient_river",
    "lab",
    "lengths",
    "loss_anatomy",
    "papers",
    "pizza",
    "posthoc",
    "quality",
    "registry",
    "threshold",
    "throw",
    "tug_of_war",
    "tuning",
    "two_rings",
    "wall",
]
