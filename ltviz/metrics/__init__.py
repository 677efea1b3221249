"""Numbers that say how a classifier does on long-tailed data. numpy and scikit-learn; nothing here draws.

Most functions take either a `Run` (anything with `.confusion`, and `.counts` where counts are needed), a confusion
matrix (k, k), or targets (n,) with predictions (n,). Accuracies are fractions. What is undefined (a group without a
class, a class without a test image) is NaN, never 0, and averages leave it out. An argument of another type or range
is a ValueError that names it.
"""

from .calibration import Reliability, ece, probabilities, reliability
from .comparison import NO_DATA, ONE_SEED, SUGGESTIVE, UNDECIDED, Paired, comparison_table, paired
from .coverage import draw_prototypes, expected_distinct, first_hits
from .frontier import TAUS, Frontier, beyond, frontier
from .geometry import WeightNormFit, feature_quality, law_explains, spearman, weight_norm_fit
from .pull import Pull, pull
from .scores import (
    GROUPS,
    accuracies_along,
    accuracy,
    answer_shares,
    balanced_accuracy,
    confusion,
    expected_accuracy,
    f1,
    per_class,
    power_prior,
    precision,
    recall,
    shot_accuracy,
    shot_groups,
    third_groups,
)

__all__ = [
    "GROUPS", "NO_DATA", "ONE_SEED", "Pull", "SUGGESTIVE", "TAUS", "UNDECIDED", "Frontier", "Paired", "Reliability",
    "WeightNormFit", "accuracies_along", "accuracy", "answer_shares", "balanced_accuracy", "beyond",
    "comparison_table", "confusion", "draw_prototypes", "ece", "expected_accuracy", "expected_distinct", "f1",
    "feature_quality", "first_hits", "frontier", "law_explains", "paired", "per_class", "power_prior", "precision",
    "probabilities", "pull", "recall", "reliability", "shot_accuracy", "shot_groups", "spearman", "third_groups",
    "weight_norm_fit",
]  # fmt: skip
