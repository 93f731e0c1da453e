"""Queries with their texts, in the forms that tools write them, brought to one row a query.

- rows: a query, one text and its label, several rows a query; or one row a query, with lists of texts and labels;
- lists: a query, the list of its relevant texts and that of the others (``pos``, ``neg``), as BGE's tools write them;
- triplets: a query, a relevant text and another one (``positive``, ``negative``), as sentence-transformers has them.

Rows may have no label, where a teacher is there to learn from.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, List, Value

from distilnlp.data.arrow import BATCH_ROWS, write_dataset
from distilnlp.data.columns import Columns, find_columns
from distilnlp.data.label_sets import is_missing, labelled_rows
from distilnlp.data.written_lists import holds_written_lists
from distilnlp.errors import RequestError, listed, unknown
from distilnlp.problems import TEACHER_LOGITS
from distilnlp.problems.base import to_number

__all__ = [
    "GROUP_SIZE",
    "LEAVE_OUT",
    "REFUSE",
    "RankingColumns",
    "are_queries",
    "are_ranked",
    "deal",
    "query_columns",
    "ranking_columns",
    "read_queries",
    "refuse_written_lists",
]

logger = logging.getLogger(__name__)

Form = Literal["rows", "lists", "triplets"]

QUERIES = ("query", "question", "anchor")
TEXTS = (
    *("text", "passage", "document", "doc", "answer", "sentence"),
    *("texts", "passages", "documents", "docs", "candidates"),
)
POSITIVES, NEGATIVES = ("pos", "positive", "positives"), ("neg", "negative", "negatives")
LISTS = (("pos", "neg"), ("positives", "negatives"))  # names that tell what they hold

# What becomes of a query without a relevant text.
REFUSE, LEAVE_OUT = "refuse", "leave_out"
# Texts of a query in one training example, where nothing else is said.
GROUP_SIZE = 16


@dataclass(frozen=True)
class RankingColumns(Columns):
    """As `Columns`: ``text`` is the query, ``text_pair`` its texts (the relevant ones), ``label`` their relevance.

    Args:
        negatives: the column of the texts that are not relevant; then ``label`` is that column too.
    """

    negatives: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, once each."""
        return tuple(dict.fromkeys((*super().names, *((self.negatives,) if self.negatives else ()))))


def are_ranked(names: Sequence[str]) -> bool:
    """Whether columns alone tell that texts are to be ranked: a query with its lists ``pos`` and ``neg``."""
    lowered = {name.lower() for name in names}
    return "query" in lowered and any(pair <= lowered for pair in map(set, LISTS))


def are_queries(names: Sequence[str]) -> bool:
    """Whether there is a column of queries, and one that may hold their texts."""
    lowered = {name.lower() for name in names}
    return not lowered.isdisjoint(QUERIES) and not lowered.isdisjoint(TEXTS)


def ranking_columns(
    names: Sequence[str],
    where: str,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | Sequence[str] | None = None,
    weight: str | None = None,
    other: Sequence[str] = (),
    optional: bool = False,
) -> RankingColumns:
    """Which columns are the query, its texts and their relevance: as they are named, else by common names.

    Args:
        names: of all columns.
        where: the file or data set, for the errors.
        text: the column of the query.
        text_pair: of the texts, or of the relevant ones.
        label: of the relevance; of the texts that are not relevant, where those have a column.
        weight: None; queries have no weights.
        other, optional: as for `find_columns`.
    Raises:
        RequestError: a column is not there, or cannot be told.
    """
    if weight is not None:
        raise RequestError(f"{where}: in a ranking every query counts alike: leave out weight ({weight})")
    if label is not None and not isinstance(label, str):
        raise RequestError(f"{where}: a text of a query has one relevance: name one column with label= (--label)")
    for role, name in (("text", text), ("text_pair", text_pair), ("label", label)):
        if name is not None and name not in names:
            raise unknown(f"column for {role} in {where}:", name, names)
    query, texts, negatives = query_columns(names, where, text=text, text_pair=text_pair, label=label)
    if negatives is not None:
        return RankingColumns(query, texts, negatives, negatives=negatives)
    found = find_columns(names, where, text=query, text_pair=texts, label=label, other=other, optional=optional)
    return RankingColumns(found.text, found.text_pair, found.label)


def query_columns(
    names: Sequence[str],
    where: str,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
) -> tuple[str, str, str | None]:
    """The columns of the query, of its texts (or the relevant ones), and of those that are not relevant, if any.

    Args, Raises: as for `ranking_columns`, without a relevance.
    """
    lowered = {name.lower(): name for name in names}
    query = text or next((lowered[name] for name in QUERIES if name in lowered), None)
    if query is None:
        raise _not_found(where, "query", "text= (--text)", names)
    negatives = label if label and label.lower() in NEGATIVES else None
    if label is None:
        negatives = next((lowered[name] for name in NEGATIVES if name in lowered), None)
    known, role = (TEXTS, "texts of the query") if negatives is None else (POSITIVES, "relevant texts")
    texts = text_pair or next((lowered[name] for name in known if name in lowered and lowered[name] != query), None)
    if texts is None:
        raise _not_found(where, role, "text_pair= (--text-pair)", names)
    return query, texts, negatives


def _not_found(where: str, role: str, option: str, names: Sequence[str]) -> RequestError:
    return RequestError(f"{where}: which column has the {role}? name it with {option}; columns: {listed(names)}")


@dataclass(frozen=True)
class _Query:
    """One query.

    Args:
        row: in the file, counted from 1.
        texts, labels: as long as one another; all labels are NaN where the query has none.
        scores: a teacher's, as long too; empty without a teacher.
    """

    row: int
    text: str
    texts: list[str]
    labels: list[float]
    scores: list[float] = field(default_factory=list)


@dataclass
class _Reading:
    """Reads one data set, and counts what is left out."""

    where: str
    columns: RankingColumns
    scores: tuple[str, ...] = ()
    optional: bool = False
    needs_order: bool = True
    left_out: list[_Query] = field(default_factory=list)
    queries: int = 0
    ordered: int = 0

    def of_rows(self, dataset: Dataset) -> Iterator[_Query]:
        """Rows with one text each, those of a query together wherever they stand."""
        numbers: dict[str, int] = {}
        codes = np.fromiter(
            (
                numbers.setdefault(self.query(value, row), len(numbers))
                for row, value in self.values(dataset, self.columns.text)
            ),
            dtype=np.int64,
            count=len(dataset),
        )
        order = np.argsort(codes, kind="stable")
        query: _Query | None = None
        rows = self.of_texts(dataset.select(order, keep_in_memory=True))
        for number, (asked, given, label, scores) in zip((order + 1).tolist(), rows, strict=True):
            text = self.text(given, number, str(self.columns.text_pair))
            if query is None or query.text != asked:
                if query is not None:
                    yield query
                query = _Query(number, asked, [], [])
            query.texts.append(text)
            query.labels.append(self.relevance(label, number))
            query.scores.extend(self.score(value, number) for value in scores)
        if query is not None:
            yield query

    def of_candidates(self, dataset: Dataset) -> Iterator[_Query]:
        """Rows with all texts of a query, and their labels, in lists."""
        name = str(self.columns.text_pair)
        for number, (query, given, labels, scores) in enumerate(self.of_texts(dataset), start=1):
            if not given:
                self.missing(number, name)
            texts = [self.text(each, number, name) for each in given]
            if labels is None:
                labels = [None] * len(texts)
            elif not isinstance(labels, list) or len(labels) != len(texts):
                raise RequestError(
                    f"{self.where}: row {number} has {labels!r:.60} in column '{self.columns.label}' for"
                    f" {len(texts)} texts: a list with a relevance for each is needed"
                )
            found = self.scores_of(scores, (texts,), number) if scores else []
            own = [self.relevance(label, number) for label in labels]
            yield _Query(number, self.query(query, number), texts, own, found)

    def of_texts(self, dataset: Dataset) -> Iterator[tuple[Any, Any, Any, tuple[Any, ...]]]:
        """The query, the text or texts, the label or None, and the scores of each row."""
        columns = self.columns
        labels = [columns.label] if isinstance(columns.label, str) else []
        for query, texts, *rest in _rows(dataset, [columns.text, str(columns.text_pair), *labels, *self.scores]):
            yield query, texts, rest[0] if labels else None, tuple(rest[len(labels) :])

    def of_lists(self, dataset: Dataset) -> Iterator[_Query]:
        """Rows with the relevant texts and the others, a list of each or one of each."""
        names = [self.columns.text, str(self.columns.text_pair), str(self.columns.negatives)]
        for number, (query, *lists) in enumerate(_rows(dataset, [*names, *self.scores]), start=1):
            scores, lists = lists[2:], lists[:2]
            positives, negatives = (
                [self.text(each, number, name) for each in (values if isinstance(values, list) else [values])]
                for values, name in zip(lists, names[1:], strict=True)
                if values is not None or self.missing(number, name)
            )
            labels = [1.0] * len(positives) + [0.0] * len(negatives)
            found = self.scores_of(scores, (positives, negatives), number) if scores else []
            yield _Query(number, self.query(query, number), [*positives, *negatives], labels, found)

    def scores_of(self, given: Sequence[Any], texts: tuple[list[str], ...], row: int) -> list[float]:
        """A teacher's scores of the relevant texts and the others, or of all; of one margin, that and 0."""
        lists = [each if isinstance(each, list) else [each] for each in given]
        if len(lists) < len(texts):
            lists.append([0.0])
        for values, own, name in zip(lists, texts, (*self.scores, f"{self.scores[0]} (a margin)"), strict=False):
            if len(values) != len(own):
                raise RequestError(
                    f"{self.where}: row {row} has {len(values)} scores in column '{name}' for {len(own)} texts: one"
                    " for each is needed"
                )
        return [self.score(value, row) for values in lists for value in values]

    def score(self, value: object, row: int) -> float:
        number = None if isinstance(value, bool) else to_number(value)
        if number is None or not np.isfinite(number):
            raise RequestError(
                f"{self.where}: row {row} has {value!r:.60} in {', '.join(self.scores)}: a teacher's score is needed,"
                " a finite number"
            )
        return number

    def values(self, dataset: Dataset, name: str) -> Iterator[tuple[int, Any]]:
        return ((row, value) for row, (value,) in enumerate(_rows(dataset, [name]), start=1))

    def query(self, value: object, row: int) -> str:
        return self.text(value, row, self.columns.text)

    def missing(self, row: int, name: str) -> bool:
        raise RequestError(f"{self.where}: row {row} has nothing in column '{name}': texts are needed ([] for none)")

    def text(self, value: object, row: int, name: str) -> str:
        if not isinstance(value, str) or not value.strip():
            shown = "no text" if value is None or isinstance(value, str) else f"{value!r:.60}"
            raise RequestError(f"{self.where}: row {row} has {shown} in column '{name}': a text is needed")
        return value

    def relevance(self, value: object, row: int) -> float:
        if self.optional and is_missing(value):
            return math.nan
        number = float(value) if isinstance(value, bool) else to_number(value)
        if number is None or not 0 <= number < np.inf:
            below = number is not None and number < 0
            hint = "; scores below 0 are a model's: name a column of 0 and 1, or of grades" if below else ""
            raise RequestError(
                f"{self.where}: row {row} has {value!r:.60} in column '{self.columns.label}': the relevance of a text"
                f" is needed, a number from 0{hint}"
            )
        return number

    def kept(self, queries: Iterator[_Query]) -> Iterator[_Query]:
        """Those that have a relevant text, or no labels at all."""
        for query in queries:
            self.queries += 1
            missing = sum(map(math.isnan, query.labels))
            if 0 < missing < len(query.labels):
                raise RequestError(
                    f"{self.where}: row {query.row}: {missing} of the {len(query.texts)} texts of the query"
                    f" '{query.text:.60}' have no relevance in column '{self.columns.label}', and others have: give"
                    " one to all of them or to none"
                )
            if missing or any(query.labels) or not self.needs_order:
                self.ordered += len({*(query.texts if missing else query.labels)}) > 1
                yield query
            else:
                self.left_out.append(query)


def read_queries(
    dataset: Dataset,
    where: str,
    columns: RankingColumns,
    without_relevant: str = REFUSE,
    scores: Sequence[str] = (),
    optional: bool = False,
    ordered: bool = True,
) -> tuple[Dataset, str | None]:
    """A row a query: ``text``, ``text_pair`` (its texts) and ``label`` (the relevance of each), and a note.

    Where no query has labels there is no column ``label``; where some have, those of the others are NaN.

    Args:
        dataset: as read.
        where: what to call it in an error.
        columns: what is what.
        without_relevant: what becomes of a query of which no text is relevant: ``refuse``, or ``leave_out``.
        scores: columns of a teacher's scores; they come out as ``teacher_logits``. Of rows one; of lists those of the
            relevant texts and of the others; of triplets both, or one, the margin.
        optional: whether the texts of a query may have no relevance.
        ordered: whether there has to be an order to learn or to measure; else every query is kept.
    Raises:
        RequestError: texts or labels that are none, with their row; a query without a relevant text; nothing left; no
            query of which a text is more relevant than another, or, without labels, with two texts.
    """
    if without_relevant not in (REFUSE, LEAVE_OUT):
        raise unknown("value of without_relevant:", str(without_relevant), (REFUSE, LEAVE_OUT))
    refuse_written_lists(dataset, [name for name in (columns.text_pair, columns.negatives) if name], where)
    reading = _Reading(where, columns, _ordered(scores, where, columns), optional, ordered)
    if columns.negatives is not None:
        queries = reading.of_lists(dataset)
    elif isinstance(dataset.features[str(columns.text_pair)], List):
        queries = reading.of_candidates(dataset)
    else:
        queries = reading.of_rows(dataset)
    kinds = {"text": Value("string"), "text_pair": List(Value("string")), "label": List(Value("float32"))}
    features = Features(kinds | ({TEACHER_LOGITS: List(Value("float32"))} if scores else {}))
    found = write_dataset(_tables(reading.kept(queries), features.arrow_schema))
    if not labelled_rows(found).any():
        found = found.remove_columns("label")
    lost = reading.left_out
    if lost and without_relevant == REFUSE:
        one = min(lost, key=lambda query: query.row)
        raise RequestError(
            f"{where}: row {one.row}: none of the {len(one.texts)} texts of the query '{one.text:.60}' is relevant"
            f" ({len(lost)} of {reading.queries} queries have none): give one, or leave such queries out with"
            " without_relevant: leave_out in the recipe's data (--without-relevant leave_out)"
        )
    if not len(found):
        raise RequestError(f"{where}: no query has a relevant text: at least one is needed")
    if not ordered:
        return found, None
    if not reading.ordered and "label" not in found.column_names:
        raise RequestError(
            f"{where}: no query has two different texts, so that there is no order to learn or to measure: give"
            " several texts for each query"
        )
    if not reading.ordered:
        raise RequestError(
            f"{where}: in each query all texts are equally relevant, so that there is no order to learn or to measure:"
            " give texts that are less relevant too"
        )
    note = f"{len(lost)} of {reading.queries} queries without a relevant text are left out" if lost else None
    return found, note


def refuse_written_lists(dataset: Dataset, columns: Sequence[str], where: str) -> None:
    """Raise RequestError where a column of texts holds lists as a csv has them, each of which would be one text."""
    for name in columns:
        if holds_written_lists(dataset, name):
            raise RequestError(
                f"{where}: column '{name}' holds lists that are written as text: lists of texts are read from json,"
                " jsonl and parquet files"
            )


def _ordered(scores: Sequence[str], where: str, columns: RankingColumns) -> tuple[str, ...]:
    """The columns of scores, those of the relevant texts first. Raises RequestError for too many or too few."""
    most = 1 if columns.negatives is None else 2
    if len(scores) > most:
        raise RequestError(
            f"{where}: {len(scores)} columns of a teacher's scores ({', '.join(scores)}): {most} at most can be read,"
            " one for each column of texts"
        )
    return tuple(sorted(scores, key=lambda name: name.lower().startswith(NEGATIVES)))


def deal(dataset: Dataset, size: int) -> tuple[Dataset, str | None]:
    """Training examples of at most so many texts: those of a query with more are dealt out to several, and a note.

    The texts are dealt one by one in the order of their relevance (without any in that of the file), so that each
    example gets its share of every grade and a query has as few examples as can be. An example that would get no
    relevant text has one of the query's once more. Nothing is random, and no text is left out.

    Args:
        dataset: as `read_queries` gives it.
        size: texts, 2 or more.
    Raises:
        RequestError: fewer than 2, of which no loss learns an order.
    """
    if size < 2:
        raise RequestError(f"group_size is {size}: an order is learned of 2 texts or more", key=["group_size"])
    longer = 0

    def dealt() -> Iterator[_Query]:
        nonlocal longer
        for row, query in enumerate(dataset, start=1):
            texts = query["text_pair"]
            labels, scores = query.get("label", [math.nan] * len(texts)), query.get(TEACHER_LOGITS, [])
            parts = _dealt(labels, size)
            longer += len(parts) > 1
            for places in parts:
                own = ([values[i] for i in places] if values else [] for values in (texts, labels, scores))
                yield _Query(row, query["text"], *own)

    found = write_dataset(_tables(dealt(), dataset.features.arrow_schema))
    if not longer:
        return found, None
    return found, (
        f"{longer} of {len(dataset)} queries have more than {size} texts, which are dealt out to several training"
        f" examples ({len(found)} in all; group_size)"
    )


def _dealt(labels: Sequence[float], size: int) -> list[list[int]]:
    """The places of the texts in each part, in the order of the file."""
    if len(labels) <= size:
        return [[*range(len(labels))]]
    order = np.argsort(-np.asarray(labels), kind="stable").tolist()
    relevant = [place for place in order if labels[place] > 0]
    parts = -(-len(labels) // size)
    if 0 < len(relevant) < parts:  # each has one of them, again and again, and room for fewer others
        others = [place for place in order if labels[place] <= 0]
        parts = -(-len(others) // (size - 1))
        relevant = [relevant[i % len(relevant)] for i in range(max(parts, len(relevant)))]
        order = [*relevant, *others]
    return [sorted(order[first::parts]) for first in range(parts)]


def _tables(queries: Iterator[_Query], schema: pa.Schema) -> Iterator[pa.Table]:
    yield schema.empty_table()
    waiting: list[_Query] = []

    def table() -> pa.Table:
        columns = {
            "text": [query.text for query in waiting],
            "text_pair": [query.texts for query in waiting],
            "label": [query.labels for query in waiting],
            TEACHER_LOGITS: [query.scores for query in waiting],
        }
        return pa.table({name: columns[name] for name in schema.names}, schema=schema)

    for query in queries:
        waiting.append(query)
        if len(waiting) == BATCH_ROWS:
            yield table()
            waiting = []
    if waiting:
        yield table()


def _rows(dataset: Dataset, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for batch in dataset.select_columns(list(names)).iter(BATCH_ROWS):
        yield from zip(*(batch[name] for name in names), strict=True)
