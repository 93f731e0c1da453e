"""Probabilistic knowledge transfer: similarities between examples as probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import register_loss
from distilnlp.losses.pooling import unit
from distilnlp.losses.relation.base import RelationalLoss, different

__all__ = ["PKT"]


@register_loss("pkt")
@dataclass(frozen=True)
class PKT(RelationalLoss):
    """``KL(P_t || P_s)`` with ``P_ij`` the similarity ``(cos + 1) / 2`` of two examples, each row summing to 1.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples give 0 and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
        include_self: count an example's similarity with itself, as the authors' code does and the paper does not.
    Shapes:
        hidden states: ``(batch, tokens, width)``, or logits: ``(batch, width)``; returns ``()``, float32.
    Units: nats per example; sum over the other examples, mean over examples and layers (their code divides by
        ``batch^2``). Unchanged when a model's states are rotated or scaled.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Passalis & Tefas",
            2018,
            "Learning Deep Representations with Probabilistic Knowledge Transfer",
            "arXiv:1803.10837",
            differs="The cosine kernel.",
        ),
    )

    include_self: bool = False

    smallest_batch: ClassVar[int] = 3

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        p, q = self._probabilities(teacher), self._probabilities(student)  # (batch, batch)
        others = different(len(p), p) | self.include_self
        # 1 in both outside of `others`, whose log is 0 and has a finite gradient.
        p, q = (x.where(others, x.new_ones(())) for x in (p, q))
        return (p * (p.log() - q.log())).sum(dim=-1).mean()

    def _probabilities(self, vectors: Tensor) -> Tensor:
        directions = unit(vectors)
        # 1e-7 keeps the logarithm of opposite directions finite.
        kernel = ((directions @ directions.T + 1) / 2).clamp_min(0) + 1e-7
        kernel = kernel * (different(len(kernel), kernel) | self.include_self)
        return kernel / kernel.sum(dim=-1, keepdim=True)
