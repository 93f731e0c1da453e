"""CoFi: each teacher layer takes the nearest student layer, order kept."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.layer_map import uniform_layers
from distilnlp.losses.base import Batch, register_loss
from distilnlp.losses.checks import require_teacher
from distilnlp.losses.layer_matching.base import AllLayersLoss, costs
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["CoFi"]


@register_loss("cofi")
@dataclass(frozen=True)
class CoFi(AllLayersLoss):
    """``mean_i D(i, m(i))``: each teacher layer takes the student layer ``m(i)`` that is nearest, order kept.

    ``D(i, j) = mean (W h_s_j - h_t_i)^2`` over real tokens. ``m`` never falls and is the best of all such maps for the
    batch, found anew each step. Depends on which examples meet in a batch: one map serves them all. ``W`` is the
    auxiliary module, one for all layers, and starts as the identity where the widths are equal.

    Args:
        student_layers: that may be taken, in rising order. None: all blocks.
        teacher_layers: that are matched, in rising order. None: four at even distances (3, 6, 9, 12 of 12), or all
            of a teacher of fewer.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, real tokens, examples and teacher layers (the paper has the sum).
    Raises:
        RequestError: a layer out of range; layers not in rising order; unequal widths without the module; unequal
            numbers of tokens (two tokenizers).
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Xia et al.",
            2022,
            "Structured Pruning Learns Compact and Accurate Models",
            "arXiv:2204.00408",
            where="section 3.2",
            differs=(
                "Their code goes down from the last layer and takes the nearest below the one just taken, while there "
                "is one; ours is the least sum, and two teacher layers may share a student layer."
            ),
        ),
    )

    batch_dependent: ClassVar[bool] = True
    weighs_examples: ClassVar[bool] = True

    def default_layers(self, layers: int, who: str) -> tuple[int, ...]:
        return uniform_layers(min(4, layers), layers) if who == "teacher" else super().default_layers(layers, who)

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        width = require_teacher(self.name, teacher).width
        module = nn.Linear(student.width, width)
        if student.width == width:
            nn.init.eye_(module.weight)
            nn.init.zeros_(module.bias)
        return module

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        distances = costs(
            self, student, require_teacher(self.name, teacher), module
        ).T  # (teacher layers, student layers)
        # best[j]: the least sum so far with m <= j. No path is looked at: the gradient goes where the minimum is.
        best = distances[0].cummin(dim=0).values
        for row in distances[1:]:
            best = (best + row).cummin(dim=0).values
        return best[-1] / len(distances)
