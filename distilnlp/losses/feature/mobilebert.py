"""MobileBERT's transfer of feature maps."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import register_loss, token_mean
from distilnlp.losses.checks import check_weights
from distilnlp.losses.layers import HiddenLayerLoss

__all__ = ["MobileBERT"]


@register_loss("mobilebert")
@dataclass(frozen=True)
class MobileBERT(HiddenLayerLoss):
    """``a mean_c (LN(h_s) - LN(h_t))^2 + b (mean(h_s) - mean(h_t))^2 + g |var(h_s) - var(h_t)|``, token by token.

    ``LN`` is a layer norm without parameters; means and variances are over the width. Where the widths differ, the
    auxiliary modules are linear maps of the student's states, one a layer.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
        feature_factor: ``a`` >= 0, of the normalised states.
        mean_factor: ``b`` >= 0, of the means.
        variance_factor: ``g`` >= 0, of the variances.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: the first term is dimensionless, the other two are squared hidden units; mean over real tokens, examples and
        layers.
    Raises:
        RequestError: a factor that is negative or not finite, or all 0; a layer out of range; unequal widths without
            the module; unequal numbers of tokens (two tokenizers).
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Sun et al.",
            2020,
            "MobileBERT: a Compact Task-Agnostic BERT for Resource-Limited Devices",
            "arXiv:2004.02984",
            where="section 3.5",
            differs=(
                "With the statistics and factors of the authors' code. There each student layer is held to the "
                "statistics of all teacher layers at once; ours to those of its own. The attention part is "
                "``attention_probabilities``, of factor 1 there."
            ),
        ),
    )

    feature_factor: float = 100.0
    mean_factor: float = 5000.0
    variance_factor: float = 5.0

    projects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, ("feature_factor", "mean_factor", "variance_factor"))

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        features = (_normalised(student) - _normalised(teacher)).square().mean(dim=-1)  # (batch, tokens)
        means = (student.mean(dim=-1) - teacher.mean(dim=-1)).square()
        variances = (student.var(dim=-1, correction=0) - teacher.var(dim=-1, correction=0)).abs()
        return token_mean(
            self.feature_factor * features + self.mean_factor * means + self.variance_factor * variances, real
        )


def _normalised(states: Tensor) -> Tensor:
    return F.layer_norm(states, states.shape[-1:], eps=1e-12)
