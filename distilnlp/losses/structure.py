"""Losses on the structure that a layer gives a batch or a text: kernels, flows between layers, graphs, ranks."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import (
    Batch,
    LayerLoss,
    check_count,
    check_positive,
    check_same_shape,
    check_weights,
    given,
    register_loss,
    valid_counts,
)
from distilnlp.losses.chunks import sum_over_examples
from distilnlp.losses.hidden import HiddenLayerLoss, check_widths, projections
from distilnlp.losses.pooled import RelationalLoss, pool, unit
from distilnlp.losses.response import Head, check_heads
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["CC", "FSP", "IRG"]


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
        gamma: ``g`` > 0, dimensionless.
        order: ``P`` >= 1; 1 compares the cosines alone.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when a model's states are rotated or scaled. Mean over all ``batch^2`` pairs, those
        of an example with itself (which are 0) included, and over layers.
    Source: Peng et al. 2019 (correlation congruence), arXiv:1904.01802; gamma 0.4 and order 2 as in torchdistill.
        The paper has labels and soft targets beside it: ``hard_label`` and ``soft_target``.
    Raises:
        RequestError: ``gamma`` not positive; ``order`` not a whole number above 0; a layer out of range; an example
            without a token.
    """

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


@register_loss("fsp")
@dataclass(frozen=True)
class FSP(HiddenLayerLoss):
    """``mean (G_s - G_t)^2``, ``G = H_a^T H_b / tokens``: how a text flows from one mapped layer to the next.

    Each mapped layer is followed by the next one of the map, in the student's order. Where the widths differ, a linear
    projection of the student's states is learned along, one a layer.

    Args:
        layer_map: which layers, two pairs or more (see `LayerMap.from_spec`); 0 is the embeddings.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32. ``G``: ``(width, width)`` for each example.
    Units: hidden units to the power of four; mean over the ``width^2`` numbers of ``G``, examples and steps between
        layers. A text whose tokens all stand twice has the same ``G``.
    Source: Yim et al. 2017 (FSP), A Gift from Knowledge Distillation, CVPR, equations 1 and 2, real tokens for their
        pixels (padding is in neither the sum nor the number). They sum over ``G`` where we take the mean, and have no
        projection.
    Raises:
        RequestError: a map of one pair; a layer out of range; an example without a token; unequal widths without the
            projection; unequal numbers of tokens (two tokenizers).
    """

    def _check_lowest(self, pairs: LayerMap) -> None:
        super()._check_lowest(pairs)
        check_steps(self.name, pairs, "is the flow from one mapped layer to the next")

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return projections(self.pairs, student, teacher)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        states = []
        for layer, h_s, h_t in sorted(self.mapped_states(student, teacher), key=lambda mapped: mapped[0]):
            if isinstance(module, nn.ModuleDict):
                h_s = module[str(layer)](h_s)  # (batch, tokens, teacher width)
            check_widths(self.name, h_s, h_t)
            states.append((h_s, h_t))
        real = student.token_mask(states[0][0])[..., None]  # (batch, tokens, 1)
        counts = valid_counts(real[..., 0])[:, None, None]  # (batch, 1, 1)
        terms = []
        for (first_s, first_t), (next_s, next_t) in pairwise(states):
            flow_t = [first_t, next_t]

            def difference(flow_s: list[Tensor], part: slice, flow_t: list[Tensor] = flow_t) -> Tensor:
                g_s = _flow(flow_s[0], flow_s[1], real[part], counts[part])  # (part, width, width)
                g_t = _flow(flow_t[0][part], flow_t[1][part], real[part], counts[part])
                return (g_s - g_t).square().mean(dim=(1, 2)).sum() / len(real)

            terms.append(sum_over_examples(difference, [first_s, next_s], first_s.shape[-1] ** 2))
        return sum(terms[1:], terms[0]) / len(terms)


def _flow(first: Tensor, following: Tensor, real: Tensor, counts: Tensor) -> Tensor:
    """``H_a^T H_b / tokens`` over the real tokens, ``(batch, width, width)``."""
    nothing = first.new_zeros(())
    return first.where(real, nothing).transpose(1, 2) @ following.where(real, nothing) / counts


@register_loss("irg")
@dataclass(frozen=True)
class IRG(RelationalLoss):
    """Instance relation graph: ``w_e mean (E_s - E_t)^2 + w_v mean (z_s - z_t)^2 + w_t mean (R_s - R_t)^2``.

    Edges ``E_ij = ||x_i - x_j||^2 / max``, for each mapped layer; vertices are the logits ``z``; the transformation
    ``R_i = ||x_i - y_i||^2 / max`` is how far an example moves from a mapped layer ``x`` to the next one ``y``.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples give 0 and a warning. One example that lies far out shrinks all other relations.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); with ``transformation_weight`` two pairs or more.
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        edge_weight: ``w_e`` >= 0.
        vertex_weight: ``w_v`` >= 0; the term is that of ``logit_mse``, and off by default.
        transformation_weight: ``w_t`` >= 0.
    Shapes:
        hidden states: ``(batch, tokens, width)``; logits only with ``vertex_weight``; returns ``()``, float32.
    Units: edges and transformations dimensionless, unchanged when a model's states are rotated, shifted or scaled;
        vertices in squared logits. Edges are the mean over all ``batch^2`` pairs, those of an example with itself
        (which are 0) included, and layers; transformations over examples and steps between layers.
    Source: Liu et al. 2019 (IRG), Knowledge Distillation via Instance Relationship Graph, CVPR, on one vector an
        example in place of a feature map. Each relation is divided by the largest of its batch, as in the authors'
        code (for which it is a constant; ours has its gradient); the paper's formulas are not. They sum the squares
        where we take the mean, and may hold the teacher's last layer against several of the student's. Weights of 1
        are ours.
    Raises:
        RequestError: a weight below 0, or none above; ``transformation_weight`` with a map of one pair;
            ``vertex_weight`` with unequal numbers of logits; a layer out of range; an example without a token.
    """

    layer_map: LayerMap | LayerMapSpec = "auto"
    edge_weight: float = 1.0
    vertex_weight: float = 0.0
    transformation_weight: float = 1.0

    smallest_batch: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, ("edge_weight", "vertex_weight", "transformation_weight"))

    def _check_lowest(self, pairs: LayerMap) -> None:
        super()._check_lowest(pairs)
        if self.transformation_weight:
            check_steps(self.name, pairs, "with transformation_weight looks from one mapped layer to the next")

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        if self.vertex_weight:
            check_heads(self.name, student, teacher)
        return super().resolve(student, teacher)

    def needs_student(self) -> Needs:
        return super().needs_student() | Needs(logits=self.vertex_weight > 0)

    def needs_teacher(self) -> Needs:
        return super().needs_teacher() | Needs(logits=self.vertex_weight > 0)

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        edges = [_over_largest((x[:, None] - x[None]).square().sum(dim=-1)) for x in (student, teacher)]
        return (edges[0] - edges[1]).square().mean()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = given(self.name, teacher)
        loss = self.edge_weight * super().__call__(student, teacher, batch, module)
        if self.vertex_weight:
            head = Head(self.name, student, batch)
            z_s, z_t = head.rows(student), head.rows(teacher).detach()  # (batch, rows, classes)
            check_same_shape("logits", z_s, z_t)
            loss = loss + self.vertex_weight * head.mean((z_s - z_t).square().mean(dim=-1))
        if self.transformation_weight:
            pairs = sorted(self.pairs)
            x_s = [pool(student, layer, self.pooling) for layer, _ in pairs]
            x_t = [pool(teacher, layer, self.pooling).detach() for _, layer in pairs]
            if len(x_s[0]) >= self.smallest_batch:
                moves = torch.stack(
                    [_moves(*a) - _moves(*b) for a, b in zip(pairwise(x_s), pairwise(x_t), strict=True)]
                )
                loss = loss + self.transformation_weight * moves.square().mean()
        return loss


def _moves(before: Tensor, after: Tensor) -> Tensor:
    return _over_largest((before - after).square().sum(dim=-1))  # (batch,)


def _over_largest(relations: Tensor) -> Tensor:
    largest = relations.amax()
    return relations / largest.where(largest > 0, largest.new_ones(()))


def check_steps(name: str, pairs: LayerMap, what: str) -> None:
    """Raise RequestError unless the map has a next layer for some layer."""
    if len(pairs) < 2:
        raise RequestError(
            f"{name} {what} and the layer map has one pair only, {[list(pair) for pair in pairs]}: map two layers or "
            "more"
        )
