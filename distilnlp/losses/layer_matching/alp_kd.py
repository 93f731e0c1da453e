"""ALP-KD: each student layer attends to the teacher's layers."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import Batch, batch_mean, register_loss
from distilnlp.losses.checks import require_teacher
from distilnlp.losses.layer_matching.base import AllLayersLoss
from distilnlp.losses.layers import projections, to_teacher_width
from distilnlp.losses.pooling import pool
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["ALPKD"]


@register_loss("alp_kd")
@dataclass(frozen=True)
class ALPKD(AllLayersLoss):
    """``mean_c (s_j - c_j)^2``, ``c_j = sum_i a_ij t_i``, ``a_ij = softmax_i(s_j . t_i)``, on the [CLS] states.

    Each student layer attends to the teacher layers; the gradient goes through the attention too. Where the widths
    differ, the auxiliary modules are linear maps of the student's states, one a layer.

    Args:
        student_layers: in rising order; 0 is the embeddings. None: all blocks.
        teacher_layers: the same, of the teacher.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, examples and student layers. Not 0 where the models are equal: a
        weighted mean of several layers is none of them.
    Raises:
        RequestError: a layer out of range; layers not in rising order; unequal widths without the module.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Passban et al.",
            2021,
            "ALP-KD: Attention-Based Layer Projection for Knowledge Distillation",
            "arXiv:2012.14022",
            differs=(
                "Their map goes from the teacher's width to the student's; ours the other way, so that the target is "
                "never learned. The products are not scaled, as theirs."
            ),
        ),
    )

    weighs_examples: ClassVar[bool] = True
    by_token: ClassVar[bool] = False

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return projections(self.layers[0], student, require_teacher(self.name, teacher))

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        t = torch.stack([pool(teacher, layer, "cls") for layer in self.layers[1]], dim=1).detach()
        terms = []
        for layer in self.layers[0]:
            own = module[str(layer)] if isinstance(module, nn.ModuleDict) else None
            s = to_teacher_width(self.name, pool(student, layer, "cls"), t, own)  # (batch, teacher width)
            weights = (t @ s[:, :, None]).softmax(dim=1)  # (batch, teacher layers, 1)
            terms.append(batch_mean((s - (weights * t).sum(dim=1)).square().mean(dim=-1), student.weights))
        return sum(terms[1:], terms[0]) / len(terms)
