"""Softmax cross-entropy: the loss that everything here is compared with."""

from __future__ import annotations

from torch import Tensor

from ..functional import cross_entropy
from ..objective import Method, Objective, Output


class CrossEntropy(Objective):
    """Softmax cross-entropy, every sample counting the same.

    Under a long tail it is dominated by the head: the rarest classes are hardly ever predicted.
    """

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return cross_entropy(out.logits, targets)


METHOD = Method(
    key="ce",
    title="Cross-entropy",
    paper="Goodfellow et al. 2016, section 6.2",
    equation=r"\ell_i = -\log \frac{e^{z_{i,y_i}}}{\sum_j e^{z_{i,j}}}",
    objective=CrossEntropy,
    citation=r"""@book{goodfellow2016deep,
  title = {Deep Learning},
  author = {Goodfellow, Ian and Bengio, Yoshua and Courville, Aaron},
  publisher = {MIT Press}, year = {2016}
}""",
)
