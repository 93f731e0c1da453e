"""An order of the texts of a query: a score for each pair of a query and a text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.base import (
    IGNORED,
    Answer,
    Floats,
    LabelColumn,
    Labels,
    Problem,
    Rows,
    register_problem,
)
from distilnlp.problems.numbers import one_number
from distilnlp.problems.reading import Encoded, Joined, Logits, Reader, Spans, TextReader

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["PairReader", "Ranking", "by_example", "kendall", "queries_with_texts", "rank_order"]

logger = logging.getLogger(__name__)


@register_problem("ranking")
@dataclass(frozen=True)
class Ranking(Problem):
    """A query and several texts, each with a relevance from 0; a cross-encoder reads query and text as a pair.

    One logit a pair, its score. An example is a query with its texts, so that a batch holds whole queries, and every
    mean is one over queries. The task's own loss is the cross-entropy between the softmax of the scores over a query's
    texts and their relevance as shares (ListNet's top one): where one text is relevant, ``-log softmax`` of it.

    Units: scores have none; the loss in nats a query.
    Source: Cao et al. 2007, Learning to Rank: From Pairwise Approach to Listwise Approach,
        doi:10.1145/1273496.1273513, with shares in place of the softmax of the relevance, as in Bruch et al. 2019,
        doi:10.1145/3341981.3344221.
    """

    pipeline_tag: ClassVar[str] = "text-ranking"
    rows: ClassVar[Rows] = "list"
    parts: ClassVar[tuple[int, ...]] = (2,)
    lists: ClassVar[tuple[int, ...]] = (1,)
    named_labels: ClassVar[bool] = False
    response_loss: ClassVar[str] = "soft_target"
    recipe: ClassVar[str] = "_ranking.yaml"
    reading: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[str, ...]] = ("ndcg@10", "mrr@10", "map")
    accepted_metrics: ClassVar[tuple[str, ...]] = metrics
    agreement_meaning: ClassVar[str] = (
        "Kendall correlation of the two orders of a query's texts, mean over the queries (0 is what chance gives)"
    )

    # ---- labels in the data ----

    def encode(self, column: LabelColumn, train: Labels | None) -> Labels:
        distinct = np.empty(len(column.distinct), dtype=object)
        for position, value in enumerate(column.distinct):
            numbers = value if isinstance(value, (list, tuple)) else None
            wrong = _wrong_relevance(numbers or ())
            if not numbers or wrong is not None:
                raise RequestError(
                    f"{column.where}: row {column.row(position)} has {value!r:.60}: {self.name} needs a relevance for"
                    f" each text of the query, a number from 0{'' if wrong is None else f', and {wrong!r} is none'}"
                )
            distinct[position] = tuple(float(number) for number in numbers)
        return Labels(distinct[column.codes], None, self)

    def strata(self, labels: NDArray[Any]) -> NDArray[Any]:
        """All queries alike."""
        return np.zeros(len(labels), dtype=np.int64)

    def feature(self, names: Sequence[str] | None) -> Any:
        from datasets import List, Value

        return List(Value("float32"))

    def has_columns(self, features: Mapping[str, Any]) -> bool:
        """A list of texts for each query; or tokens as `distilnlp.data.tokenize` lays them, a list for each text."""
        from datasets import List, Value

        texts, tokens = features.get("text_pair"), features.get("input_ids")
        several = isinstance(texts, List) and isinstance(texts.feature, Value) and "string" in texts.feature.dtype
        return several or (isinstance(tokens, List) and isinstance(tokens.feature, List))

    # ---- from examples to inputs, and back ----

    def reader(self, tokenizer: PreTrainedTokenizerBase, limit: int, settings: Mapping[str, Any]) -> Reader:
        return PairReader(tokenizer, limit)

    def answered_rows(
        self, logits: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
        """The texts of each query, without what fills its row."""
        known = labels != IGNORED
        return logits[known], labels[known], np.nonzero(known)[0]

    def shortened(self, rows: Mapping[str, Sequence[Any]], letters: int) -> dict[str, Any]:
        """The most relevant text of each query and one other."""
        chosen = [_two(labels) for labels in rows["label"]] if "label" in rows else [[0, 1]] * len(rows["text"])
        lists = {
            name: [
                [row[place] for place in places if place < len(row)]
                for row, places in zip(values, chosen, strict=True)
            ]
            for name, values in rows.items()
            if name != "text"
        }
        lists["text_pair"] = [[text.strip()[:letters] for text in texts] for texts in lists["text_pair"]]
        return {"text": [text.strip()[:letters] for text in rows["text"]], **lists}

    # ---- the model ----

    def num_logits(self, names: Sequence[str] | None) -> int:
        return 1

    def config_settings(self, names: Sequence[str] | None) -> dict[str, Any]:
        return {"problem_type": self.name, "num_labels": 1}

    def asked_as(self, config: Any) -> Problem | None:
        """A ranking, whatever the config of a cross-encoder calls its one number."""
        return self if self.fits_head(config, None) else None

    def has_labels(self, labels: Tensor) -> bool:
        return labels.is_floating_point() and labels.ndim == 2

    def row_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The listwise cross-entropy of each query.

        Args:
            logits: ``(queries, 1, texts)``, where a query has fewer texts filled up with very negative numbers.
            labels: ``(queries, texts)`` relevance, filled up with 0. A query without a relevant text has the loss 0.
        """
        import torch.nn.functional as F

        relevance = labels.to(logits.dtype)
        shares = relevance / relevance.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        return -(shares[:, None] * F.log_softmax(logits, dim=-1)).sum(dim=-1)

    # ---- from logits to answers ----

    def check_logits(self, logits: ArrayLike) -> NDArray[Any]:
        return one_number(logits, f"{self.name} needs logits of shape (texts, 1)")

    def decide(self, logits: ArrayLike) -> NDArray[Any]:
        """The scores themselves, ``(texts,)``."""
        return self.check_logits(logits)

    def answers(self, logits: ArrayLike, names: Sequence[str]) -> list[Answer]:
        """The score of each text."""
        return [Answer(f"{number:.4f}", None, {}) for number in self.check_logits(logits).tolist()]

    def answers_of_texts(
        self,
        logits: NDArray[Any],
        names: Sequence[str],
        example: NDArray[np.int64],
        spans: Sequence[Spans],
        texts: Sequence[tuple[Any, ...]] = (),
    ) -> list[Answer]:
        """Of each query the number of its best text, counted from 1, and the scores of all."""
        scores = self.check_logits(logits)
        found = by_example(scores, example)
        return [Answer(str(rank_order(each)[0] + 1), None, {}, scores=tuple(each.tolist())) for each in found]

    def check_decisions(self, values: Floats, which: str) -> None:
        if which == "references" and _wrong_relevance(values) is not None:
            raise RequestError(f"the {which} must be relevances, numbers from 0; got {_wrong_relevance(values)}")

    def agreement(
        self,
        student: Floats,
        teacher: Floats,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """Mean Kendall correlation within the queries, and the mean absolute difference of the margins.

        Queries for which one of the models gives all texts one score, or that have one text, have no order to compare:
        they are left out, and where none is left the agreement is 0.0 (1.0 of equal scores).
        """
        own = np.zeros(len(student), dtype=np.int64) if examples is None else examples
        rows = by_example(np.arange(len(own)), own)
        found = [kendall(student[each], teacher[each]) for each in rows]
        defined = [value for value in found if value is not None]
        same = bool(np.array_equal(student, teacher))
        agreement = float(np.mean(defined)) if defined else float(same)
        return {"agreement": agreement, "mae": float(self.distances(student, teacher, own).mean())}

    def distances(self, student: Floats, teacher: Floats, examples: NDArray[np.int64]) -> Floats:
        """The absolute difference of each score, after the mean difference of its query is taken off."""
        apart = np.empty(len(student))
        for rows in by_example(np.arange(len(student)), examples):
            apart[rows] = np.abs(_centred(student[rows] - teacher[rows]))
        return apart

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, Floats]:
        """An order that is drawn (seeded). That of the file may be told by the labels: ``pos`` before ``neg``, say."""
        return {"a random order": np.random.default_rng(0).permutation(rows).astype(np.float64)}

    # ---- the model card ----

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return [f"Scores {inputs}, a query and a text each, so that the texts of a query can be put in order"]

    def card_code(self) -> str:
        return "print(logits.squeeze(-1))  # of several texts for one query, the highest is the best"


class PairReader(TextReader):
    """One input for each text of a query: the pair of both. Of a pair that is too long the text loses its end."""

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        pairs = [(row, query, text) for row, query, texts in queries_with_texts(rows) for text in texts]
        example, queries, texts = (list(each) for each in zip(*pairs, strict=True))
        flat = super().encode({"text": queries, "text_pair": texts}, words)
        return replace(flat, example=example, cut=[example[i] for i in flat.cut])

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        stacked = np.stack(list(logits))
        rows = by_example(stacked, np.asarray(encoded.example))
        return Joined(rows, [[] for _ in rows])


def queries_with_texts(rows: Mapping[str, Sequence[Any]]) -> Iterator[tuple[int, str, Sequence[str]]]:
    """The number of each row, its query and its texts, of which one alone may stand without a list."""
    for row, (query, texts) in enumerate(zip(rows["text"], rows["text_pair"], strict=True)):
        yield row, query, [texts] if isinstance(texts, str) else texts


def rank_order(scores: Floats, relevance: Floats | None = None) -> NDArray[np.int64]:
    """The places of the texts, the highest score first.

    Args:
        scores: ``(texts,)``.
        relevance: ``(texts,)``; where it is given, of texts with one score the less relevant ones come first, so that
            a model that tells nothing apart gains nothing by the order of the file. Without it the order stays.
    """
    return np.lexsort((-scores,)) if relevance is None else np.lexsort((relevance, -scores))


def kendall(first: Floats, second: Floats) -> float | None:
    """Kendall's tau-b of two rankings; None where one of them has all in one place, or there is one text.

    Source: Kendall 1945, doi:10.1093/biomet/33.3.239.
    """
    above = np.triu_indices(len(first), 1)
    one, two = (np.sign(values[:, None] - values[None, :])[above] for values in (first, second))
    scale = np.sqrt(float((one != 0).sum()) * float((two != 0).sum()))
    return float((one * two).sum() / scale) if scale else None


def by_example(rows: NDArray[Any], example: NDArray[np.int64]) -> list[NDArray[Any]]:
    """The rows of each example, which stand together.

    Args:
        rows: ``(rows, ...)``.
        example: of each row.
    """
    return np.split(rows, np.flatnonzero(np.diff(example)) + 1)


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(), dtype=np.float64)


def _two(labels: Sequence[float]) -> list[int]:
    best = int(np.argmax(labels))
    return [best, int(best == 0)]


def _wrong_relevance(values: Any) -> object:
    """The first that is no finite number from 0; None where all are."""
    for value in values:
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not 0 <= value < np.inf:
            return value
    return None
