"""Numbers that say how a classifier does on long-tailed data. numpy and scikit-learn; nothing here draws.

Most functions take either a `Run` (anything with `.confusion`, and `.counts` where counts are needed), a confusion
matrix (k, k), or targets (n,) with predictions (n,). Accuracies are fractions. What is undefined (a group without a
class, a class without a test image) is NaN, never 0, and averages leave it out. An argument of another type or range
is a ValueError that names it.
"""

from .attributes import AttributeScores, attribute_scores
from .binary import (
    Counts,
    Cutoffs,
    auroc,
    average_precision,
    calibrated_threshold,
    cutoffs,
    log_odds,
    logit,
    probability,
    rare_class,
)
from .borders import Slices, class_margins, slices
from .calibration import Reliability, ece, probabilities, reliability
from .comparison import NO_DATA, ONE_SEED, SUGGESTIVE, UNDECIDED, Paired, comparison_table, paired
from .coverage import draw_prototypes, expected_distinct, first_hits
from .difficulty import Difficulty, Violated, difficulty_course, violated_triplets
from .frontier import TAUS, Frontier, beyond, frontier
from .geometry import WeightNormFit, feature_quality, law_explains, spearman, weight_norm_fit
from .gradient import GradientShares, gradient_shares, gradient_sizes
from .pull import Pull, pull
from .retrieval import ROC, Retrieval, Verification, draw_pairs, retrieval, roc, similarity, verification
from .rings import class_lengths, spread
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
from .triplets import Mined, mine, pair_chance, triplets_by_class

__all__ = [
    "GROUPS", "NO_DATA", "ONE_SEED", "ROC", "SUGGESTIVE", "TAUS", "UNDECIDED", "AttributeScores", "Counts", "Cutoffs",
    "Difficulty", "Frontier", "GradientShares", "Mined", "Paired", "Pull", "Reliability", "Retrieval", "Slices",
    "Verification", "Violated", "WeightNormFit", "accuracies_along", "accuracy", "answer_shares", "attribute_scores",
    "auroc", "average_precision", "balanced_accuracy", "beyond", "calibrated_threshold", "class_lengths",
    "class_margins", "comparison_table", "confusion", "cutoffs", "difficulty_course", "draw_pairs", "draw_prototypes",
    "ece", "expected_accuracy", "expected_distinct", "f1", "feature_quality", "first_hits", "frontier",
    "gradient_shares", "gradient_sizes", "law_explains", "log_odds", "logit", "mine", "pair_chance", "paired",
    "per_class", "power_prior", "precision", "probabilities", "probability", "pull", "rare_class", "recall",
    "reliability", "retrieval", "roc", "shot_accuracy", "shot_groups", "similarity", "slices", "spearman", "spread",
    "third_groups", "triplets_by_class", "verification", "violated_triplets", "weight_norm_fit",
]  # fmt: skip
