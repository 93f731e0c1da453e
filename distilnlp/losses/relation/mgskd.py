"""Losses on structure at several granularities: tokens and words in low layers, whole texts in high ones."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap
from distilnlp.losses.base import Batch, register_loss, valid_counts, without_padding
from distilnlp.losses.checks import check_count, check_weights, require_teacher
from distilnlp.losses.chunks import sum_over_examples
from distilnlp.losses.layers import HiddenLayerLoss, LayerLoss
from distilnlp.losses.pooling import pool, unit
from distilnlp.losses.relation.base import different, warn_of_small_batch
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["MGSKD"]


@register_loss("mgskd")
@dataclass(frozen=True)
class MGSKD(HiddenLayerLoss):
    """Pairs and angles of tokens and of words in the first mapped layers, angles between texts in the others.

    Pairs: ``mean (s_s - s_t)^2``, ``s_ij = h_i h_j / sqrt(width / A)`` in ``A`` relation heads. Angles:
    ``huber(cos_s, cos_t)``; of tokens at the ``central`` tokens that the teacher's ``softmax_j s_ij`` points to most,
    between the ``neighbours`` that each points to most; of words the same, on the mean over a word's pieces; of texts,
    on the mean over their tokens, in each relation head.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples give a text term of 0 and a warning.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
        token_layers: how many of the mapped layers, from the lowest, have the terms of tokens and words; the others
            have the texts'.
        relation_heads: ``A``; it divides both widths.
        central: tokens (or words) of a text at which angles are compared.
        neighbours: tokens (or words) between which the angles are, for each central one.
        token_weight: factor >= 0 of the token terms.
        word_weight: factor >= 0 of the word terms.
        sample_weight: factor >= 0 of the text term.
    Shapes:
        hidden states: ``(batch, tokens, width)``; words: ``(batch, tokens)``; returns ``()``, float32.
    Units: pairs in hidden units to the power of four, mean over heads, pairs of real tokens (of words) and examples;
        angles dimensionless, mean over triples of three different real tokens (words) and examples, and for texts over
        heads and all ``batch^3`` triples, those that name a text twice (which are 0) included. Mean over layers
        (theirs is the sum). A text without words (special tokens only) counts 0 there.
        The text term is unchanged when each relation head of a model is rotated, shifted and scaled.
    Raises:
        RequestError: ``relation_heads`` does not divide a width; a weight below 0, or no term left with one above; a
            number that is no count; a layer out of range; an example without a token; unequal numbers of tokens;
            ``word_weight`` and no words.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Liu et al.",
            2022,
            "Multi-Granularity Structural Knowledge Distillation for Language Model Compression",
            "ACL 2022",
            where="section 3",
            differs=(
                "64 heads, 20 and 20 tokens, two token layers (of a student of four) and weights 4, 1 and 1 as in the "
                "authors' code. There the spans between tokens and texts are phrases that a chunker found, of texts "
                "with three of them or more; ours are words, of which the tokenizer knows."
            ),
        ),
    )

    token_layers: int = 2
    relation_heads: int = 64
    central: int = 20
    neighbours: int = 20
    token_weight: float = 1.0
    word_weight: float = 1.0
    sample_weight: float = 4.0

    batch_dependent: ClassVar[bool] = True
    weighs_examples: ClassVar[bool] = False
    smallest_batch: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.token_layers != 0:
            check_count("token_layers", self.token_layers)
        for name in ("relation_heads", "central", "neighbours"):
            check_count(name, vars(self)[name])
        check_weights(self, ("token_weight", "word_weight", "sample_weight"))
        super().__post_init__()

    def check_pairs(self, pairs: LayerMap) -> None:
        super().check_pairs(pairs)
        low = (self.token_weight or self.word_weight) and self.token_layers
        if not (low or (self.sample_weight and len(pairs) > self.token_layers)):
            raise RequestError(
                f"{self.name} has no term left: {len(pairs)} mapped layers, token_layers {self.token_layers}, "
                f"token_weight {self.token_weight}, word_weight {self.word_weight}, sample_weight "
                f"{self.sample_weight}; give all weights, or other layers"
            )

    def needs_always(self) -> Needs:
        return Needs(words=bool(self.word_weight and self.token_layers))

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        for model in (student, require_teacher(self.name, teacher)):
            self._check_width(model.width)
        return super().resolve(student, teacher)

    def _check_width(self, width: int) -> None:
        if width % self.relation_heads:
            raise RequestError(
                f"{self.name} cuts states into {self.relation_heads} relation heads, which do not divide the width "
                f"{width}: set relation_heads to a divisor of both models' widths"
            )

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        mapped = sorted(self.mapped_states(student, teacher), key=lambda states: states[0])
        low = [(h_s, h_t) for _, h_s, h_t in mapped[: self.token_layers]]
        high = sorted(self.pairs)[self.token_layers :]
        for _, h_s, h_t in mapped:
            self._check_width(h_s.shape[-1])
            self._check_width(h_t.shape[-1])
        terms = []
        if low:
            real = student.token_mask(low[0][0])
            counts = valid_counts(real)
            if self.token_weight:
                tokens = [self._units(h_s, h_t, real, counts) for h_s, h_t in low]
                terms.append(self.token_weight * sum(tokens[1:], tokens[0]) / len(tokens))
            if self.word_weight:
                places = self._places(student, real)
                words = [self._words(h_s, h_t, places) for h_s, h_t in low]
                terms.append(self.word_weight * sum(words[1:], words[0]) / len(words))
        if self.sample_weight and high:
            texts = [self._texts(pool(student, s, "mean"), pool(teacher, t, "mean").detach()) for s, t in high]
            terms.append(self.sample_weight * sum(texts[1:], texts[0]) / len(texts))
        return sum(terms[1:], terms[0])

    def _texts(self, student: Tensor, teacher: Tensor) -> Tensor:
        if len(student) < self.smallest_batch:
            warn_of_small_batch(f"the text term of {self.name}", self.smallest_batch)
            return student.sum() * 0.0
        cosines = []
        for vectors in (student, teacher):
            heads = vectors.unflatten(-1, (self.relation_heads, -1)).transpose(0, 1)  # (heads, batch, width / heads)
            directions = unit(heads[:, None] - heads[:, :, None])  # (heads, batch, batch, width / heads)
            cosines.append(directions @ directions.transpose(-1, -2))
        return F.smooth_l1_loss(cosines[0], cosines[1])

    def _places(self, student: Outputs, real: Tensor) -> Tensor:
        """The place of each token's word, ``(batch, tokens)``; 0 is the place of what is of no word."""
        if student.words is None:
            raise RequestError(
                f"{self.name} with word_weight needs the word of each token: give the trainer texts, or tokens of "
                "distilnlp.data.tokenize(..., words=True); or set word_weight to 0"
            )
        return (student.words.to(real.device) + 1).where(real, 0).clamp_min(0)

    def _words(self, student: Tensor, teacher: Tensor, places: Tensor) -> Tensor:
        """Pairs and angles of words in one layer, ``()``."""
        # As many places as tokens: how many words there are, nobody has to look up on the device.
        numbers = torch.arange(1, places.shape[1] + 1, device=places.device)
        pieces = places[:, None, :] == numbers[:, None]  # (batch, words, tokens)
        counts = pieces.sum(dim=-1)  # (batch, words)
        shares = pieces / counts.clamp_min(1)[..., None]
        real = (places > 0)[..., None]
        s, t = (shares.to(x) @ x.where(real, x.new_zeros(())) for x in (student, teacher))
        words = counts > 0
        return self._units(s, t, words, words.sum(dim=-1).clamp_min(1))

    def _units(self, student: Tensor, teacher: Tensor, real: Tensor, counts: Tensor) -> Tensor:
        """Pairs and angles of the ``real`` tokens or words of one layer, ``()``; ``counts`` of each example."""
        examples, tokens, width = student.shape
        # Numbers of padding may overflow in a product: they are cleared before any.
        student, teacher = (without_padding(x, real) for x in (student, teacher))

        def compare(tensors: list[Tensor], part: slice) -> Tensor:
            s, t, here = tensors[0], teacher[part], real[part]
            scores_s, scores_t = self._scores(s), self._scores(t)  # (part, heads, tokens, tokens)
            # Rows and columns of padding are 0 in both.
            pairs = (scores_s - scores_t).square().mean(dim=1).sum(dim=(1, 2)) / counts[part] ** 2
            return (pairs + self._angles(s, t, scores_t, here)).sum() / examples

        largest = max(
            self.relation_heads * tokens**2, min(self.central, tokens) * min(self.neighbours, tokens) * width
        )
        return sum_over_examples(compare, [student], largest)

    def _scores(self, states: Tensor) -> Tensor:
        heads = states.unflatten(-1, (self.relation_heads, -1)).transpose(1, 2)  # (batch, heads, tokens, size)
        scores: Tensor = heads @ heads.transpose(-1, -2) * float(heads.shape[-1]) ** -0.5
        return scores

    def _angles(self, student: Tensor, teacher: Tensor, scores: Tensor, real: Tensor) -> Tensor:
        """Of each example, ``(batch,)``; where they are is the teacher's choice, by its ``scores``."""
        tokens = real.shape[1]
        lowest = torch.finfo(torch.float32).min / 4
        attention = scores.masked_fill(~real[:, None, None], lowest).softmax(dim=-1) * real[:, None, :, None]
        # A probability is at least 0: what may not be chosen comes last with -1.
        centres = attention.sum(dim=(1, 2)).masked_fill(~real, -1.0).topk(min(self.central, tokens), dim=1)
        others = real[:, None, :] & different(tokens, real)
        local = attention.sum(dim=1).masked_fill(~others, -1.0)  # (batch, tokens, tokens)
        rows = torch.arange(len(real), device=real.device)[:, None]
        nearest = local[rows, centres.indices].topk(min(self.neighbours, tokens), dim=2)
        near = (nearest.values >= 0) & (centres.values >= 0)[..., None]  # (batch, centres, neighbours)
        cosines = []
        for states in (student, teacher):
            directions = states[rows[..., None], nearest.indices] - states[rows, centres.indices][:, :, None]
            cosines.append(unit(directions) @ unit(directions).transpose(-1, -2))
        both = near[..., None] & near[..., None, :]
        both = both & different(both.shape[-1], both)
        # (batch, centres, neighbours, neighbours)
        gaps = F.smooth_l1_loss(cosines[0], cosines[1], reduction="none") * both
        return gaps.sum(dim=(1, 2, 3)) / both.sum(dim=(1, 2, 3)).clamp_min(1)
