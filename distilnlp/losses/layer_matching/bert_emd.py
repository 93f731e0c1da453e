"""BERT-EMD: layers matched by the cheapest transport."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import Batch, register_loss
from distilnlp.losses.checks import require_teacher
from distilnlp.losses.layer_matching.base import AllLayersLoss, costs
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["BertEMD"]


@register_loss("bert_emd")
@dataclass(frozen=True)
class BertEMD(AllLayersLoss):
    """``sum f D / sum f``, ``f`` the cheapest transport from student layers to teacher layers at cost ``D``.

    ``D_ij`` is the mean squared error between hidden states over real tokens. All layers of a model have the same
    weight. ``f`` gets no gradient. Where the widths differ, one linear map of the student's states is the auxiliary
    module. Depends on which examples meet in a batch: one plan serves them all. The plan is made on the CPU, so that
    an accelerator is waited for once a step.

    Args:
        student_layers: in rising order; 0 is the embeddings. None: all blocks.
        teacher_layers: the same, of the teacher.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, real tokens, examples and the plan. 0 where the models are equal only
        if they have equally many layers.
    Raises:
        RequestError: a layer out of range; layers not in rising order; unequal widths without the module; unequal
            numbers of tokens (two tokenizers).
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Li et al.",
            2020,
            "BERT-EMD: Many-to-Many Layer Mapping for BERT Compression with Earth Mover's Distance",
            "arXiv:2010.06133",
            differs=(
                "Without their second transport, between attention matrices, and without their update of the layers' "
                "weights."
            ),
        ),
    )

    batch_dependent: ClassVar[bool] = True
    weighs_examples: ClassVar[bool] = True
    syncs_device: ClassVar[bool] = True

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        width = require_teacher(self.name, teacher).width
        return None if student.width == width else nn.Linear(student.width, width)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        distances = costs(
            self, student, require_teacher(self.name, teacher), module
        )  # (student layers, teacher layers)
        plan = transport(distances)
        return (plan * distances).sum() / plan.sum()


def transport(distances: Tensor) -> Tensor:
    """The cheapest plan between layers of equal weight; rows sum to ``1 / rows``, columns to ``1 / columns``.

    Args:
        distances: ``(rows, columns)``, >= 0. With one that is not finite the plan is uniform: the loss is then not
            finite either, at which the trainer stops.
    """
    from ot import emd  # not at the top: it takes a second, and only this loss needs it

    rows, columns = distances.shape
    numbers = distances.detach().double().cpu()
    plan = torch.full((rows, columns), 1 / (rows * columns), dtype=torch.float64)
    if bool(numbers.isfinite().all()) and bool(numbers.any()):
        # Divided by the largest: the solver has a tolerance that is not relative.
        scaled = (numbers / numbers.max()).numpy()
        plan = torch.from_numpy(emd([1 / rows] * rows, [1 / columns] * columns, scaled))
    return plan.to(distances)
