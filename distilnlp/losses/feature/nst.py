"""Neuron selectivity transfer: which tokens the same dimensions react to."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import register_loss, without_padding
from distilnlp.losses.layers import HiddenLayerLoss
from distilnlp.losses.pooling import unit

__all__ = ["NST"]


@register_loss("nst")
@dataclass(frozen=True)
class NST(HiddenLayerLoss):
    """``|| M_s - M_t ||_F^2``, ``M = mean_c f_c f_c^T``: which tokens the same dimensions of a state react to.

    ``f_c`` holds dimension ``c`` of the states of all tokens, scaled to length 1. Widths are free, and the order of
    the dimensions means nothing.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless, in 0..2; summed over pairs of real tokens, mean over examples and layers. Unchanged when a
        dimension is scaled.
    Raises:
        RequestError: a layer out of range; unequal numbers of tokens (two tokenizers).
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Huang & Wang",
            2017,
            "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
            "arXiv:1707.01219",
            differs=(
                "With the polynomial kernel ``(x . y)^2``, whose squared maximum mean discrepancy this is, on tokens "
                "for pixels. Padding is left out before ``f`` is scaled."
            ),
        ),
    )

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        return (_selectivity(student, real) - _selectivity(teacher, real)).square().sum(dim=(1, 2))


def _selectivity(states: Tensor, real: Tensor) -> Tensor:
    """``M``, ``(batch, tokens, tokens)``."""
    units = unit(without_padding(states, real), dim=1)  # (batch, tokens, width)
    return units @ units.transpose(1, 2) / units.shape[-1]
