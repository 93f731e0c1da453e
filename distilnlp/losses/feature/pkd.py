"""Patient knowledge distillation: the directions of the first token's states."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import batch_mean, register_loss
from distilnlp.losses.layers import LayerLoss, to_teacher_width
from distilnlp.losses.pooling import pool, unit
from distilnlp.outputs import Outputs

__all__ = ["PKD"]


@register_loss("pkd")
@dataclass(frozen=True)
class PKD(LayerLoss):
    """``|| h_s / ||h_s|| - h_t / ||h_t|| ||^2 = 2 - 2 cos`` of the [CLS] states of mapped layers. In 0..4.

    Where the widths differ, the auxiliary modules are linear projections of the student's states, one a layer.

    Args:
        layer_map: which layers: ``skip`` (default) or ``last`` of the paper, both without the last layer, which is
            left to the logits; or any other (see `LayerMap.from_spec`).
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless, summed over the width (their code takes the mean over it, and so is smaller by that factor);
        mean over examples and layers (the paper has the sum). Unchanged when either model's states are scaled.
    Raises:
        RequestError: a layer out of range; unequal widths without the projection; a student of one layer with a map
            that leaves the last layer out.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Sun et al.",
            2019,
            "Patient Knowledge Distillation for BERT Model Compression",
            "arXiv:1908.09355",
            where="section 3.2",
            differs="With a projection, which the paper has not.",
        ),
        Citation(
            "Aguilar et al.",
            2020,
            "Knowledge Distillation from Internal Representations",
            "arXiv:1910.03723",
            differs="Half of this loss, together with ``attention_probabilities``, is their internal distillation.",
        ),
    )

    layer_map: LayerMap | LayerMapSpec = "skip"

    projects: ClassVar[bool] = True
    weighs_examples: ClassVar[bool] = True
    by_token: ClassVar[bool] = False

    def layer_term(
        self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, module: nn.Module | None
    ) -> Tensor:
        t = pool(teacher, teacher_layer, "cls").detach()  # (batch, teacher width)
        s = to_teacher_width(self.name, pool(student, layer, "cls"), t, module)
        return batch_mean((unit(s) - unit(t)).square().sum(dim=-1), student.weights)
