"""Resampling: cross-entropy as it is, on batches in which the classes meet more evenly."""

from __future__ import annotations

from ..objective import Method, Stage
from .ce import CrossEntropy


class ClassBalancedSampling(CrossEntropy):
    """Every class is drawn with the same probability, 1/k, then an image of it, with replacement.

        p_j = n_j^q / sum_i n_i^q,   q = 0

    p (k,) probability of each class; n (k,) training images. Source: Kang et al. 2020, eq. (1).
    Known to fail: the few tail images come back many times an epoch, and a net that can memorise them does.
    """


class SquareRootSampling(CrossEntropy):
    """A class is drawn with a probability proportional to the square root of its images: halfway to balance.

        p_j = n_j^q / sum_i n_i^q,   q = 1/2

    p (k,) probability of each class; n (k,) training images. Source: Kang et al. 2020, eq. (1). The class-frequency
    sampling that Darkwah & Kang 2023 list among their comparisons is read as the same rule (an alias).
    Known to fail: under a strong tail half the way is not enough.
    """


class ProgressiveSampling(CrossEntropy):
    """From the plain epoch to class-balanced sampling, a little further with each epoch.

        p_j(t) = (1 - t) n_j / n + t / k,   t from 0 (first epoch) to 1 (last)

    p (k,) probability of each class; n_j of n training images. Source: Kang et al. 2020, eq. (2).
    Known to fail: by the time the tail is drawn often, the learning rate has fallen.
    """


class Undersampling(CrossEntropy):
    """As many images of every class as the rarest has, without replacement, a fresh subset in every pass.

    An epoch has as many steps as any other: passes follow each other until it is full. Source: Japkowicz & Stephen
    2002, random undersampling.
    Known to fail: with two images in the rarest class each pass sees two of every class, and a step far fewer
    different images than it could.
    """


class Oversampling(CrossEntropy):
    """Every image once, then again, until each class has as many as the largest; an epoch takes the first n of these.

    So a class is met with probability 1/k, as in class-balanced sampling, but its images come round evenly. Source:
    Japkowicz & Stephen 2002, random oversampling.
    Known to fail: as class-balanced sampling, it repeats the tail until it is memorised.
    """


KANG = r"""@inproceedings{kang2020decoupling,
  title = {Decoupling Representation and Classifier for Long-Tailed Recognition},
  author = {Kang, Bingyi and Xie, Saining and Rohrbach, Marcus and Yan, Zhicheng and Gordo, Albert and Feng, Jiashi and
            Kalantidis, Yannis},
  booktitle = {ICLR}, year = {2020}
}"""
JAPKOWICZ = r"""@article{japkowicz2002class,
  title = {The Class Imbalance Problem: A Systematic Study},
  author = {Japkowicz, Nathalie and Stephen, Shaju},
  journal = {Intelligent Data Analysis}, volume = {6}, number = {5}, pages = {429--449}, year = {2002}
}"""

METHODS = (
    Method(
        key="class_balanced_sampling",
        title="Class-balanced sampling",
        paper="Kang et al. 2020",
        equation=r"p_j = \frac{1}{k}",
        objective=ClassBalancedSampling,
        stages=lambda: (Stage(sampler="class_balanced"),),
        citation=KANG,
    ),
    Method(
        key="square_root_sampling",
        title="Square-root sampling",
        paper="Kang et al. 2020",
        equation=r"p_j = \frac{\sqrt{n_j}}{\sum_i \sqrt{n_i}}",
        objective=SquareRootSampling,
        stages=lambda: (Stage(sampler="square_root"),),
        citation=KANG,
        aliases=("class_frequency_sampling",),
    ),
    Method(
        key="progressive_sampling",
        title="Progressively balanced sampling",
        paper="Kang et al. 2020",
        equation=r"p_j(t) = (1 - t)\,\frac{n_j}{n} + t\,\frac{1}{k}",
        objective=ProgressiveSampling,
        stages=lambda: (Stage(sampler="progressive"),),
        citation=KANG,
    ),
    Method(
        key="undersampling",
        title="Undersampling",
        paper="Japkowicz & Stephen 2002",
        equation=r"n_j' = \min_i n_i",
        objective=Undersampling,
        stages=lambda: (Stage(sampler="undersample"),),
        citation=JAPKOWICZ,
    ),
    Method(
        key="oversampling",
        title="Oversampling",
        paper="Japkowicz & Stephen 2002",
        equation=r"n_j' = \max_i n_i",
        objective=Oversampling,
        stages=lambda: (Stage(sampler="oversample"),),
        citation=JAPKOWICZ,
    ),
)
