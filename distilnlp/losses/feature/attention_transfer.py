"""Attention transfer: on which tokens the energy of a hidden state lies."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import register_loss, token_mean, without_padding
from distilnlp.losses.checks import check_positive
from distilnlp.losses.layers import HiddenLayerLoss
from distilnlp.losses.pooling import unit

__all__ = ["AttentionTransfer"]


@register_loss("attention_transfer")
@dataclass(frozen=True)
class AttentionTransfer(HiddenLayerLoss):
    """``mean_tokens (Q_s - Q_t)^2``, ``Q = q / ||q||``, ``q_i = sum_c |H_ic|^p``: on which tokens the energy lies.

    The attention is that of a hidden state's size, not of queries and keys. Widths are free.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
        power: ``p`` >= 1, dimensionless; with 2 a rotation of the states changes nothing.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when either model's states are scaled. Mean over real tokens, examples and layers.
    Raises:
        RequestError: ``power`` below 1; a layer out of range; unequal numbers of tokens (two tokenizers).
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Zagoruyko & Komodakis",
            2017,
            (
                "Paying More Attention to Attention: Improving the Performance of Convolutional Neural Networks via "
                "Attention Transfer"
            ),
            "arXiv:1612.03928",
            where="equation 2",
            differs=(
                "The authors' code has this mean of squares, the paper the norm of the difference; tokens for its "
                "pixels. Padding is left out before ``Q`` is scaled to 1; odd powers are of absolute values."
            ),
        ),
    )

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("power", self.power)
        if self.power < 1:
            raise RequestError(f"power must be at least 1 (below, the gradient at 0 is infinite); got {self.power}")

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        difference = self._map(student, real) - self._map(teacher, real)  # (batch, tokens)
        return token_mean(difference.square(), real)

    def _map(self, states: Tensor, real: Tensor) -> Tensor:
        sizes = without_padding(states.abs(), real)  # (batch, tokens, width)
        # The map forgets the scale; divided by the largest, no power of it can overflow or vanish.
        largest = sizes.detach().amax(dim=(1, 2), keepdim=True)
        sizes = sizes / largest.where(largest > 0, largest.new_ones(()))
        return unit(sizes.pow(self.power).sum(dim=-1))
