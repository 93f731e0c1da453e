"""Losses on how the tokens of a text lie to one another, and each token to itself in the layers above."""

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap
from distilnlp.losses.base import Batch, batch_mean, register_loss, valid_counts, without_padding
from distilnlp.losses.checks import check_count, check_weights
from distilnlp.losses.chunks import sum_over_examples
from distilnlp.losses.layers import HiddenLayerLoss, LayerLoss
from distilnlp.losses.pooling import unit
from distilnlp.losses.relation.base import different
from distilnlp.losses.response.base import kl_divergence
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["CKD"]

logger = logging.getLogger(__name__)


@register_loss("ckd")
@dataclass(frozen=True)
class CKD(HiddenLayerLoss):
    """Contextual knowledge: pairs and triples of the tokens of a layer, and of a token's states across the layers.

    ``KL(P_t || P_s)`` with ``P_i = softmax_j cos(h_i, h_j)`` over the others, and ``mean (a_s - a_t)^2`` with ``a``
    the cosine of the angle that two of them make at ``h_i``. Word relation: ``h`` are a text's tokens in one mapped
    layer, pairs are of any two tokens and angles within a window around the token. Layer-transforming relation: ``h``
    are a token's states in all mapped layers. Widths are free.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings. The layer-transforming relation takes
            three pairs or more: with fewer it is 0, and a warning says so before the first step.
        window: tokens around a token and itself, an odd number of at least 3: the angle's reach.
        word_pair_weight: factor >= 0 of the pairs of tokens.
        word_angle_weight: factor >= 0 of the angles between tokens.
        layer_pair_weight: factor >= 0 of the pairs of layers.
        layer_angle_weight: factor >= 0 of the angles between layers.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: nats per token for pairs, squared cosines for angles; mean over tokens (of layers over layers, then tokens),
        over the angles at a token, over examples and, for words, over layers. Unchanged when a model's states are
        rotated or scaled.
    Raises:
        RequestError: an even window; a weight below 0, or none above; fewer than three pairs for the
            layer-transforming relation alone; a layer out of range; an example without a token; unequal
            numbers of tokens.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Park et al.",
            2021,
            "Distilling Linguistic Context for Language Model Compression",
            "arXiv:2109.08359",
            differs=(
                "With the defaults of the authors' code: KL of cosines for pairs, window 21, squared error for "
                "angles, weights of 1; those of its tasks are between 0.1 and 1000. Its KL is divided by the number "
                "of pairs, ours by that of tokens (of states for layers), and so larger. An angle is the mean over "
                "angles of three different real tokens (theirs also counts the window's clamped edges, a token with "
                "itself, and padding inside of the window)."
            ),
        ),
    )

    window: int = 21
    word_pair_weight: float = 1.0
    word_angle_weight: float = 1.0
    layer_pair_weight: float = 1.0
    layer_angle_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("window", self.window)
        if self.window < 3 or self.window % 2 == 0:
            raise RequestError(
                f"window counts a token and as many on both sides, so it is odd and at least 3; got {self.window}"
            )
        names = ("word_pair_weight", "word_angle_weight", "layer_pair_weight", "layer_angle_weight")
        check_weights(self, names)

    def check_pairs(self, pairs: LayerMap) -> None:
        super().check_pairs(pairs)
        if len(pairs) < 3 and not self._relates_words:
            raise RequestError(
                f"{self.name} relates a token's states in three mapped layers or more and the layer map has "
                f"{[list(pair) for pair in pairs]}: map more layers, or give the words a weight"
            )

    @property
    def _relates_words(self) -> bool:
        return self.word_pair_weight + self.word_angle_weight > 0

    @property
    def _relates_layers(self) -> bool:
        # Of two layers each has one other: its softmax is 1 whatever the states are, and there is no angle.
        return self.layer_pair_weight + self.layer_angle_weight > 0 and len(self.pairs) >= 3

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        resolved = super().resolve(student, teacher)
        if len(resolved.pairs) < 3 and self.layer_pair_weight + self.layer_angle_weight > 0:
            logger.warning(
                "%s: the layer-transforming relation is 0 with %d mapped layers, it takes three or more; only the "
                "word relation trains",
                self.name,
                len(resolved.pairs),
            )
        return resolved

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        mapped = sorted(self.mapped_states(student, teacher), key=lambda states: states[0])
        states_s, states_t = [states[1] for states in mapped], [states[2] for states in mapped]
        real = student.token_mask(states_s[0])  # (batch, tokens)
        counts = valid_counts(real)
        examples, tokens, width = states_t[0].shape

        def share(values: Tensor, part: slice) -> Tensor:
            return batch_mean(values, student.weights_of(part)) * (len(values) / examples)

        def words(tensors: list[Tensor], part: slice) -> Tensor:
            terms = [self._words(s, t[part], real[part]) for s, t in zip(tensors, states_t, strict=True)]
            return share(sum(terms[1:], terms[0]) / len(terms) / counts[part], part)

        def layers(tensors: list[Tensor], part: slice) -> Tensor:
            s, t = torch.stack(tensors, dim=2), torch.stack([t[part] for t in states_t], dim=2)
            return share(self._layers(s, t, real[part]) / counts[part], part)

        terms = []
        if self._relates_words:
            largest = self.window * width if self.word_angle_weight else tokens
            terms.append(sum_over_examples(words, states_s, len(mapped) * tokens * largest))
        if self._relates_layers:
            terms.append(sum_over_examples(layers, states_s, tokens * len(mapped) ** 2 * width))
        return sum(terms[1:], terms[0])

    def _words(self, student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
        """The word relation of one layer, summed over the real tokens of each example, ``(batch,)``."""
        tokens = real.shape[1]
        # Numbers of padding may overflow in a product: they are cleared before any.
        student, teacher = (without_padding(x, real) for x in (student, teacher))
        total = student.sum(dim=-1) * 0.0  # (batch, tokens), in the graph also where there is no angle
        if self.word_pair_weight:
            others = real[:, None, :] & different(tokens, real)
            total = total + self.word_pair_weight * _pairs(student, teacher, others)  # (batch, tokens)
        if self.word_angle_weight:
            reach = self.window // 2
            beside = [step for step in range(-reach, reach + 1) if step and abs(step) < tokens]
            if beside:
                near = torch.stack([_shifted(real, step) for step in beside], dim=-1)  # (batch, tokens, window - 1)
                s, t = (
                    unit(torch.stack([_shifted(x, step) for step in beside], dim=2) - x[:, :, None])
                    for x in (student, teacher)
                )
                total = total + self.word_angle_weight * _angles(s, t, near)
        return total.where(real, total.new_zeros(())).sum(dim=1)

    def _layers(self, student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
        """The layer-transforming relation, summed over the real tokens of each example, ``(batch,)``."""
        student, teacher = (x.where(real[..., None, None], x.new_zeros(())) for x in (student, teacher))
        count = student.shape[2]
        others = different(count, real)
        total = student.sum(dim=-1) * 0.0  # (batch, tokens, layers)
        if self.layer_pair_weight:
            total = total + self.layer_pair_weight * _pairs(student, teacher, others)  # (batch, tokens, layers)
        if self.layer_angle_weight:
            s, t = (unit(x[:, :, None] - x[:, :, :, None]) for x in (student, teacher))
            total = total + self.layer_angle_weight * _angles(s, t, others)  # (batch, tokens, layers)
        return total.mean(dim=-1).where(real, total.new_zeros(())).sum(dim=1)


def _pairs(student: Tensor, teacher: Tensor, others: Tensor) -> Tensor:
    """``KL`` of the softmax over the cosines with ``others``, ``(..., points)``, of ``(..., points, width)``."""
    logs = []
    for vectors in (teacher, student):
        directions = unit(vectors)
        cosines = directions @ directions.transpose(-1, -2)  # (..., points, points)
        # Finite, so that its product with a probability of 0 is 0 and not NaN.
        logs.append(cosines.masked_fill(~others, torch.finfo(torch.float32).min / 4).log_softmax(dim=-1))
    return kl_divergence(*logs)


def _angles(student: Tensor, teacher: Tensor, counted: Tensor) -> Tensor:
    """Mean squared difference of the angles at each point, ``(..., points)``; 0 where there is none.

    Args:
        student: unit vectors from a point to its neighbours, ``(..., points, neighbours, width)``.
        teacher: the same.
        counted: bool, ``(..., points, neighbours)``: which neighbours count.
    """
    both = counted[..., None] & counted[..., None, :]
    both = both & different(both.shape[-1], both)
    squares = (student @ student.transpose(-1, -2) - teacher @ teacher.transpose(-1, -2)).square()
    return (squares * both).sum(dim=(-1, -2)) / both.sum(dim=(-1, -2)).clamp_min(1)


def _shifted(values: Tensor, step: int) -> Tensor:
    """At token ``i`` what stands at ``i + step``; 0 or False beyond the ends. values: ``(batch, tokens, ...)``."""
    moved = torch.zeros_like(values[:, : abs(step)])
    return torch.cat([values[:, step:], moved] if step > 0 else [moved, values[:, :step]], dim=1)
