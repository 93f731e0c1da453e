"""Variational information distillation: how unlikely the teacher's state is, given the student's."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import register_loss, token_mean
from distilnlp.losses.checks import check_positive, require_module, require_teacher
from distilnlp.losses.layers import HiddenLayerLoss, check_widths
from distilnlp.outputs import ModelInfo

__all__ = ["VID"]


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

    ``mu`` (linear) and the variances ``v = softplus(a) + 1e-5`` are the auxiliary modules, one a layer; they live
    beside the student while it trains and are never saved with it. May be negative; at a perfect ``mu`` it is not 0.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
        variance: ``v`` at the start, > 1e-5, in squared hidden units.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: nats a dimension, without the constant ``log(2 pi) / 2``; mean over width, real tokens, examples and layers.
    Raises:
        RequestError: ``variance`` too small; a layer out of range; no module; unequal numbers of tokens.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Ahn et al.",
            2019,
            "Variational Information Distillation for Knowledge Transfer",
            "arXiv:1904.05835",
            differs=(
                "On tokens, with the mean over dimensions (the paper has the sum), the variance at the start and the "
                "1e-5 of the authors' code; one linear map in place of their convolutions."
            ),
        ),
    )

    variance: float = 5.0

    floor: ClassVar[float] = 1e-5
    read_once: ClassVar[frozenset[str]] = frozenset({"variance"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("variance", self.variance)
        if self.variance <= self.floor:
            raise RequestError(f"variance must be above {self.floor}; got {self.variance}")

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        width = require_teacher(self.name, teacher).width
        return nn.ModuleDict(
            {str(layer): _Gaussian(student.width, width, self.variance) for layer in self.pairs.student}
        )

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        gaussian = require_module(self.name, module, _Gaussian)
        mean, variance = gaussian(student)  # (batch, tokens, teacher width), (teacher width,)
        check_widths(self.name, mean, teacher)
        terms = (teacher - mean).square() / (2 * variance) + variance.log() / 2
        return token_mean(terms.mean(dim=-1), real)
