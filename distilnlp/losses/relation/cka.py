"""Centred kernel alignment between the examples of a batch."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import register_loss
from distilnlp.losses.pooling import unit
from distilnlp.losses.relation.base import RelationalLoss, different, warn_of_small_batch

__all__ = ["CKA"]


@register_loss("cka")
@dataclass(frozen=True)
class CKA(RelationalLoss):
    """``1 - CKA`` with the linear kernel: ``CKA = <K_s, K_t> / (||K_s|| ||K_t||)``, ``K = X X^T`` centred.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples (four with ``unbiased``) give 0 and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
        unbiased: centre as the unbiased estimate of HSIC does. The plain one is close to 1 for small batches whatever
            the models are.
    Shapes:
        hidden states: ``(batch, tokens, width)``, or logits: ``(batch, width)``; returns ``()``, float32.
    Units: dimensionless, 0..1 (0..2 with ``unbiased``); unchanged when a model's states are rotated, shifted or
        scaled as a whole. Mean over layers.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Kornblith et al.",
            2019,
            "Similarity of Neural Network Representations Revisited",
            "arXiv:1905.00414",
            where="section 3",
            differs="There an index, used as a loss here.",
        ),
        Citation(
            "Song et al.",
            2012,
            "Feature Selection via Dependence Maximization",
            "JMLR 2012",
            differs="The unbiased HSIC is theirs.",
        ),
    )

    unbiased: bool = False

    smallest_batch: ClassVar[int] = 3

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        if self.unbiased and len(student) < 4:
            warn_of_small_batch(f"{self.name} with unbiased", 4)
            return student.sum() * 0.0
        k_s, k_t = (unit(self._kernel(x).flatten()) for x in (student, teacher))  # (batch^2,)
        return 1 - (k_s * k_t).sum()

    def _kernel(self, vectors: Tensor) -> Tensor:
        centred = vectors - vectors.mean(dim=0)
        kernel = centred @ centred.T  # (batch, batch)
        if not self.unbiased:
            return kernel
        size = len(kernel)
        kernel = kernel * different(len(kernel), kernel)
        rows = kernel.sum(dim=1, keepdim=True) / (size - 2)
        return (kernel - rows - rows.T + kernel.sum() / ((size - 1) * (size - 2))) * different(len(kernel), kernel)
