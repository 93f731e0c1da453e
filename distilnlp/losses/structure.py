"""Losses on the structure that a layer gives a batch or a text: kernels, flows between layers, graphs, ranks."""

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap
from distilnlp.losses.base import Batch, check_positive, register_loss, valid_counts
from distilnlp.losses.chunks import sum_over_examples
from distilnlp.losses.hidden import HiddenLayerLoss, check_widths, projections
from distilnlp.losses.pooled import RelationalLoss, unit
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["CC", "FSP", "check_count", "check_steps"]


@register_loss("cc")
@dataclass(frozen=True)
class CC(RelationalLoss):
    """``||K_s - K_t||_F^2 / batch^2``, ``K_ij = sum_{p <= P} exp(-2 g) (2 g)^p / p! (x_i x_j)^p`` of unit vectors.

    ``K`` is the Gaussian kernel ``exp(-g ||x_i - x_j||^2)``, its series cut after ``P``.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. One example gives 0
    and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        gamma: ``g`` > 0, dimensionless.
        order: ``P`` >= 1; 1 compares the cosines alone.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when a model's states are rotated or scaled. Mean over all ``batch^2`` pairs, those
        of an example with itself (which are 0) included, and over layers.
    Source: Peng et al. 2019 (correlation congruence), arXiv:1904.01802, equations 6, 7 and 11; gamma 0.4 and order 2
        are theirs. Their term between the two models' vectors of one example is ``hidden_state``: add it beside this.
    Raises:
        RequestError: ``gamma`` not positive; ``order`` not a whole number above 0; a layer out of range; an example
            without a token.
    """

    gamma: float = 0.4
    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("gamma", self.gamma)
        check_count("order", self.order)

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        return (self._kernel(student) - self._kernel(teacher)).square().mean()

    def _kernel(self, vectors: Tensor) -> Tensor:
        cosines = unit(vectors) @ unit(vectors).T  # (batch, batch)
        # The term of p = 0 is the same in both kernels.
        factors = [(2 * self.gamma) ** p / math.factorial(p) for p in range(1, self.order + 1)]
        terms = [factor * cosines**p for p, factor in enumerate(factors, start=1)]
        return math.exp(-2 * self.gamma) * sum(terms[1:], terms[0])


@register_loss("fsp")
@dataclass(frozen=True)
class FSP(HiddenLayerLoss):
    """``mean (G_s - G_t)^2``, ``G = H_a^T H_b / tokens``: how a text flows from one mapped layer to the next.

    Each mapped layer is followed by the next one of the map, in the student's order. Where the widths differ, a linear
    projection of the student's states is learned along, one a layer.

    Args:
        layer_map: which layers, two pairs or more (see `LayerMap.from_spec`); 0 is the embeddings.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32. ``G``: ``(width, width)`` for each example.
    Units: hidden units to the power of four; mean over the ``width^2`` numbers of ``G``, examples and steps between
        layers. A text whose tokens all stand twice has the same ``G``.
    Source: Yim et al. 2017 (FSP), A Gift from Knowledge Distillation, CVPR, equations 1 and 2, real tokens for their
        pixels (padding is in neither the sum nor the number). They sum over ``G`` where we take the mean, and have no
        projection.
    Raises:
        RequestError: a map of one pair; a layer out of range; an example without a token; unequal widths without the
            projection; unequal numbers of tokens (two tokenizers).
    """

    def _check_lowest(self, pairs: LayerMap) -> None:
        super()._check_lowest(pairs)
        check_steps(self.name, pairs, "is the flow from one mapped layer to the next")

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return projections(self.pairs, student, teacher)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        states = []
        for layer, h_s, h_t in sorted(self.mapped_states(student, teacher), key=lambda mapped: mapped[0]):
            if isinstance(module, nn.ModuleDict):
                h_s = module[str(layer)](h_s)  # (batch, tokens, teacher width)
            check_widths(self.name, h_s, h_t)
            states.append((h_s, h_t))
        real = student.token_mask(states[0][0])[..., None]  # (batch, tokens, 1)
        counts = valid_counts(real[..., 0])[:, None, None]  # (batch, 1, 1)
        terms = []
        for (first_s, first_t), (next_s, next_t) in pairwise(states):
            flow_t = [first_t, next_t]

            def difference(flow_s: list[Tensor], part: slice, flow_t: list[Tensor] = flow_t) -> Tensor:
                g_s = _flow(*flow_s, real[part], counts[part])  # (part, width, width)
                g_t = _flow(flow_t[0][part], flow_t[1][part], real[part], counts[part])
                return (g_s - g_t).square().mean(dim=(1, 2)).sum() / len(real)

            terms.append(sum_over_examples(difference, [first_s, next_s], first_s.shape[-1] ** 2))
        return sum(terms[1:], terms[0]) / len(terms)


def _flow(first: Tensor, following: Tensor, real: Tensor, counts: Tensor) -> Tensor:
    """``H_a^T H_b / tokens`` over the real tokens, ``(batch, width, width)``."""
    nothing = first.new_zeros(())
    return first.where(real, nothing).transpose(1, 2) @ following.where(real, nothing) / counts


def check_steps(name: str, pairs: LayerMap, what: str) -> None:
    """Raise RequestError unless the map has a next layer for some layer."""
    if len(pairs) < 2:
        raise RequestError(
            f"{name} {what} and the layer map has one pair only, {[list(pair) for pair in pairs]}: map two layers or "
            "more"
        )


def check_count(name: str, value: int) -> None:
    """Raise RequestError unless ``value`` is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(f"{name} must be a whole number of at least 1; got {value!r}")
