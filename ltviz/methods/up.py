"""Under-represented-classes promotion: classifier rows of rare classes grow as long as those of frequent ones."""

from __future__ import annotations

from torch import Tensor

from ..functional import safe_norm
from ..objective import BASE, Limit, Method, Objective, Output, Regularizer, Setting


def rare_classes(counts: Tensor) -> Tensor:
    """Bool (k,): the classes with no more images than the median class; none where all have the same count."""
    rare = counts <= counts.median()
    return rare & ~rare.all()


def up_penalty(head_weight: Tensor, rare: Tensor, detach: bool) -> Tensor:
    """Mean squared gap between the squared norms of the rare classes' rows and the others' mean, before its strength.

        1/|R| sum_{j in R} ( ||W_j||^2 - a )^2,    a = mean_{j not in R} ||W_j||^2

    head_weight W (k, d); rare R, bool (k,); detach: a is a constant for the gradient. A scalar, 0 if no class is rare.
    Source: Guo & Zhang 2017; the wording of the equation is not confirmed.
    """
    squared = head_weight.square().sum(1)
    few = rare.to(squared.dtype)
    target = (squared * (1.0 - few)).sum() / (1.0 - few).sum().clamp_min(1.0)
    target = target.detach() if detach else target
    return (few * (squared - target).square()).sum() / few.sum().clamp_min(1.0)


def up_penalty_all(head_weight: Tensor, detach: bool) -> Tensor:
    """The reading of the dual loss: all rows, norms not squared, drawn to their mean, before its strength.

        1/(2k) sum_j ( ||W_j|| - b )^2,    b = mean_j ||W_j||

    head_weight W (k, d); detach: b is a constant for the gradient. A scalar. Source: Li et al. 2020, eq. (3), term two.
    """
    length = safe_norm(head_weight)
    target = length.mean().detach() if detach else length.mean()
    return 0.5 * (length - target).square().mean()


class UP(Regularizer):
    """UP: a base loss and a pull of the rare classes' classifier rows to the length of the frequent ones'.

        L = L_base + lambda / |R| sum_{j in R} ( ||W_j||^2 - a )^2,    a = mean_{j not in R} ||W_j||^2

    W (k, d) classifier rows; R the classes with no more images than the median one; lambda >= 0, `strength`; a is a
    constant for the gradient (`detach=True`), or is pulled towards the rare classes as well (False).
    Source: Guo & Zhang 2017, whose rare classes have one image; here the median divides, as a long tail has no edge.
    `reading="rare"` (default) is theirs, "all" that of Li et al. 2020 (`up_penalty_all`): every row, norms not squared.
    Known to fail: equal norms by themselves hardly move the accuracy of the tail, at any strength; the biases and the
    directions of the rows carry the counts as well. A cosine head has no lengths that decide anything.
    """

    name = "up"

    def __init__(self, counts: Tensor, base: Objective, strength: float, reading: str, detach: bool):
        super().__init__(counts, base)
        self.strength, self.reading, self.detach = strength, reading, detach
        self.register_buffer("rare", rare_classes(self.counts))

    def penalty(self, out: Output, targets: Tensor) -> Tensor:
        if self.reading == "all":
            return self.strength * up_penalty_all(out.head_weight, self.detach)
        return self.strength * up_penalty(out.head_weight, self.rare, self.detach)


METHOD = Method(
    key="up",
    title="UP",
    paper="Guo & Zhang 2017",
    equation=r"L = L_{\mathrm{base}} + \frac{\lambda}{|R|} \sum_{j \in R} \left(\lVert W_j \rVert^2 - a\right)^2, "
    r"\quad a = \operatorname{mean}_{j \notin R} \lVert W_j \rVert^2",
    objective=UP,
    settings={
        "base": BASE,
        "strength": Setting(0.01, 0.0, 10.0, "log", symbol="λ", meaning="strength of the pull of rows to one length"),
        "reading": Setting("rare", choices=("rare", "all"), meaning="rare classes, norms squared; or all, not squared"),
        "detach": Setting(  # the mean of all norms has no gradient of its own: the gaps to it sum to 0
            True,
            choices=(True, False),
            meaning="whether the target is a constant for the gradient",
            when={"reading": ("rare",)},
        ),
    },
    limits=(Limit({"strength": 0.0}, "ce"), Limit({"strength": 0.0, "reading": "all"}, "ce")),
    smooth={"detach": False},
    citation=r"""@article{guo2017oneshot,
  title = {One-shot Face Recognition by Promoting Underrepresented Classes},
  author = {Guo, Yandong and Zhang, Lei},
  journal = {arXiv preprint arXiv:1707.05574}, year = {2017}
}""",
)
