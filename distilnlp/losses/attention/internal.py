"""Internal distillation: attention maps and the states of the first token."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.attention.maps import AttentionProbabilities
from distilnlp.losses.base import Batch, batch_mean, register_loss
from distilnlp.losses.checks import require_teacher
from distilnlp.losses.layers import to_teacher_width
from distilnlp.losses.pooling import pool, unit
from distilnlp.outputs import Needs, Outputs

__all__ = ["Internal"]


@register_loss("internal")
@dataclass(frozen=True)
class Internal(AttentionProbabilities):
    """``KL(A_t || A_s) + 1 - cos(s, t)``: the rows of the attention maps, and the [CLS] states, of mapped layers.

    Where the widths differ, the auxiliary modules are linear maps of the student's states, one a layer.

    Args:
        layer_map: which layers; the first block is 1 (see `LayerMap.from_spec`).
        heads: ``match`` compares head by head, ``mean`` the averages over heads (for unequal numbers of heads).
    Shapes:
        queries, keys: ``(batch, heads, tokens, head_dim)``, or attentions ``(batch, heads, tokens, tokens)``;
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: nats per query token, mean over heads, real query tokens, examples and layers, plus a number in 0..2, mean
        over examples and layers.
    Raises:
        RequestError: unequal numbers of heads with ``match``; layer 0; unequal widths without the module.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Aguilar et al.",
            2020,
            "Knowledge Distillation from Internal Representations",
            "arXiv:1910.03723",
            differs=(
                "Both parts with weight 1 and all mapped layers at once, one of its three ways (the others go layer "
                "after layer), with a projection, which the paper has not."
            ),
        ),
    )

    projects: ClassVar[bool] = True

    def needs_of(self, layers: frozenset[int]) -> Needs:
        return Needs(attention=layers, hidden_states=layers)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        total = super().__call__(student, teacher, batch)
        for layer, teacher_layer in self.pairs:
            s = pool(student, layer, "cls")  # (batch, student width)
            t = pool(teacher, teacher_layer, "cls").detach()  # (batch, teacher width)
            s = to_teacher_width(self.name, s, t, module[str(layer)] if isinstance(module, nn.ModuleDict) else None)
            total = total + batch_mean(1 - (unit(s) * unit(t)).sum(dim=-1), student.weights) / len(self.pairs)
        return total
