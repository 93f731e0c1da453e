"""Words with tags: CoNLL files, and entities by their place in a text as words with tags."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, List, concatenate_datasets
from numpy.typing import NDArray

from distilnlp.data.arrow import BATCH_ROWS, column_batches, column_values, write_dataset
from distilnlp.data.columns import Columns
from distilnlp.data.text_files import check_text, open_text
from distilnlp.errors import RequestError
from distilnlp.problems.tags import Span, tags_of

__all__ = ["ConllFile", "check_lengths", "word_counts", "words_of_entities"]

WORDS, TAGS = "tokens", "tags"
DOCUMENT = "-DOCSTART-"
WORD = re.compile(r"\w+|[^\w\s]")
KINDS = ("label", "type", "entity_group", "tag")  # what the type of an entity is called


class ConllFile:
    """A file with a word a line, its tag last, and a blank line between sentences.

    Columns are divided by tabs, or else by spaces: ``tokens``, the first; ``tags``, the last; ``column_2`` and so on
    between them. Lines of ``-DOCSTART-`` are left out, and so are comments: lines that begin with ``# `` and have
    another number of columns.

    Args:
        path: the file.
    Raises:
        RequestError: it is not UTF-8, is empty, or its first line has one column only.
    """

    def __init__(self, path: Path) -> None:
        check_text(path)
        self.path = path
        with open_text(path) as lines:
            first = next((fields for _, fields in self._fields(lines) if fields and fields[0] != DOCUMENT), [])
        self._count = len(first)
        if self._count < 2:
            raise RequestError(
                f"{path}: the first line has {len(first)} column: a word and its tag are needed in each line, divided"
                " by a tab or a space, and a blank line between sentences"
            )
        between = [f"column_{place}" for place in range(2, self._count)]
        self.names = [WORDS, *between, TAGS]

    def learn_names(self) -> None:
        """They are known."""

    def tables(self, needed: Sequence[str]) -> Iterator[pa.Table]:
        """The needed columns, a list of texts for each sentence. Raises RequestError for a broken line."""
        schema = pa.schema([(name, pa.list_(pa.string())) for name in needed])
        yield schema.empty_table()
        places = [self.names.index(name) for name in needed]
        rows: list[list[list[str]]] = []
        for sentence in self._sentences():
            rows.append([[fields[place] for fields in sentence] for place in places])
            if len(rows) == BATCH_ROWS:
                yield pa.table(list(map(list, zip(*rows, strict=True))), schema=schema)
                rows = []
        if rows:
            yield pa.table(list(map(list, zip(*rows, strict=True))), schema=schema)

    def _sentences(self) -> Iterator[list[list[str]]]:
        sentence: list[list[str]] = []
        with open_text(self.path) as lines:
            for line, fields in self._fields(lines):
                if fields and fields[0] != DOCUMENT:
                    if len(fields) == self._count:
                        sentence.append(fields)
                        continue
                    if fields[0] == "#":
                        continue
                    raise RequestError(
                        f"{self.path}: line {line} has {len(fields)} columns and the first one {self._count}: a word"
                        " and its tag are needed in each line, and a blank line between sentences"
                    )
                if sentence:
                    yield sentence
                sentence = []
        if sentence:
            yield sentence

    @staticmethod
    def _fields(lines: Iterator[str] | Any) -> Iterator[tuple[int, list[str]]]:
        for number, content in enumerate(lines, start=1):
            text = content.strip()
            yield number, text.split("\t") if "\t" in text else text.split()


def words_of_entities(dataset: Dataset, where: str, columns: Columns) -> Dataset:
    """Texts with entities, ``[{start, end, label}, ...]`` in the label column, as words with tags (BIO).

    Words are letters and digits in a row, or a single other sign; one that an entity begins or ends in is cut there.

    Args:
        dataset: with the columns.
        where: the file or data set, for the errors.
        columns: of texts and labels.
    Returns:
        The same columns, those two lists of words and of tags; anything else than entities as it is.
    Raises:
        RequestError: an entity without start, end or label, outside of its text, without a word, or over another one.
    """
    if not isinstance(columns.label, str) or columns.text not in dataset.features:
        return dataset
    feature = dataset.features.get(columns.label)
    inner = feature.feature if isinstance(feature, List) else None
    if not isinstance(inner, Mapping) or not {"start", "end"} <= inner.keys():
        return dataset
    kind = next((name for name in KINDS if name in inner), None)
    if kind is None:
        raise RequestError(
            f"{where}, column '{columns.label}': entities have {', '.join(inner)}: start, end and label are needed"
        )
    texts, entities = (column_batches(dataset, name) for name in (columns.text, columns.label))
    schema = pa.schema([(columns.text, pa.list_(pa.string())), (columns.label, pa.list_(pa.string()))])

    def tables() -> Iterator[pa.Table]:
        row = 0
        for batch, found in zip(texts, entities, strict=True):
            rows = []
            for text, own in zip(batch.to_pylist(), found.to_pylist(), strict=True):
                row += 1
                place = f"{where}: row {row}"
                if own is None:
                    raise RequestError(f"{place} has no entities: write [] for a text without any, or remove the row")
                rows.append(_words_and_tags(text or "", own, kind, place))
            yield pa.table(list(map(list, zip(*rows, strict=True))), schema=schema)

    found = write_dataset(tables())
    others = [name for name in dataset.column_names if name not in found.column_names]
    return concatenate_datasets([found, dataset.select_columns(others)], axis=1) if others else found


def _words_and_tags(
    text: str, entities: Sequence[Mapping[str, Any] | None], kind: str, place: str
) -> tuple[list[str], list[str]]:
    cuts: set[int] = set()
    spans = []
    for each in entities:
        start, end, name = ((each or {}).get(key) for key in ("start", "end", kind))
        if type(start) is not int or type(end) is not int or not isinstance(name, str) or not name.strip():
            raise RequestError(f"{place} has the entity {each!r:.80}: whole numbers start and end and a {kind} needed")
        if not 0 <= start < end <= len(text):
            raise RequestError(
                f"{place} has the entity '{name}' from {start} to {end} and its text {len(text)} characters: an entity"
                " is a part of its text, the end excluded"
            )
        spans.append((start, end, name))
        cuts.update((start, end))
    words = [part for match in WORD.finditer(text) for part in _cut(match.start(), match.end(), cuts)]
    found = []
    for start, end, name in spans:
        inside = [number for number, (first, last) in enumerate(words) if start <= first and last <= end]
        if not inside:
            raise RequestError(f"{place} has the entity '{name}' from {start} to {end}, where no word is")
        found.append(Span(inside[0], inside[-1] + 1, name))
    try:
        return [text[first:last] for first, last in words], tags_of(found, len(words))
    except RequestError as error:
        raise RequestError(f"{place}: {error}") from error


def _cut(start: int, end: int, cuts: set[int]) -> Iterator[tuple[int, int]]:
    """A word in parts, where an entity begins or ends within it."""
    edges = [start, *sorted(cut for cut in cuts if start < cut < end), end]
    yield from itertools.pairwise(edges)


def word_counts(dataset: Dataset, where: str, column: str) -> NDArray[np.int64]:
    """How many words each row has, ``(rows,)``. Raises RequestError for a row without one or with a null."""
    counts: list[int] = []
    for words in column_values(dataset, column):
        if not words or None in words:
            what = "no words" if not words else "a word that is null"
            raise RequestError(f"{where}: row {len(counts) + 1} has {what}")
        counts.append(len(words))
    return np.array(counts, dtype=np.int64)


def check_lengths(dataset: Dataset, where: str, label: str, words: NDArray[np.int64]) -> None:
    """Raise RequestError unless each row has as many tags as words.

    Args:
        label: the column of the tags.
        words: how many words each row has, ``(rows,)``; 0 for one that needs no tags.
    """
    for row, (given, count) in enumerate(zip(column_values(dataset, label), words.tolist(), strict=True), start=1):
        if count and (not isinstance(given, list) or len(given) != count):
            got = f"{len(given)} tags" if isinstance(given, list) else "no list of tags"
            raise RequestError(f"{where}: row {row} has {count} words and {got}: one tag is needed for each word")
