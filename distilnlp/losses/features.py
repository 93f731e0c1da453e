"""Losses on features of hidden states: their directions, where their energy lies, what they tell of the teacher's."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import check_positive, example_mean, given, register_loss, without_padding
from distilnlp.losses.hidden import HiddenLayerLoss, check_widths, projections
from distilnlp.losses.pooled import PooledLoss, Pooling, unit
from distilnlp.outputs import ModelInfo

__all__ = ["PKD", "VID", "AttentionTransfer"]


@register_loss("pkd")
@dataclass(frozen=True)
class PKD(PooledLoss):
    """``|| h_s / ||h_s|| - h_t / ||h_t|| ||^2 = 2 - 2 cos`` of the [CLS] states of mapped layers. In 0..4.

    Where the widths differ, a linear projection of the student's states is learned along, one a layer.

    Args:
        layer_map: which layers: ``skip`` (default) or ``last`` of the paper, both without the last layer, which is
            left to the logits; or any other (see `LayerMap.from_spec`).
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless, summed over the width (their code takes the mean over it, and so is smaller by that factor);
        mean over examples and layers (the paper has the sum). Unchanged when either model's states are scaled.
    Source: Sun et al. 2019 (PKD), arXiv:1908.09355, section 3.2, with a projection, which the paper has not. Half of
        it, together with ``attention_probabilities``, is the internal distillation of Aguilar et al. 2020,
        arXiv:1910.03723.
    Raises:
        RequestError: a layer out of range; unequal widths without the projection; a student of one layer with a map
            that leaves the last layer out.
    """

    layer_map: LayerMap | LayerMapSpec = "skip"
    pooling: Pooling = field(default="cls", init=False, repr=False)

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return projections(self.pairs, student, teacher)

    def compare(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        if module is not None:
            student = module(student)  # (batch, teacher width)
        check_widths(self.name, student, teacher)
        return (unit(student) - unit(teacher)).square().sum(dim=-1).mean()


@register_loss("attention_transfer")
@dataclass(frozen=True)
class AttentionTransfer(HiddenLayerLoss):
    """``mean_tokens (Q_s - Q_t)^2``, ``Q = q / ||q||``, ``q_i = sum_c |H_ic|^p``: on which tokens the energy lies.

    The attention is that of a hidden state's size, not of queries and keys. Widths are free.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
        power: ``p`` >= 1, dimensionless; with 2 a rotation of the states changes nothing.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when either model's states are scaled. Mean over real tokens, examples and layers.
    Source: Zagoruyko & Komodakis 2017, arXiv:1612.03928, equation 2 (the authors' code has this mean of squares, the
        paper the norm of the difference), tokens for its pixels. Padding is left out before ``Q`` is scaled to 1; odd
        powers are of absolute values.
    Raises:
        RequestError: ``power`` below 1; a layer out of range; unequal numbers of tokens (two tokenizers).
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("power", self.power)
        if self.power < 1:
            raise RequestError(f"power must be at least 1 (below, the gradient at 0 is infinite); got {self.power}")

    def layer_term(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        difference = self._map(student, real) - self._map(teacher, real)  # (batch, tokens)
        return example_mean(difference.square(), real)

    def _map(self, states: Tensor, real: Tensor) -> Tensor:
        sizes = without_padding(states.abs(), real)  # (batch, tokens, width)
        # The map forgets the scale; divided by the largest, no power of it can overflow or vanish.
        largest = sizes.detach().amax(dim=(1, 2), keepdim=True)
        sizes = sizes / largest.where(largest > 0, largest.new_ones(()))
        return unit(sizes.pow(self.power).sum(dim=-1))


class _Gaussian(nn.Module):
    """A linear prediction of the teacher's state, and a variance for each of its dimensions."""

    def __init__(self, student_width: int, teacher_width: int, variance: float) -> None:
        super().__init__()
        self.mean = nn.Linear(student_width, teacher_width)
        # softplus(raw) + floor = variance at the start
        raw = math.log(math.expm1(variance - VID.floor))
        self.raw_variance = nn.Parameter(torch.full((teacher_width,), raw))

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(states), F.softplus(self.raw_variance) + VID.floor


@register_loss("vid")
@dataclass(frozen=True)
class VID(HiddenLayerLoss):
    """``mean_c [(t_c - mu_c(s))^2 / (2 v_c) + log(v_c) / 2]``: how unlikely the teacher's state is.

    ``mu`` (linear) and the variances ``v = softplus(a) + 1e-5`` are learned along, one pair a layer; they live beside
    the student while it trains and are never saved with it. May be negative; at a perfect ``mu`` it is not 0.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
        variance: ``v`` at the start, > 1e-5, in squared hidden units.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: nats a dimension, without the constant ``log(2 pi) / 2``; mean over width, real tokens, examples and layers.
    Source: Ahn et al. 2019 (VID), arXiv:1904.05835, on tokens, with the mean over dimensions (the paper has the sum),
        the variance at the start and the 1e-5 of the authors' code; one linear map in place of their convolutions.
    Raises:
        RequestError: ``variance`` too small; a layer out of range; no module; unequal numbers of tokens.
    """

    variance: float = 5.0

    floor: ClassVar[float] = 1e-5
    read_once: ClassVar[frozenset[str]] = frozenset({"variance"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("variance", self.variance)
        if self.variance <= self.floor:
            raise RequestError(f"variance must be above {self.floor}; got {self.variance}")

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        width = given(self.name, teacher).width
        return nn.ModuleDict(
            {str(layer): _Gaussian(student.width, width, self.variance) for layer in self.pairs.student}
        )

    def layer_term(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        if module is None:
            raise RequestError(f"{self.name} needs what it learns along: pass the module that make_module() gives")
        mean, variance = module(student)  # (batch, tokens, teacher width), (teacher width,)
        check_widths(self.name, mean, teacher)
        terms = (teacher - mean).square() / (2 * variance) + variance.log() / 2
        return example_mean(terms.mean(dim=-1), real)
