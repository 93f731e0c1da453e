"""Instance relation graphs: edges between examples, and how they move from layer to layer."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import Batch, register_loss
from distilnlp.losses.checks import check_same_shape, check_weights, require_teacher
from distilnlp.losses.layers import LayerLoss, check_steps
from distilnlp.losses.pooling import pool
from distilnlp.losses.relation.base import RelationalLoss
from distilnlp.losses.response.base import Head, check_num_logits
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["IRG"]


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
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
        edge_weight: ``w_e`` >= 0.
        vertex_weight: ``w_v`` >= 0; the term is that of ``logit_mse``, and off by default.
        transformation_weight: ``w_t`` >= 0.
    Shapes:
        hidden states: ``(batch, tokens, width)``; logits only with ``vertex_weight``; returns ``()``, float32.
    Units: edges and transformations dimensionless, unchanged when a model's states are rotated, shifted or scaled;
        vertices in squared logits. Edges are the mean over all ``batch^2`` pairs, those of an example with itself
        (which are 0) included, and layers; transformations over examples and steps between layers.
    Raises:
        RequestError: a weight below 0, or none above; ``transformation_weight`` with a map of one pair;
            ``vertex_weight`` with unequal numbers of logits; a layer out of range; an example without a token.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Liu et al.",
            2019,
            "Knowledge Distillation via Instance Relationship Graph",
            "CVPR 2019",
            differs=(
                "On one vector an example in place of a feature map. Each relation is divided by the largest of its "
                "batch, as in the authors' code (for which it is a constant; ours has its gradient); the paper's "
                "formulas are not. They sum the squares where we take the mean, and may hold the teacher's last layer "
                "against several of the student's. Weights of 1 are ours."
            ),
        ),
    )

    layer_map: LayerMap | LayerMapSpec = "auto"
    edge_weight: float = 1.0
    vertex_weight: float = 0.0
    transformation_weight: float = 1.0

    smallest_batch: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, ("edge_weight", "vertex_weight", "transformation_weight"))
        if self.on == "logits" and self.transformation_weight:
            raise RequestError(
                f"{self.name} with on='logits' has no layers to look along: set transformation_weight: 0",
                key=["transformation_weight"],
            )

    def check_pairs(self, pairs: LayerMap) -> None:
        super().check_pairs(pairs)
        if self.transformation_weight:
            check_steps(self.name, pairs, "with transformation_weight looks from one mapped layer to the next")

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        if self.vertex_weight:
            check_num_logits(self.name, student, teacher)
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
        teacher = require_teacher(self.name, teacher)
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
