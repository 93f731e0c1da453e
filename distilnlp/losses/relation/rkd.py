"""Relational knowledge distillation: distances and angles between examples."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import register_loss
from distilnlp.losses.pooling import unit
from distilnlp.losses.relation.base import RelationalLoss

__all__ = ["RKDAngle", "RKDDistance"]


@register_loss("rkd_distance")
@dataclass(frozen=True)
class RKDDistance(RelationalLoss):
    """``huber(d_s / mean d_s, d_t / mean d_t)`` over the pairs of examples, ``d`` their Euclidean distances.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples give 0 and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
    Shapes:
        hidden states: ``(batch, tokens, width)``, or logits: ``(batch, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when a model's states are rotated, shifted or scaled. Mean over all
        ``batch^2`` pairs, those of an example with itself (which are 0) included, and over layers.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Park et al.",
            2019,
            "Relational Knowledge Distillation",
            "arXiv:1904.05068",
            where="section 3.2.1",
            differs=(
                "Its weight is 25 for classes, and 1 for embeddings. Mean distances are those of different examples; "
                "the mean over the pairs is that of their code, to which the weight belongs."
            ),
        ),
    )

    smallest_batch: ClassVar[int] = 3

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


@register_loss("rkd_angle")
@dataclass(frozen=True)
class RKDAngle(RelationalLoss):
    """``huber(cos angle_s, cos angle_t)`` over the triples of examples: the angle at the second of the three.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples give 0 and a warning. Memory grows with ``batch^2 * width + batch^3``.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
    Shapes:
        hidden states: ``(batch, tokens, width)``, or logits: ``(batch, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when a model's states are rotated, shifted or scaled. Mean over all
        ``batch^3`` triples, those that name an example twice (which are 0) included, and over layers.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Park et al.",
            2019,
            "Relational Knowledge Distillation",
            "arXiv:1904.05068",
            where="section 3.2.2",
            differs=(
                "Its weight is 50 for classes, and 2 for embeddings. The mean over the triples is that of their code, "
                "to which the weight belongs."
            ),
        ),
    )

    smallest_batch: ClassVar[int] = 3

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        return F.smooth_l1_loss(_cosines(student), _cosines(teacher))


def _relative_distances(vectors: Tensor) -> Tensor:
    """Distances over their mean, ``(batch, batch)``. Unlike a square root, cdist has gradient 0 at distance 0."""
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    size = len(vectors)
    return distances / (distances.sum() / (size * (size - 1))).clamp_min(1e-30)


def _cosines(vectors: Tensor) -> Tensor:
    """``cos`` of the angle between ``i - j`` and ``k - j``, ``(j, i, k)``."""
    directions = unit(vectors[None] - vectors[:, None])  # (j, i, width)
    return directions @ directions.transpose(1, 2)
