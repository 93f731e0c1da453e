"""Correlation congruence: kernels between the examples of a batch."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import register_loss
from distilnlp.losses.checks import check_count, check_positive
from distilnlp.losses.pooling import unit
from distilnlp.losses.relation.base import RelationalLoss

__all__ = ["CC"]


@register_loss("cc")
@dataclass(frozen=True)
class CC(RelationalLoss):
    """``||K_s - K_t||_F^2 / batch^2``, ``K_ij = sum_{p <= P} exp(-2 g) (2 g)^p / p! (x_i x_j)^p`` of unit vectors.

    ``K`` is the Gaussian kernel ``exp(-g ||x_i - x_j||^2)``, its series cut after ``P``.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. One example gives 0
    and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
        gamma: ``g`` > 0, dimensionless.
        order: ``P`` >= 1; 1 compares the cosines alone.
    Shapes:
        hidden states: ``(batch, tokens, width)``, or logits: ``(batch, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when a model's states are rotated or scaled. Mean over all ``batch^2`` pairs, those
        of an example with itself (which are 0) included, and over layers.
    Raises:
        RequestError: ``gamma`` not positive; ``order`` not a whole number above 0; a layer out of range; an example
            without a token.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Peng et al.",
            2019,
            "Correlation Congruence for Knowledge Distillation",
            "arXiv:1904.01802",
            differs=(
                "gamma 0.4 and order 2 as in torchdistill. The paper has labels and soft targets beside it: "
                "``hard_label`` and ``soft_target``."
            ),
        ),
    )

    gamma: float = 0.4
    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("gamma", self.gamma)
        check_count("order", self.order)

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        return (self._kernel(student) - self._kernel(teacher)).square().mean()

    def _kernel(self, vectors: Tensor) -> Tensor:
        cosines = unit(vectors) @ unit(vectors).T  # (batch, batch)
        # The term of p = 0 is the same in both kernels.
        factors = [(2 * self.gamma) ** p / math.factorial(p) for p in range(1, self.order + 1)]
        terms = [factor * cosines**p for p, factor in enumerate(factors, start=1)]
        return math.exp(-2 * self.gamma) * sum(terms[1:], terms[0])
