"""Similarities between the examples of a batch, row by row."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import register_loss
from distilnlp.losses.pooling import unit
from distilnlp.losses.relation.base import RelationalLoss

__all__ = ["SimilarityPreserving"]


@register_loss("similarity_preserving")
@dataclass(frozen=True)
class SimilarityPreserving(RelationalLoss):
    """``||G_s - G_t||_F^2 / batch^2`` with ``G`` the rows of ``A A^T``, each scaled to length 1.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. One example gives 0
    and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
    Shapes:
        hidden states: ``(batch, tokens, width)``, or logits: ``(batch, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when a model's states are rotated or scaled. Mean over layers.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Tung & Mori",
            2019,
            "Similarity-Preserving Knowledge Distillation",
            "arXiv:1907.09682",
            differs="On one vector an example in place of a flattened feature map.",
        ),
    )

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        g_s, g_t = (unit(a @ a.T) for a in (student, teacher))  # (batch, batch)
        return (g_s - g_t).square().mean()
