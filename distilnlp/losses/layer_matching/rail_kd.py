"""RAIL-KD: teacher layers drawn at random."""

import random
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Batch, batch_mean, register_loss
from distilnlp.losses.checks import check_count, require_module, require_teacher
from distilnlp.losses.layer_matching.base import AllLayersLoss
from distilnlp.losses.pooling import pool, unit
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["RAILKD"]


class _Draw(nn.Module):
    """Maps to a common size for each layer, and how many draws there were: kept in checkpoints, so that they go on."""

    def __init__(self, layers: tuple[tuple[int, ...], tuple[int, ...]], widths: tuple[int, int], size: int) -> None:
        super().__init__()
        self.student, self.teacher = (
            nn.ModuleDict({str(layer): nn.Linear(width, size) for layer in own})
            for own, width in zip(layers, widths, strict=True)
        )
        self.calls = 0

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.calls)  # a tensor: safetensors holds nothing else

    def set_extra_state(self, state: Tensor) -> None:
        self.calls = int(state)


@register_loss("rail_kd")
@dataclass(frozen=True)
class RAILKD(AllLayersLoss):
    """``|| W_j s_j / ||W_j s_j|| - V_i t_i / ||V_i t_i|| ||^2``: each student layer with a teacher layer drawn anew.

    As many teacher layers as there are student layers are drawn, and taken in rising order. ``s`` and ``t`` are the
    means over real tokens. ``W`` and ``V``, one for each layer, are the auxiliary module, which lives beside the
    student while it trains and is never saved with it. The number of draws is kept in checkpoints.

    Args:
        student_layers: in rising order. None: all blocks but the last, which is left to the logits.
        teacher_layers: that are drawn from; None: the same, of the teacher.
        dimension: what ``W`` and ``V`` map to.
        every: after how many training batches (micro-batches count) there is a new draw.
        seed: of the draws.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless, in 0..4; mean over examples and student layers.
    Raises:
        RequestError: fewer teacher layers than student layers; a model of one block without its layers named; a layer
            out of range; layers not in rising order; ``dimension`` or ``every`` below 1; no module.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Haidar et al.",
            2022,
            "RAIL-KD: RAndom Intermediate Layer Mapping for Knowledge Distillation",
            "arXiv:2109.10164",
            differs=(
                "Layer by layer (not their variant that joins the layers), the sum over layers a mean here. They draw "
                "anew each epoch; ours after ``every`` batches."
            ),
        ),
    )

    weighs_examples: ClassVar[bool] = True
    by_token: ClassVar[bool] = False

    dimension: int = 128
    every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("dimension", self.dimension)
        check_count("every", self.every)
        if self.student_layers and self.teacher_layers and len(self.student_layers) > len(self.teacher_layers):
            raise RequestError(
                f"{self.name} draws a teacher layer for each student layer: it needs {len(self.student_layers)} and "
                f"may draw from {len(self.teacher_layers)}; give fewer student_layers or more teacher_layers"
            )

    def default_layers(self, layers: int, who: str) -> tuple[int, ...]:
        return tuple(range(1, layers))

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return _Draw(self.layers, (student.width, require_teacher(self.name, teacher).width), self.dimension)

    def draw(self, number: int) -> tuple[int, ...]:
        """The teacher layers of a draw, in rising order; the same in every process."""
        own, others = self.layers
        return tuple(sorted(random.Random(f"{self.seed} {number}").sample(others, len(own))))

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        maps = require_module(self.name, module, _Draw)
        drawn = self.draw(maps.calls // self.every)
        maps.calls += maps.training
        terms = []
        for j, i in zip(self.layers[0], drawn, strict=True):
            s = maps.student[str(j)](pool(student, j, "mean"))  # (batch, dimension)
            t = maps.teacher[str(i)](pool(teacher, i, "mean").detach())  # (batch, dimension)
            terms.append(batch_mean((unit(s) - unit(t)).square().sum(dim=-1), student.weights))
        # A map that was not drawn has a gradient of 0: several processes wait for the gradient of every parameter.
        unused = [parameter.sum() * 0.0 for parameter in maps.parameters()]
        return sum(terms[1:], terms[0]) / len(terms) + sum(unused[1:], unused[0])
