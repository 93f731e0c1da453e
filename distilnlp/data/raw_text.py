"""Texts to learn from as they are, whatever else stands beside them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from datasets import Dataset, Value

from distilnlp.data.arrow import BATCH_ROWS, write_dataset
from distilnlp.data.repeats import Repeats, overlap_note, text_hashes
from distilnlp.data.split import hold_out
from distilnlp.errors import RequestError

__all__ = ["raw_texts", "split_texts", "text_batches"]

logger = logging.getLogger(__name__)


def text_batches(dataset: Dataset, columns: Sequence[str], where: str) -> Iterator[list[str]]:
    """The texts of some columns in their order, those of a row one after the other, without spaces around them.

    A missing text is an empty one.

    Args:
        dataset: with the columns.
        columns: of texts.
        where: what to call the data in an error.
    Raises:
        RequestError: a column that holds no texts.
    """
    for name in columns:
        feature = dataset.features[name]
        if not isinstance(feature, Value) or feature.dtype not in ("string", "large_string", "null"):
            raise RequestError(f"{where}: column '{name}' holds {feature}, not texts: name another column")
    for batch in dataset.select_columns([*columns]).with_format("arrow").iter(BATCH_ROWS):
        rows = zip(*(batch[name].to_pylist() for name in columns), strict=True)
        yield [(text or "").strip() for row in rows for text in row]


def raw_texts(dataset: Dataset, columns: Sequence[str], where: str) -> Dataset:
    """The texts of some columns in the order of `text_batches`, as the column ``text``.

    Empty ones are left out, with a warning.

    Args:
        dataset, columns, where: as for `text_batches`.
    Raises:
        RequestError: as `text_batches`; all texts are empty.
    """
    empty = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal empty
        schema = pa.schema([("text", pa.large_string())])
        yield schema.empty_table()
        for texts in text_batches(dataset, columns, where):
            kept = [text for text in texts if text]
            empty += len(texts) - len(kept)
            yield pa.table({"text": pa.array(kept, pa.large_string())}, schema=schema)

    found = write_dataset(tables())
    if not len(found):
        raise RequestError(
            f"{where}: {f'all {empty} texts are empty' if empty else 'no texts'}: nothing to learn from"
        )
    if empty:
        logger.warning("%s: %d of %d texts are empty and left out", where, empty, empty + len(found))
    return found


def split_texts(
    train: Dataset, validation: Dataset | None, seed: int, where: str
) -> tuple[Dataset, Dataset, tuple[str, ...]]:
    """Texts to learn from, texts that are held out, and what is to be known of them.

    Args:
        train, validation: the column ``text``. Without the second a tenth of the first is held out.
        seed: of what is held out.
        where: what to call the data in an error.
    Raises:
        RequestError: too few texts to hold one out.
    """
    hashes = text_hashes(train)
    if validation is not None:
        note = overlap_note(hashes, text_hashes(validation))
        if note:
            logger.warning("%s: %s", where, note)
        return train, validation, (note,) if note else ()
    kept, held_out = hold_out(np.zeros(len(train), dtype=np.int64), seed, where, Repeats.of(hashes).groups)
    return train.select(kept, keep_in_memory=True), train.select(held_out, keep_in_memory=True), ()
