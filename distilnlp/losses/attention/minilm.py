"""Losses on self-attention relations: how each token's query, key or value relates to those of the other tokens."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.attention.maps import AttentionProbabilities, check_num_heads
from distilnlp.losses.base import example_mean, register_loss
from distilnlp.losses.checks import check_count, check_same_tokens, check_weights, require_teacher
from distilnlp.losses.chunks import sum_over_examples
from distilnlp.losses.layers import LayerLoss
from distilnlp.outputs import ModelInfo, Needs, Outputs, at_least_float32

__all__ = ["MiniLM", "MiniLMv2"]

Projected = Literal["queries", "keys", "values"]
FREE_HEADS = "use 'minilmv2', whose relation heads are free, or build the student with as many heads"


@register_loss("minilm")
@dataclass(frozen=True)
class MiniLM(LayerLoss):
    """``KL(A_t || A_s) + KL(VR_t || VR_s)`` with ``VR = softmax(V V^T / sqrt(d))``: attention and value relations.

    The widths are free, the numbers of heads are not.

    Args:
        layer_map: which layers; the last of each by default, as in the paper (see `LayerMap.from_spec`).
    Shapes:
        queries, keys, values: ``(batch, heads, tokens, head_dim)``; returns ``()``, float32.
    Units: nats per query token; sum over keys and the two terms, mean over heads, real tokens, examples and layers.
    Raises:
        RequestError: unequal numbers of heads (``minilmv2`` has no such limit); layer 0; a model whose attention is
            its own (DeBERTa) and gives no values.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Wang et al.",
            2020,
            "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers",
            "arXiv:2002.10957",
            where="equations 6 to 10",
            differs=(
                "Padded tokens are left out of rows and columns; attention is taken before dropout. ``d`` is each "
                "model's own head_dim."
            ),
        ),
    )

    layer_map: LayerMap | LayerMapSpec = "final"

    lowest_layer: ClassVar[int] = 1
    weighs_examples: ClassVar[bool] = True

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        resolved = super().resolve(student, teacher)
        check_num_heads(self.name, student.heads, require_teacher(self.name, teacher).heads, FREE_HEADS)
        return resolved

    def needs_of(self, layers: frozenset[int]) -> Needs:
        return Needs(attention=layers, values=layers)

    def layer_term(
        self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, module: nn.Module | None
    ) -> Tensor:
        values = _relation(self.name, "values", student, layer, teacher, teacher_layer)
        return values + AttentionProbabilities([(layer, teacher_layer)])(student, teacher, {})


@register_loss("minilmv2")
@dataclass(frozen=True)
class MiniLMv2(LayerLoss):
    """``sum_a w_a KL(R_t^a || R_s^a)`` over queries, keys and values, ``R^a = softmax(a a^T / sqrt(d / A))``.

    ``A`` relation heads: heads are joined to the width ``d`` and cut again into ``A`` pieces, so that student and
    teacher may have any widths and numbers of heads.

    Args:
        layer_map: which layers; the last of each by default. The paper takes layer 21 of a large BERT and 19 of a
            large RoBERTa for a deep teacher: ``[[6, 21]]``.
        relation_heads: ``A``; it divides both widths. The paper has 48 for a base and 64 for a large teacher.
        query_weight: factor of the query-query relation; 0 leaves it out.
        key_weight: factor of the key-key relation; 0 leaves it out.
        value_weight: factor of the value-value relation; 0 leaves it out.
    Shapes:
        queries, keys, values: ``(batch, heads, tokens, head_dim)``; returns ``()``, float32.
    Units: nats per token; sum over keys and relations, mean over relation heads, real tokens, examples and layers.
    Raises:
        RequestError: a width that ``relation_heads`` does not divide; no weight above 0; layer 0; a model whose
            attention is its own (DeBERTa) and gives no queries, keys and values.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Wang et al.",
            2021,
            "MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained Transformers",
            "arXiv:2012.15828",
            differs=(
                "Padded tokens are left out of rows and columns. Queries and keys are those that the attention is "
                "computed from: with rotary positions, rotated."
            ),
        ),
    )

    layer_map: LayerMap | LayerMapSpec = "final"
    relation_heads: int = 48
    query_weight: float = 1.0
    key_weight: float = 1.0
    value_weight: float = 1.0

    lowest_layer: ClassVar[int] = 1
    weighs_examples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("relation_heads", self.relation_heads)
        check_weights(self, ("query_weight", "key_weight", "value_weight"))

    @property
    def _weights(self) -> dict[Projected, float]:
        weights: dict[Projected, float] = {
            "queries": self.query_weight,
            "keys": self.key_weight,
            "values": self.value_weight,
        }
        return {what: weight for what, weight in weights.items() if weight}

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        resolved = super().resolve(student, teacher)
        for model in (student, require_teacher(self.name, teacher)):
            if model.width % self.relation_heads:
                raise _undivided(self.name, model.width, self.relation_heads)
        return resolved

    def needs_of(self, layers: frozenset[int]) -> Needs:
        attention = "queries" in self._weights or "keys" in self._weights
        return Needs(
            attention=layers if attention else frozenset(), values=layers if "values" in self._weights else frozenset()
        )

    def layer_term(
        self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, module: nn.Module | None
    ) -> Tensor:
        terms = [
            weight * _relation(self.name, what, student, layer, teacher, teacher_layer, self.relation_heads)
            for what, weight in self._weights.items()
        ]
        return sum(terms[1:], terms[0])


def _relation(
    name: str,
    what: Projected,
    student: Outputs,
    layer: int,
    teacher: Outputs,
    teacher_layer: int,
    heads: int | None = None,
) -> Tensor:
    """``KL(R_t || R_s)`` with ``R = softmax(a a^T / sqrt(d))``, ``()``; ``heads``: cut into so many, else its own."""
    s, t = student.get_projected(what, layer), teacher.get_projected(what, teacher_layer).detach()
    check_same_tokens(name, (len(s), s.shape[2]), (len(t), t.shape[2]))
    if heads is not None:
        s, t = _cut(name, s, heads), _cut(name, t, heads)
    check_num_heads(name, s.shape[1], t.shape[1], FREE_HEADS)
    real = student.token_mask(s)  # (batch, tokens)
    examples, count, tokens = s.shape[:3]

    def divergence(tensors: list[Tensor], part: slice) -> Tensor:
        log_q = _log_relation(at_least_float32(tensors[0]), real[part])  # (part, heads, tokens, tokens)
        log_p = _log_relation(at_least_float32(t[part]), real[part])
        terms = (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean(dim=1)  # (part, tokens)
        return example_mean(terms, real[part], student.weights_of(part)) * (len(terms) / examples)

    return sum_over_examples(divergence, [s], count * tokens * tokens)


def _log_relation(vectors: Tensor, real: Tensor) -> Tensor:
    """Log of how each token relates to the real ones, ``(batch, heads, tokens, tokens)``; a padded one gets 0 weight.

    Args:
        vectors: ``(batch, heads, tokens, head_dim)``.
        real: bool, ``(batch, tokens)``.
    """
    scores = vectors @ vectors.transpose(-1, -2) * float(vectors.shape[-1]) ** -0.5
    # Finite, so that its product with a probability of 0 is 0 and not NaN.
    lowest = torch.finfo(torch.float32).min / 4
    return torch.log_softmax(scores.masked_fill(~real[:, None, None, :], lowest), dim=-1)


def _cut(name: str, vectors: Tensor, heads: int) -> Tensor:
    """Heads joined to the whole width and cut into ``heads``: ``(batch, heads, tokens, width / heads)``."""
    examples, _, tokens, _ = vectors.shape
    joined = vectors.transpose(1, 2).reshape(examples, tokens, -1)  # (batch, tokens, width)
    if joined.shape[-1] % heads:
        raise _undivided(name, joined.shape[-1], heads)
    return joined.view(examples, tokens, heads, -1).transpose(1, 2)


def _undivided(name: str, width: int, heads: int) -> RequestError:
    fitting = [count for count in (12, 16, 24, 32, 48, 64) if width % count == 0] or [1]
    return RequestError(
        f"{name} cuts queries, keys and values into {heads} relation heads, which do not divide the width {width}: "
        f"set relation_heads to a divisor of both models' widths (of {width}: {', '.join(map(str, fitting))})"
    )
