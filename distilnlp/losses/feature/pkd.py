"""Patient knowledge distillation: the directions of the first token's states."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import register_loss
from distilnlp.losses.feature.hidden_state import check_widths, projections
from distilnlp.losses.pooling import PooledLoss, Pooling, unit
from distilnlp.outputs import ModelInfo

__all__ = ["PKD"]


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
