"""Contrastive losses: of all texts in the batch, the student's vector has to find the teacher's of the same text."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.losses.base import check_positive, given, register_loss
from distilnlp.losses.hidden import check_widths
from distilnlp.losses.pooled import RelationalLoss, unit
from distilnlp.outputs import ModelInfo

__all__ = ["InfoNCE"]

# Two texts whose teacher's vectors have a cosine above this are one text that stands twice in the batch.
SAME = 1 - 1e-6


@register_loss("info_nce")
@dataclass(frozen=True)
class InfoNCE(RelationalLoss):
    """``-log(exp(s_i t_i / tau) / sum_j exp(s_i t_j / tau))`` of unit vectors ``s`` and ``t``, negatives in the batch.

    Depends on which examples meet in a batch: micro-batches have fewer negatives and are another loss; with several
    processes each has the negatives of its own batch. One example gives 0 and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        temperature: ``tau`` > 0, dimensionless.
        dimension: size of the vectors; two linear maps to it are learned along, one for each model. None compares the
            states themselves, which must be equally wide.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: nats per example, mean over examples and layers; ``log(batch)`` where all similarities are equal. Not 0
        where the models are equal.
    Source: van den Oord et al. 2018, arXiv:1807.03748, equation 4, with the embeddings, size 128 and temperature 0.07
        of Tian et al. 2020 (CRD), arXiv:1910.10699, whose negatives come from a memory of the data set instead. A text
        that stands twice in the batch (cosine of the teacher's vectors above 1 - 1e-6) is no negative of itself.
    Raises:
        RequestError: ``temperature`` or ``dimension`` not positive; unequal widths with ``dimension=None``.
    """

    temperature: float = 0.07
    dimension: int | None = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)
        if self.dimension is not None:
            check_positive("dimension", self.dimension)

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        if self.dimension is None:
            return None
        widths = {"student": student.width, "teacher": given(self.name, teacher).width}
        return nn.ModuleDict(
            {
                str(layer): nn.ModuleDict({who: nn.Linear(width, self.dimension) for who, width in widths.items()})
                for layer in self.pairs.student
            }
        )

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        directions = unit(teacher)
        twice = directions @ directions.T > SAME  # (batch, batch)
        itself = torch.eye(len(teacher), dtype=torch.bool, device=teacher.device)
        if isinstance(module, nn.ModuleDict):
            student, teacher = module["student"](student), module["teacher"](teacher)  # (batch, dimension)
        check_widths(self.name, student, teacher)
        similarities = unit(student) @ unit(teacher).T / self.temperature  # (batch, batch)
        similarities = similarities.masked_fill(twice & ~itself, -torch.inf)
        return -F.log_softmax(similarities, dim=-1).diagonal().mean()
