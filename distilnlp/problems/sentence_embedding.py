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
    label_feature,
    register_problem,
)
from distilnlp.problems.numbers import number_agreement, one_number, read_numbers
from distilnlp.problems.reading import Encoded, Joined, Logits, Reader, TextReader

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["SentenceEmbedding", "pair_cosines", "translation_accuracies", "translation_labels"]

SHOWN = 4  # numbers of a vector that are shown to a reader

# A label of parallel text has the language above these bits and the sentence below.
_SENTENCE_BITS = 32
NEIGHBOURS = 8  # with how many others the vector of a text is compared, to see how one model's lie to another's
_AT_ONCE = 1024  # texts whose cosines with all others are in memory


@register_problem("sentence_embedding")
@dataclass(frozen=True)
class SentenceEmbedding(Problem):
    """A vector for each text. It is learned from texts alone, a text and its translations too.

    A model's logits are the vector of a text. Held-out data are one of three:

    - pairs of texts with a score: a row of logits is then the cosine of a pair's vectors, which is compared with the
      score by its rank;
    - parallel text: a row is a vector, its label tells which rows are translations of one another
      (`translation_labels`), and the nearest vector of the other language has to be the translation's;
    - texts alone: a row is a vector, and all that can be told is whether the vectors lie to one another as the
      teacher's do.

    Args:
        languages: what the translations are called, the columns of parallel text; empty without.
    """

    languages: tuple[str, ...] = ()

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
    accepted_metrics: ClassVar[tuple[str, ...]] = ("spearmanr", "pearson", "translation_accuracy")
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

    def may_have_columns(self, features: Mapping[str, Any]) -> bool:
        """Labels of parallel text are whole numbers, which are classes for whoever knows no better."""
        return self.has_columns(features) or _of_parallel_text(label_feature(features))

    def metrics_for(self, names: Sequence[str] | None, feature: Any = None) -> tuple[str, ...]:
        return ("translation_accuracy",) if _of_parallel_text(feature) else self.metrics

    def reader(self, tokenizer: PreTrainedTokenizerBase, limit: int, settings: Mapping[str, Any]) -> Reader:
        return PairReader(tokenizer, limit)

    def answered_rows(
        self, logits: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
        """Of pairs, whose texts stand one after the other, cosine and score; of parallel text each vector."""
        if labels.dtype.kind in "iu":
            return logits, labels, np.arange(len(logits))
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
        """The cosines of pairs, ``(pairs,)``, or the vectors of texts, ``(texts, dimension)``."""
        values = np.asarray(logits)
        if values.ndim == 2 and values.shape[1] > 1:
            check_finite(values)
            return values
        needs = f"{self.name} is measured on the cosines of pairs, (pairs, 1), or on vectors, (texts, dimension)"
        return one_number(logits, needs)

    def decide(self, logits: ArrayLike) -> NDArray[Any]:
        """The cosines themselves, ``(pairs,)``; of vectors zeros, ``(texts,)``: alone they decide nothing."""
        values = self.check_logits(logits)
        return values if values.ndim == 1 else np.zeros(len(values))

    def examples_of(self, labels: NDArray[Any], examples: NDArray[np.int64]) -> NDArray[np.int64]:
        """A sentence of parallel text with all its translations is one example."""
        return _parts(labels)[1] if labels.dtype.kind in "iu" else examples

    def details(
        self,
        decisions: NDArray[Any],
        labels: NDArray[Any],
        examples: NDArray[np.int64],
        names: Sequence[str] | None,
        logits: NDArray[Any],
    ) -> dict[str, float]:
        """The accuracy of each language, ``translation_accuracy[de]``, where there are several."""
        if labels.dtype.kind not in "iu" or len(self.languages) < 2:
            return {}
        found = translation_accuracies(logits, labels)
        return {f"translation_accuracy[{name}]": each for name, each in zip(self.languages, found, strict=True)}

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
        """Pearson correlation of the cosines (1.0 for equal ones, else 0.0 where undefined), and mean difference.

        Of vectors, whose widths may differ, the cosines are those of each with a few others, the same in both models.
        Of an example with several rows, a sentence with its translations, the teacher is asked for the first alone.
        """
        if student.ndim == 1:
            return number_agreement(student, teacher)
        if examples is not None:
            _, first, places = np.unique(examples, return_index=True, return_inverse=True)
            teacher = teacher[first[places]]
        order = np.random.default_rng(0).permutation(len(student))
        steps = range(1, min(NEIGHBOURS, len(order) - 1) + 1)
        pairs = [(order, np.roll(order, step)) for step in steps]
        own, theirs = (
            np.concatenate([pair_cosines(each[a], each[b])[:, 0] for a, b in pairs]).astype(np.float64)
            for each in (student, teacher)
        )
        return number_agreement(own, theirs)

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
    _check_directions(np.minimum(*lengths), "a text in pair")
    cosines: NDArray[np.float64] = (a * b).sum(axis=1) / (lengths[0] * lengths[1])
    return cosines.astype(np.float32)[:, None]


def _of_parallel_text(feature: Any) -> bool:
    from datasets import ClassLabel, Value

    return isinstance(feature, Value) and not isinstance(feature, ClassLabel) and "int" in feature.dtype


def translation_labels(sentences: int, languages: int) -> NDArray[np.int64]:
    """The labels of parallel text, ``(languages * sentences,)``: all sentences of the source, then each translation.

    Args:
        sentences: of each language.
        languages: the source and its translations.
    """
    return (np.arange(sentences) + (np.arange(languages)[:, None] << _SENTENCE_BITS)).reshape(-1)


def _parts(labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The language and the sentence of each label, ``(texts,)`` each."""
    whole = labels.astype(np.int64)
    return whole >> _SENTENCE_BITS, whole & ((1 << _SENTENCE_BITS) - 1)


def translation_accuracies(vectors: ArrayLike, labels: NDArray[Any]) -> list[float]:
    """Of each translation the share of texts whose nearest vector in the other language is that of their counterpart.

    By the cosine, the mean of both directions: from the source and to it. Of several that are as near, the first in
    the order of the sentences is taken.

    Args:
        vectors: ``(texts, dimension)``.
        labels: ``(texts,)``, as `translation_labels` makes them, in any order; every sentence in every language.
    Raises:
        RequestError: a vector of zeros, or a sentence that a language lacks.
    """
    language, sentence = _parts(labels)
    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    _check_directions(lengths[:, 0], "text")
    rows = rows / lengths
    blocks = []
    for each in np.unique(language):
        own = np.flatnonzero(language == each)
        blocks.append(own[np.argsort(sentence[own], kind="stable")])
    if len(blocks) < 2 or any(not np.array_equal(sentence[each], sentence[blocks[0]]) for each in blocks):
        raise RequestError("translations are found among texts of two languages or more, each sentence in all of them")
    source = rows[blocks[0]]
    return [
        float(np.mean([_nearest_is_own(source, rows[each]), _nearest_is_own(rows[each], source)]))
        for each in blocks[1:]
    ]


def _nearest_is_own(queries: Floats, others: Floats) -> float:
    """The share of unit vectors whose nearest among the others is that at their own place."""
    right = 0
    for start in range(0, len(queries), _AT_ONCE):
        nearest = (queries[start : start + _AT_ONCE] @ others.T).argmax(axis=1)
        right += int((nearest == np.arange(start, start + len(nearest))).sum())
    return right / len(queries)


def _check_directions(lengths: Floats, what: str) -> None:
    zero = np.flatnonzero(lengths == 0)
    if len(zero):
        raise RequestError(
            f"the vector of {what} {zero[0] + 1} is all zeros and has no angle to any other: the model has "
            "collapsed, train it again or check its Dense weights"
        )
