"""Parallel text: rows of a text and its translations, to learn from and to measure vectors on."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from datasets import Dataset, Value
from numpy.typing import NDArray

from distilnlp.data.arrow import BATCH_ROWS, column_batches, column_values, with_label, write_dataset
from distilnlp.data.columns import find_text_columns
from distilnlp.data.raw_text import text_batches
from distilnlp.data.repeats import Repeats, text_hashes
from distilnlp.data.split import hold_out
from distilnlp.errors import RequestError, listed, nearest
from distilnlp.problems import TEACHER_TEXT
from distilnlp.problems.sentence_embedding import translation_labels

__all__ = ["held_out_texts", "parallel_columns", "read_parallel", "split_parallel", "training_texts"]

logger = logging.getLogger(__name__)

_FEWEST = 2  # of one text the nearest is always right


def parallel_columns(
    columns: Sequence[str], where: str, translations: Sequence[str], text: str | None = None
) -> tuple[str, ...]:
    """The column of the source, and those of its translations.

    Args:
        columns: all column names of the data.
        where: what to call the data in an error.
        translations: as the user named them.
        text: the source, where the user named it; else the only other column, or one of a common name.
    Raises:
        RequestError: a column is not there, is named twice, or is both source and translation.
    """
    for role, name in (("text", text), *(("translations", each) for each in translations)):
        if name is not None and name not in columns:
            match = nearest(name, columns)
            hint = f"did you mean '{match}'? " if match else ""
            raise RequestError(f"{where}: no column '{name}' for {role}: {hint}columns: {listed(columns)}")
    if len(set(translations)) < len(translations):
        raise RequestError(f"{where}: translations names a column twice ({', '.join(translations)}): once is enough")
    if text in translations:
        raise RequestError(
            f"{where}: column '{text}' is both the source (text) and a translation: name the column of the translated "
            "text in translations (--translation)"
        )
    if text is None:
        others = [name for name in columns if name not in translations]
        if not others:
            raise RequestError(f"{where}: every column is a translation: leave the source out of translations")
        found = find_text_columns(others, where)
        if len(found) != 1:
            raise RequestError(f"{where}: the source could be {' or '.join(found)}: name it with text= (--text)")
        text = found[0]
    return (text, *translations)


def read_parallel(dataset: Dataset, columns: Sequence[str], where: str) -> Dataset:
    """The columns, without white space around the texts, once it is known that every row is whole.

    Args:
        dataset: with the columns.
        columns: as `parallel_columns` gives them.
        where: what to call the data in an error.
    Raises:
        RequestError: no rows; a text that is empty or missing, with its row; a translation that is the source itself
            in every row; a column that holds no texts.
    """
    unlike = dict.fromkeys(columns[1:], False)

    def tables() -> Iterator[pa.Table]:
        yield pa.schema([(name, pa.large_string()) for name in columns]).empty_table()
        first = 1
        for texts in text_batches(dataset, columns, where):
            if "" in texts:
                row, column = divmod(texts.index(""), len(columns))
                raise RequestError(
                    f"{where}: row {first + row} has no text in column '{columns[column]}', and a text without its "
                    "translation (or the reverse) teaches nothing: fill it in, or remove the row"
                )
            own = {name: texts[place :: len(columns)] for place, name in enumerate(columns)}
            for name in unlike:
                unlike[name] = unlike[name] or own[name] != own[columns[0]]
            first += len(own[columns[0]])
            yield pa.table({name: pa.array(each, pa.large_string()) for name, each in own.items()})

    found = write_dataset(tables())
    if not len(found):
        raise RequestError(f"{where}: no rows: nothing to learn from")
    same = [name for name in unlike if not unlike[name]]
    if same:
        raise RequestError(
            f"{where}: column '{same[0]}' has in every row the text of '{columns[0]}' itself: name a column with "
            "translations"
        )
    return found


def split_parallel(rows: Dataset, seed: int, where: str) -> tuple[Dataset, Dataset]:
    """Rows to learn from, and a tenth that is held out; rows of one source stand on one side.

    Args:
        rows: as `read_parallel` gives them.
        seed: of what is held out.
        where: what to call the data in an error.
    Raises:
        RequestError: too few rows to hold any out.
    """
    kept, held_out = hold_out(np.zeros(len(rows), dtype=np.int64), seed, where, _groups(rows, rows.column_names[0]))
    return rows.select(kept, keep_in_memory=True), rows.select(held_out, keep_in_memory=True)


def training_texts(rows: Dataset, where: str, held_out: Dataset | None = None) -> tuple[Dataset, tuple[str, ...]]:
    """Every text of parallel rows with the source beside it that the teacher reads in its place; each pair once.

    Args:
        rows: as `read_parallel` gives them.
        where: what to call the data in an error.
        held_out: texts in its columns ``text`` and ``text_pair`` are not trained on, nor are their translations.
    Returns:
        the columns ``text`` and ``teacher_text``, those of a row one after the other; and notes, in words.
    Raises:
        RequestError: every row has a text that is held out.
    """
    taken: set[int] = set()
    for column in ("text", "text_pair"):
        if held_out is not None and column in held_out.column_names:
            taken |= {hash((text or "").strip()) for text in column_values(held_out, column)}
    seen: set[int] = set()
    lost = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal lost
        yield pa.schema([("text", pa.large_string()), (TEACHER_TEXT, pa.large_string())]).empty_table()
        for batch in rows.iter(BATCH_ROWS):
            kept: list[tuple[str, str]] = []
            for texts in zip(*batch.values(), strict=True):
                if taken and any(hash(text) in taken for text in texts):
                    lost += 1
                    continue
                for pair in ((text, texts[0]) for text in texts):
                    number = hash(pair)
                    if number not in seen:
                        seen.add(number)
                        kept.append(pair)
            columns = {name: [pair[place] for pair in kept] for place, name in enumerate(("text", TEACHER_TEXT))}
            yield pa.table({name: pa.array(each, pa.large_string()) for name, each in columns.items()})

    found = write_dataset(tables())
    if not len(found):
        raise RequestError(f"{where}: each of {len(rows)} rows has a text that is held out: nothing is left to learn")
    notes = (f"of {len(rows)} rows {lost} have a text that is held out: left out",) if lost else ()
    if notes:
        logger.warning("%s: %s", where, notes[0])
    return found, notes


def held_out_texts(rows: Dataset, where: str) -> tuple[Dataset, tuple[str, ...]]:
    """Parallel rows to measure on: all sources, then all texts of each translation.

    A row with a text that an earlier one has in the same language is left out: nobody could tell them apart.

    Args:
        rows: as `read_parallel` gives them.
        where: what to call the data in an error.
    Returns:
        the columns ``text`` and ``label``; and notes, in words.
    Raises:
        RequestError: fewer than two sentences.
    """
    firsts = [np.unique(_groups(rows, name), return_index=True)[1] for name in rows.column_names]
    whole = rows.select(functools.reduce(np.intersect1d, firsts), keep_in_memory=True)
    if len(whole) < _FEWEST:
        raise RequestError(f"{where}: {len(whole)} held-out sentence, whose translation is always found: give more")
    texts = pa.concat_arrays(
        [batch.cast(pa.large_string()) for name in rows.column_names for batch in column_batches(whole, name)]
    )
    labels = translation_labels(len(whole), len(rows.column_names))
    data = write_dataset([pa.table({"text": texts})])
    repeated = len(rows) - len(whole)
    notes = (f"{repeated} held-out rows repeat a text of another: left out",) if repeated else ()
    return with_label(data, labels, Value("int64")), notes


def _groups(rows: Dataset, column: str) -> NDArray[np.int64]:
    """The number of each row's text in a column, ``(rows,)``, the same for equal ones."""
    texts = rows.select_columns([column])
    return Repeats.of(text_hashes(texts if column == "text" else texts.rename_column(column, "text"))).groups
