"""Data sets as Arrow files that are memory-mapped: only the rows in use take memory, however many there are.

The files are private: each is made for one data set, never looked up, and removed with the last data set that reads
it. So nothing stale can ever be read. They are in the folder of temporary files, which TMPDIR chooses; those of a
process that was killed the next one removes.
"""

import itertools
import mmap
import os
import shutil
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, List, Value
from datasets.table import InMemoryTable, MemoryMappedTable

from distilnlp.data.temporary import new_folder

__all__ = ["BATCH_ROWS", "column_array", "column_batches", "column_values", "with_label", "write_dataset"]

BATCH_ROWS = 1000  # rows that are in memory as Python objects at a time


def write_dataset(tables: Iterable[pa.Table]) -> Dataset:
    """Write tables, in their order, to a temporary file and map it as one data set.

    Whatever is derived from the data set (a selection, renamed columns) keeps the file alive too. Where a later table
    needs a wider type (null and text, whole numbers and fractions), all is written a second time with that.

    Args:
        tables: each small; columns that one lacks are null there; one without rows only tells its schema.
    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError: the same column has types that cannot be made one.
        OSError: the disk is full.
    """
    parts: list[_Part] = []
    schema = pa.schema([])
    try:
        for table in tables:
            schema = _common_schema(schema, table.schema)
            if len(table):
                if not parts or schema != parts[-1].schema:
                    parts.append(_Part(schema))
                parts[-1].write(_widen(table, schema))
        mapped = [part.map() for part in parts]
    except BaseException:
        for part in parts:
            part.drop()
        raise
    if len(mapped) == 1 and mapped[0].schema == schema and any(field.type != pa.null() for field in schema):
        return Dataset(mapped[0])
    rows = (_widen(pa.Table.from_batches([batch]), schema) for table in mapped for batch in table.to_batches())
    if len(mapped) > 1:
        return write_dataset(itertools.chain([schema.empty_table()], rows))
    # Without rows, or with nulls alone, there is nothing in the file to map
    return Dataset(InMemoryTable(pa.concat_tables([schema.empty_table(), *rows])))


class _Part:
    """One Arrow file in a folder of its own: `datasets` puts there what a user's ``dataset.map`` makes of it."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.folder = new_folder()
        self.file = self.folder / "data.arrow"
        self.writer = pa.ipc.new_stream(str(self.file), schema)

    def write(self, table: pa.Table) -> None:
        self.writer.write_table(table)

    def map(self) -> MemoryMappedTable:
        """The rows; the folder is removed when the last Arrow buffer that reads it is freed, or at exit."""
        self.writer.close()
        with self.file.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        weakref.finalize(pages, _remove, self.folder, os.getpid())
        return MemoryMappedTable(pa.ipc.open_stream(pa.py_buffer(pages)).read_all(), str(self.file))

    def drop(self) -> None:
        self.writer.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker of a DataLoader has a copy of the finalizer
        shutil.rmtree(folder, ignore_errors=True)


def _common_schema(first: pa.Schema, second: pa.Schema) -> pa.Schema:
    if first == second or not len(first):
        return second
    return pa.unify_schemas([first, second], promote_options="permissive")


def _widen(table: pa.Table, schema: pa.Schema) -> pa.Table:
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field.name, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


def with_label(dataset: Dataset, values: np.ndarray, feature: ClassLabel | Value | List | dict[str, List]) -> Dataset:
    """The data set with the column ``label``, which is in memory; the other columns stay where they are.

    Args:
        values: ``(rows,)``, of lists for a feature that is one; for an object of lists, lists of what stands at one
            place of each of them.
        feature: the column's type.
    """
    if "label" in dataset.column_names:
        dataset = dataset.remove_columns("label")
    column: Any = values
    if isinstance(feature, List):
        column = [list(value) for value in values]
    elif isinstance(feature, dict):
        column = [{name: [each[i] for each in value] for i, name in enumerate(feature)} for value in values]
    return dataset.add_column("label", column, feature=feature)


def column_batches(dataset: Dataset, column: str) -> Iterator[pa.Array]:
    """A column as Arrow arrays, a batch of rows at a time; a selection of rows is respected."""
    narrow = dataset.select_columns([column]).with_format("arrow")
    for batch in narrow.iter(BATCH_ROWS):
        yield batch[column].combine_chunks()


def column_values(dataset: Dataset, column: str) -> Iterator[Any]:
    """A column as values of Python, row after row, of which a batch is in memory."""
    return (value for batch in column_batches(dataset, column) for value in batch.to_pylist())


def column_array(dataset: Dataset, column: str) -> np.ndarray:
    """A column of numbers, ``(rows,)``, or of lists of numbers that are all as long, ``(rows, length)``."""
    return np.concatenate([_numbers(batch) for batch in column_batches(dataset, column)])


def _numbers(batch: pa.Array) -> np.ndarray:
    """As they lie in memory: a list of Python's own numbers takes several times the space."""
    if pa.types.is_list(batch.type) or pa.types.is_large_list(batch.type) or pa.types.is_fixed_size_list(batch.type):
        return _numbers(batch.flatten()).reshape(len(batch), -1)
    return np.asarray(batch.to_numpy(zero_copy_only=False))
