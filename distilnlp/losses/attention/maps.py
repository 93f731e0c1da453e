"""Losses on attention maps, computed from queries and keys before dropout, padding left out."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError, unknown
from distilnlp.losses.base import example_mean, register_loss
from distilnlp.losses.checks import check_same_tokens
from distilnlp.losses.chunks import sum_over_examples
from distilnlp.losses.layers import LayerLoss
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["AttentionProbabilities", "AttentionScores", "check_num_heads"]

Heads = Literal["match", "mean"]
BUILD_OR_AVERAGE = "build the student with as many heads, or set heads: mean to compare their averages"


@dataclass(frozen=True)
class _AttentionLoss(LayerLoss):
    """Attention of mapped layers, compared over the pairs of real tokens that both models may look at."""

    heads: Heads = "match"

    lowest_layer: ClassVar[int] = 1
    weighs_examples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads not in ("match", "mean"):
            raise unknown(f"value of heads for {self.name}:", str(self.heads), ("match", "mean"))

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        resolved = super().resolve(student, teacher)
        if teacher is not None and self.heads == "match":
            check_num_heads(self.name, student.heads, teacher.heads, BUILD_OR_AVERAGE)
        return resolved

    def needs_of(self, layers: frozenset[int]) -> Needs:
        return Needs(attention=layers)

    def compare(self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, pairs: Tensor) -> Tensor:
        """One number a query token, ``(batch, tokens)``; ``pairs``: bool ``(batch, 1, tokens, tokens)``."""
        raise NotImplementedError

    def layer_term(
        self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, module: nn.Module | None
    ) -> Tensor:
        like, other = student.get_attention(layer), teacher.get_attention(teacher_layer)
        examples, heads, tokens = like[0].shape[:3]
        check_same_tokens(self.name, (examples, tokens), (len(other[0]), other[0].shape[2]))

        def compare(tensors: list[Tensor], part: slice) -> Tensor:
            s = student.of_attention(layer, part, tensors)
            t = teacher.of_attention(teacher_layer, part, [tensor[part].detach() for tensor in other])
            real = s.token_mask(tensors[0])  # (part, tokens)
            pairs = (real[:, None, :, None] & real[:, None, None, :]).expand(-1, 1, -1, -1)
            for outputs, index in ((s, layer), (t, teacher_layer)):
                if index in outputs.allowed:
                    pairs = pairs & outputs.allowed[index]  # a local window is a mask of either model
            # A query that may look at nothing is padding, whatever its row holds.
            queries = real & pairs.any(dim=-1).any(dim=1)
            mean = example_mean(self.compare(s, layer, t, teacher_layer, pairs), queries, s.weights)
            return mean * (len(tensors[0]) / examples)

        return sum_over_examples(compare, like, heads * tokens * tokens)


@register_loss("attention_scores")
@dataclass(frozen=True)
class AttentionScores(_AttentionLoss):
    """Mean squared error between attention scores ``q k^T / sqrt(d)`` (before the softmax) of mapped layers.

    Args:
        layer_map: which layers; the first block is 1 (see `LayerMap.from_spec`).
        heads: ``match`` compares head by head, ``mean`` the averages over heads (for unequal numbers of heads).
    Shapes:
        queries, keys: ``(batch, heads, tokens, head_dim)``; returns ``()``, float32.
    Units: squared scores, mean over heads, keys, queries, examples and layers.
    Raises:
        RequestError: unequal numbers of heads with ``match``; layer 0; a model that gives only probabilities.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Jiao et al.",
            2020,
            "TinyBERT: Distilling BERT for Natural Language Understanding",
            "arXiv:1909.10351",
            where="equation 7",
            differs=(
                "Padded queries and keys are left out (their code sets scores below -100 to 0 and averages over all "
                "positions). A constant added to a row of scores changes this loss and not the attention: "
                "``attention_probabilities`` has no such freedom."
            ),
        ),
    )

    def compare(self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, pairs: Tensor) -> Tensor:
        s = student.get_attention_scores(layer)  # (batch, heads, tokens, tokens)
        t = teacher.get_attention_scores(teacher_layer).detach()
        if self.heads == "mean":
            s, t = s.mean(dim=1, keepdim=True), t.mean(dim=1, keepdim=True)
        check_num_heads(self.name, s.shape[1], t.shape[1], BUILD_OR_AVERAGE)
        squares = (s - t).square().masked_fill(~pairs, 0.0)  # (batch, heads, tokens, tokens)
        return (squares.sum(dim=-1) / pairs.sum(dim=-1).clamp_min(1)).mean(dim=1)


@register_loss("attention_probabilities")
@dataclass(frozen=True)
class AttentionProbabilities(_AttentionLoss):
    """``KL(A_t || A_s)`` between the rows of the attention maps of mapped layers.

    Args:
        layer_map: which layers; the first block is 1 (see `LayerMap.from_spec`).
        heads: ``match`` compares head by head, ``mean`` the averages over heads (for unequal numbers of heads).
    Shapes:
        queries, keys: ``(batch, heads, tokens, head_dim)``, or attentions ``(batch, heads, tokens, tokens)``;
        returns ``()``, float32.
    Units: nats per query token; sum over keys, mean over heads, real query tokens, examples and layers.
    Raises:
        RequestError: unequal numbers of heads with ``match``; layer 0.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Sun et al.",
            2020,
            "MobileBERT: a Compact Task-Agnostic BERT for Resource-Limited Devices",
            "arXiv:2004.02984",
            where="section 3.5",
            differs=(
                "Rows are distributions over real keys that both models may look at, taken before dropout (eager "
                "attentions come after it, and their rows do not sum to 1)."
            ),
        ),
        Citation(
            "Aguilar et al.",
            2020,
            "Knowledge Distillation from Internal Representations",
            "arXiv:1910.03723",
        ),
    )

    def compare(self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, pairs: Tensor) -> Tensor:
        log_q = student.get_log_attention(layer, pairs)  # (batch, heads, tokens, tokens)
        log_p = teacher.get_log_attention(teacher_layer, pairs).detach()
        if self.heads == "mean":
            log_q, log_p = (x.exp().mean(dim=1, keepdim=True).clamp_min(1e-30).log() for x in (log_q, log_p))
        check_num_heads(self.name, log_q.shape[1], log_p.shape[1], BUILD_OR_AVERAGE)
        terms = (log_p.exp() * (log_p - log_q)).masked_fill(~pairs, 0.0)  # (batch, heads, tokens, tokens)
        return terms.sum(dim=-1).mean(dim=1)


def check_num_heads(name: str, student: int, teacher: int, instead: str) -> None:
    """Raise RequestError unless both models have as many attention heads; ``instead``: what to do otherwise."""
    if student != teacher:
        raise RequestError(
            f"{name} compares attention heads one by one: the student has {student} and the teacher {teacher}; "
            f"{instead}"
        )
