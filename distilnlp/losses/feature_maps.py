"""Losses on whole feature maps: MobileBERT's transfer, internal distillation, neuron selectivity."""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses.attention import AttentionProbabilities
from distilnlp.losses.base import Batch, example_mean, given, register_loss, without_padding
from distilnlp.losses.hidden import HiddenLayerLoss, check_widths, projections
from distilnlp.losses.pooled import pool, unit
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["NST", "Internal", "MobileBERT"]


@register_loss("mobilebert")
@dataclass(frozen=True)
class MobileBERT(HiddenLayerLoss):
    """``a mean_c (LN(h_s) - LN(h_t))^2 + b (mean(h_s) - mean(h_t))^2 + g |var(h_s) - var(h_t)|``, token by token.

    ``LN`` is a layer norm without parameters; means and variances are over the width. Where the widths differ, a
    linear map of the student's states is learned along, one a layer.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
        feature_factor: ``a`` >= 0, of the normalised states.
        mean_factor: ``b`` >= 0, of the means.
        variance_factor: ``g`` >= 0, of the variances.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: the first term is dimensionless, the other two are squared hidden units; mean over real tokens, examples and
        layers.
    Source: Sun et al. 2020 (MobileBERT), arXiv:2004.02984, section 3.5, with the statistics and factors of the
        authors' code. There each student layer is held to the statistics of all teacher layers at once; ours to those
        of its own. The attention part is ``attention_probabilities``, of factor 1 there.
    Raises:
        RequestError: a factor that is negative or not finite, or all 0; a layer out of range; unequal widths without
            the module; unequal numbers of tokens (two tokenizers).
    """

    feature_factor: float = 100.0
    mean_factor: float = 5000.0
    variance_factor: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        factors = {name: getattr(self, name) for name in ("feature_factor", "mean_factor", "variance_factor")}
        if not all(math.isfinite(factor) and factor >= 0 for factor in factors.values()) or not any(factors.values()):
            raise RequestError(f"the factors of {self.name} must be finite, >= 0 and not all 0; got {factors}")

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return projections(self.pairs, student, teacher)

    def layer_term(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        if module is not None:
            student = module(student)  # (batch, tokens, teacher width)
        check_widths(self.name, student, teacher)
        features = (_normalised(student) - _normalised(teacher)).square().mean(dim=-1)  # (batch, tokens)
        means = (student.mean(dim=-1) - teacher.mean(dim=-1)).square()
        variances = (student.var(dim=-1, correction=0) - teacher.var(dim=-1, correction=0)).abs()
        return example_mean(
            self.feature_factor * features + self.mean_factor * means + self.variance_factor * variances, real
        )


@register_loss("internal")
@dataclass(frozen=True)
class Internal(AttentionProbabilities):
    """``KL(A_t || A_s) + 1 - cos(s, t)``: the rows of the attention maps, and the [CLS] states, of mapped layers.

    Where the widths differ, a linear map of the student's states is learned along, one a layer.

    Args:
        layer_map: which layers; the first block is 1 (see `LayerMap.from_spec`).
        heads: ``match`` compares head by head, ``mean`` the averages over heads (for unequal numbers of heads).
    Shapes:
        queries, keys: ``(batch, heads, tokens, head_dim)``, or attentions ``(batch, heads, tokens, tokens)``;
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: nats per query token, mean over heads, real query tokens, examples and layers, plus a number in 0..2, mean
        over examples and layers.
    Source: Aguilar et al. 2020, arXiv:1910.03723: both parts with weight 1 and all mapped layers at once, one of its
        three ways (the others go layer after layer), with a projection, which the paper has not.
    Raises:
        RequestError: unequal numbers of heads with ``match``; layer 0; unequal widths without the module.
    """

    def needs_student(self) -> Needs:
        return super().needs_student() | Needs(hidden_states=frozenset(self.pairs.student))

    def needs_teacher(self) -> Needs:
        return super().needs_teacher() | Needs(hidden_states=frozenset(self.pairs.teacher))

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return projections(self.pairs, student, teacher)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = given(self.name, teacher)
        total = super().__call__(student, teacher, batch)
        for layer, teacher_layer in self.pairs:
            s = pool(student, layer, "cls")  # (batch, student width)
            t = pool(teacher, teacher_layer, "cls").detach()  # (batch, teacher width)
            if isinstance(module, nn.ModuleDict):
                s = module[str(layer)](s)  # (batch, teacher width)
            check_widths(self.name, s, t)
            total = total + (1 - (unit(s) * unit(t)).sum(dim=-1)).mean() / len(self.pairs)
        return total


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
    Source: Huang & Wang 2017 (NST), arXiv:1707.01219, with the polynomial kernel ``(x . y)^2``, whose squared maximum
        mean discrepancy this is, on tokens for pixels. Padding is left out before ``f`` is scaled.
    Raises:
        RequestError: a layer out of range; unequal numbers of tokens (two tokenizers).
    """

    def layer_term(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        return (_selectivity(student, real) - _selectivity(teacher, real)).square().sum(dim=(1, 2)).mean()


def _normalised(states: Tensor) -> Tensor:
    return F.layer_norm(states, states.shape[-1:], eps=1e-12)


def _selectivity(states: Tensor, real: Tensor) -> Tensor:
    """``M``, ``(batch, tokens, tokens)``."""
    units = unit(without_padding(states, real), dim=1)  # (batch, tokens, width)
    return units @ units.transpose(1, 2) / units.shape[-1]
