"""A vector for each text, whose angle to another's says how alike the two texts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.base import (
    Answer,
    Floats,
    LabelColumn,
    Labels,
    Problem,
    check_finite,
    register_problem,
)
from distilnlp.problems.numbers import number_agreement, one_number, read_numbers
from distilnlp.problems.reading import Encoded, Joined, Logits, Reader, TextReader

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["SentenceEmbedding", "pair_cosines"]

SHOWN = 4  # numbers of a vector that are shown to a reader


@register_problem("sentence_embedding")
@dataclass(frozen=True)
class SentenceEmbedding(Problem):
    """A vector for each text. It is learned from texts alone; held-out data are pairs of texts with a score.

    A model's logits are the vector of a text. A row of logits in an evaluation is of a pair: the cosine of its two
    vectors, which is compared with the score by its rank.
    """

    reading: ClassVar[tuple[str, ...]] = ()
    pipeline_tag: ClassVar[str] = "sentence-similarity"
    library: ClassVar[str] = "sentence-transformers"
    peft_task_type: ClassVar[str] = "FEATURE_EXTRACTION"
    auto_class: ClassVar[str] = "SentenceEncoder"
    recipe: ClassVar[str] = "embeddings/_base.yaml"
    named_labels: ClassVar[bool] = False
    vectors: ClassVar[bool] = True
    taught_alone: ClassVar[bool] = True
    response_loss: ClassVar[str] = "cosine"
    metrics: ClassVar[tuple[str, ...]] = ("spearmanr", "pearson")
    accepted_metrics: ClassVar[tuple[str, ...]] = ("spearmanr", "pearson")
    agreement_meaning: ClassVar[str] = "Pearson correlation of the cosines with the teacher's (0 is what chance gives)"

    def encode(self, column: LabelColumn, train: Labels | None) -> Labels:
        """The scores of pairs."""
        scores, style = read_numbers(column, train, "the score of a pair")
        if train is None and len(np.unique(scores)) < 2:
            raise RequestError(f"{column.where}: every score is {scores[0]:g}: no order of the pairs can be compared")
        return Labels(scores[column.codes], None, self, style)

    def feature(self, names: Sequence[str] | None) -> Any:
        from datasets import Value

        return Value("float32")

    def num_logits(self, names: Sequence[str] | None) -> int:
        """0: the model decides."""
        return 0

    def fits_head(self, config: Any, names: Sequence[str] | None) -> bool:
        return getattr(config, "sentence_modules", None) is not None

    def has_feature(self, feature: Any) -> bool:
        """Numbers, as in a regression, which is asked before."""
        from datasets import Value

        return isinstance(feature, Value) and "float" in feature.dtype

    def reader(self, tokenizer: PreTrainedTokenizerBase, limit: int, settings: Mapping[str, Any]) -> Reader:
        return PairReader(tokenizer, limit)

    def answered_rows(
        self, logits: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
        """The cosine and the score of each pair, whose two texts stand one after the other."""
        cosines = pair_cosines(logits[::2], logits[1::2])
        return cosines, labels[::2], np.arange(len(cosines))

    def config_settings(self, names: Sequence[str] | None) -> dict[str, Any]:
        return {"problem_type": self.name}

    def head_size(self, config: Any) -> int:
        """How many numbers a vector has."""
        modules: Mapping[str, Any] = config.sentence_modules
        if modules["dense"]:
            return int(modules["dense"][-1]["out_features"])
        return len(modules["pooling"]) * int(config.hidden_size)

    def row_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Not there: vectors are learned from a teacher."""
        raise RequestError(
            f"{self.name} has no loss of its own: leave hard_label out and learn from a teacher's vectors (cosine, "
            "logit_mse, or a relation with on: logits)"
        )

    def check_logits(self, logits: ArrayLike) -> NDArray[Any]:
        """The cosines of pairs, ``(pairs,)``."""
        needs = f"{self.name} is measured on pairs of texts with a score, by the cosine of each, (pairs, 1)"
        return one_number(logits, needs)

    def decide(self, logits: ArrayLike) -> NDArray[Any]:
        """The cosines themselves, ``(pairs,)``."""
        return self.check_logits(logits)

    def answers(self, logits: ArrayLike, names: Sequence[str]) -> list[Answer]:
        """Of a text the first numbers of its vector; of a pair its cosine."""
        rows = np.asarray(logits)
        check_finite(rows)
        return [Answer(_shown(row), None, {}) for row in rows]

    def agreement(
        self,
        student: Floats,
        teacher: Floats,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """Pearson correlation of the cosines (1.0 for equal ones, else 0.0 where undefined), and mean difference."""
        return number_agreement(student, teacher)

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, Floats]:
        """The same cosine for every pair, which is no order."""
        return {"one cosine for all pairs": np.zeros(rows)}

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return ["Gives each text a vector; the cosine of two says how alike the texts are"]

    def card_code(self) -> str:
        return "print(model.similarity(vectors, vectors))"


class PairReader(TextReader):
    """An input for each text of a pair, and the cosine of their vectors; of a single text its vector."""

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        if "text_pair" not in rows:
            return super().encode(rows, words)
        pairs = zip(rows["text"], rows["text_pair"], strict=True)
        encoded = super().encode({"text": [text for pair in pairs for text in pair]}, words)
        example = [place // 2 for place in encoded.example]
        return replace(encoded, example=example, cut=sorted({place // 2 for place in encoded.cut}))

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        if len(set(encoded.example)) == len(encoded.example):
            return super().join(encoded, logits)
        rows = list(pair_cosines(np.stack(logits[::2]), np.stack(logits[1::2]))[:, None])
        return Joined(rows, [[] for _ in rows])


def _shown(row: NDArray[Any]) -> str:
    if row.shape == (1,):
        return f"{row[0]:.4f}"
    return f"[{' '.join(f'{number:.4f}' for number in row[:SHOWN])} ...] ({len(row)} numbers)"


def pair_cosines(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    """The cosine of each pair of vectors, ``(pairs, 1)``, of two ``(pairs, width)``.

    Raises:
        RequestError: a vector of zeros, which has no direction.
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (first, second))
    lengths = [np.linalg.norm(each, axis=1) for each in (a, b)]
    zero = np.flatnonzero((lengths[0] == 0) | (lengths[1] == 0))
    if len(zero):
        raise RequestError(
            f"the vector of a text in pair {zero[0] + 1} is all zeros and has no angle to any other: the model has "
            "collapsed, train it again or check its Dense weights"
        )
    cosines: NDArray[np.float64] = (a * b).sum(axis=1) / (lengths[0] * lengths[1])
    return cosines.astype(np.float32)[:, None]
