"""Flow of solution procedure: how a text flows from one mapped layer to the next."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.layer_map import LayerMap
from distilnlp.losses.base import Batch, batch_mean, register_loss, valid_counts
from distilnlp.losses.chunks import sum_over_examples
from distilnlp.losses.layers import HiddenLayerLoss, check_steps, to_teacher_width
from distilnlp.outputs import Outputs

__all__ = ["FSP"]


@register_loss("fsp")
@dataclass(frozen=True)
class FSP(HiddenLayerLoss):
    """``mean (G_s - G_t)^2``, ``G = H_a^T H_b / tokens``: how a text flows from one mapped layer to the next.

    Each mapped layer is followed by the next one of the map, in the student's order. Where the widths differ, the
    auxiliary modules are linear projections of the student's states, one a layer.

    Args:
        layer_map: which layers, two pairs or more (see `LayerMap.from_spec`); 0 is the embeddings.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32. ``G``: ``(width, width)`` for each example.
    Units: hidden units to the power of four; mean over the ``width^2`` numbers of ``G``, examples and steps between
        layers. A text whose tokens all stand twice has the same ``G``.
    Raises:
        RequestError: a map of one pair; a layer out of range; an example without a token; unequal widths without the
            projection; unequal numbers of tokens (two tokenizers).
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Yim et al.",
            2017,
            "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer Learning",
            "CVPR 2017",
            where="equations 1 and 2",
            differs=(
                "Real tokens for their pixels (padding is in neither the sum nor the number). They sum over ``G`` "
                "where we take the mean, and have no projection."
            ),
        ),
    )

    projects: ClassVar[bool] = True

    def check_pairs(self, pairs: LayerMap) -> None:
        super().check_pairs(pairs)
        check_steps(self.name, pairs, "is the flow from one mapped layer to the next")

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        states = []
        for layer, h_s, h_t in sorted(self.mapped_states(student, teacher), key=lambda mapped: mapped[0]):
            own = module[str(layer)] if isinstance(module, nn.ModuleDict) else None
            states.append((to_teacher_width(self.name, h_s, h_t, own), h_t))
        real = student.token_mask(states[0][0])[..., None]  # (batch, tokens, 1)
        counts = valid_counts(real[..., 0])[:, None, None]  # (batch, 1, 1)
        terms = []
        for (first_s, first_t), (next_s, next_t) in pairwise(states):
            flow_t = [first_t, next_t]

            def difference(flow_s: list[Tensor], part: slice, flow_t: list[Tensor] = flow_t) -> Tensor:
                g_s = _flow(flow_s[0], flow_s[1], real[part], counts[part])  # (part, width, width)
                g_t = _flow(flow_t[0][part], flow_t[1][part], real[part], counts[part])
                differences = (g_s - g_t).square().mean(dim=(1, 2))  # (part,)
                return batch_mean(differences, student.weights_of(part)) * (len(differences) / len(real))

            terms.append(sum_over_examples(difference, [first_s, next_s], first_s.shape[-1] ** 2))
        return sum(terms[1:], terms[0]) / len(terms)


def _flow(first: Tensor, following: Tensor, real: Tensor, counts: Tensor) -> Tensor:
    """``H_a^T H_b / tokens`` over the real tokens, ``(batch, width, width)``."""
    nothing = first.new_zeros(())
    return first.where(real, nothing).transpose(1, 2) @ following.where(real, nothing) / counts
