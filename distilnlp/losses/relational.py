"""Losses on how the examples of a batch lie to one another: distances and angles, similarities, kernels."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.losses.base import register_loss
from distilnlp.losses.pooled import RelationalLoss, unit, warn_of_small_batch

__all__ = ["CKA", "PKT", "RKDAngle", "RKDDistance", "SimilarityPreserving"]


@register_loss("rkd_distance")
@dataclass(frozen=True)
class RKDDistance(RelationalLoss):
    """``huber(d_s / mean d_s, d_t / mean d_t)`` over the pairs of examples, ``d`` their Euclidean distances.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples give 0 and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when a model's states are rotated, shifted or scaled. Mean over all
        ``batch^2`` pairs, those of an example with itself (which are 0) included, and over layers.
    Source: Park et al. 2019 (RKD), arXiv:1904.05068, section 3.2.1; its weight is 25 for classes, and 1 for
        embeddings. Mean distances are those of different examples; the mean over the pairs is that of their code, to
        which the weight belongs.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

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
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when a model's states are rotated, shifted or scaled. Mean over all
        ``batch^3`` triples, those that name an example twice (which are 0) included, and over layers.
    Source: Park et al. 2019 (RKD), arXiv:1904.05068, section 3.2.2; its weight is 50 for classes, and 2 for
        embeddings. The mean over the triples is that of their code, to which the weight belongs.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

    smallest_batch: ClassVar[int] = 3

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        return F.smooth_l1_loss(_cosines(student), _cosines(teacher))


@register_loss("similarity_preserving")
@dataclass(frozen=True)
class SimilarityPreserving(RelationalLoss):
    """``||G_s - G_t||_F^2 / batch^2`` with ``G`` the rows of ``A A^T``, each scaled to length 1.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. One example gives 0
    and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when a model's states are rotated or scaled. Mean over layers.
    Source: Tung & Mori 2019, arXiv:1907.09682, on one vector an example in place of a flattened feature map.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        g_s, g_t = (unit(a @ a.T) for a in (student, teacher))  # (batch, batch)
        return (g_s - g_t).square().mean()


@register_loss("pkt")
@dataclass(frozen=True)
class PKT(RelationalLoss):
    """``KL(P_t || P_s)`` with ``P_ij`` the similarity ``(cos + 1) / 2`` of two examples, each row summing to 1.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples give 0 and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        include_self: count an example's similarity with itself, as the authors' code does and the paper does not.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: nats per example; sum over the other examples, mean over examples and layers (their code divides by
        ``batch^2``). Unchanged when a model's states are rotated or scaled.
    Source: Passalis & Tefas 2018 (PKT), arXiv:1803.10837, the cosine kernel.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

    include_self: bool = False

    smallest_batch: ClassVar[int] = 3

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        p, q = self._probabilities(teacher), self._probabilities(student)  # (batch, batch)
        others = _others(p) | self.include_self
        # 1 in both outside of `others`, whose log is 0 and has a finite gradient.
        p, q = (x.where(others, x.new_ones(())) for x in (p, q))
        return (p * (p.log() - q.log())).sum(dim=-1).mean()

    def _probabilities(self, vectors: Tensor) -> Tensor:
        directions = unit(vectors)
        # 1e-7 keeps the logarithm of opposite directions finite.
        kernel = ((directions @ directions.T + 1) / 2).clamp_min(0) + 1e-7
        kernel = kernel * (_others(kernel) | self.include_self)
        return kernel / kernel.sum(dim=-1, keepdim=True)


@register_loss("cka")
@dataclass(frozen=True)
class CKA(RelationalLoss):
    """``1 - CKA`` with the linear kernel: ``CKA = <K_s, K_t> / (||K_s|| ||K_t||)``, ``K = X X^T`` centred.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples (four with ``unbiased``) give 0 and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        unbiased: centre as the unbiased estimate of HSIC does. The plain one is close to 1 for small batches whatever
            the models are.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless, 0..1 (0..2 with ``unbiased``); unchanged when a model's states are rotated, shifted or
        scaled as a whole. Mean over layers.
    Source: Kornblith et al. 2019, arXiv:1905.00414, section 3, an index, used as a loss here; the unbiased HSIC is
        that of Song et al. 2012, Feature selection via dependence maximization.
    Raises:
        RequestError: a layer out of range; an example without a token.
    """

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
        kernel = kernel * _others(kernel)
        rows = kernel.sum(dim=1, keepdim=True) / (size - 2)
        return (kernel - rows - rows.T + kernel.sum() / ((size - 1) * (size - 2))) * _others(kernel)


def _relative_distances(vectors: Tensor) -> Tensor:
    """Distances over their mean, ``(batch, batch)``. Unlike a square root, cdist has gradient 0 at distance 0."""
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    size = len(vectors)
    return distances / (distances.sum() / (size * (size - 1))).clamp_min(1e-30)


def _cosines(vectors: Tensor) -> Tensor:
    """``cos`` of the angle between ``i - j`` and ``k - j``, ``(j, i, k)``."""
    directions = unit(vectors[None] - vectors[:, None])  # (j, i, width)
    return directions @ directions.transpose(1, 2)


def _others(square: Tensor) -> Tensor:
    """bool, ``(batch, batch)``: False on the diagonal."""
    return ~torch.eye(len(square), dtype=torch.bool, device=square.device)
