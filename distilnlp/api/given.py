"""Data that are in memory, as a file beside the run: it is read, checked and resumed like any other."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from distilnlp.data.files import HELD_OUT
from distilnlp.errors import RequestError, listed
from distilnlp.whole_files import whole_file

__all__ = ["Given", "as_files"]

ROWS = 10_000  # at a time
DIGITS = 12  # of the digest in a file's name
NEEDED = (
    "the name of a task, a file, a folder or a Hub data set, a datasets.Dataset or DatasetDict, a pandas DataFrame, or"
    " a list of dicts"
)

# What a task may be given as. Any data frame that offers itself as Arrow is fine too; there is no type for that.
Given: TypeAlias = str | Path | Dataset | DatasetDict | Sequence[Mapping[str, Any]] | Any


@dataclass(frozen=True)
class _Rows:
    """Rows in memory.

    Args:
        suffix: of the file that they go into.
        parts: their content, byte by byte the same for the same rows; for the digest.
        write: writes the file.
    """

    suffix: str
    parts: Callable[[], Iterator[bytes]]
    write: Callable[[Path], object]

    def file(self, folder: Path) -> Path:
        """The file of these rows, written unless it is there: its name tells its content, so it is never stale."""
        digest = hashlib.sha256()
        for part in self.parts():
            digest.update(part)
        path = folder / f"data-{digest.hexdigest()[:DIGITS]}{self.suffix}"
        if not path.exists():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as temporary:
                    self.write(temporary)
            except OSError as error:
                raise RequestError(f"the data cannot be written to {path}: {error.strerror or error}") from error
        return path


def as_files(data: Given, validation: Given | None, folder: Path) -> tuple[str, str | None]:
    """What `distilnlp.load_task` takes as name and as ``validation``: names stay, what is in memory becomes files.

    Args:
        data: see `NEEDED`.
        validation: the held-out examples, as a file or in memory; of a `DatasetDict` or of a Hub data set also the
            name of a split.
        folder: where the files are written, ``data-<digest of the content>.parquet``; ``.jsonl`` for a list of dicts,
            whose rows need not have the same keys.
    Raises:
        RequestError: something else is given; no rows; columns or values that no file holds; no such split.
    """
    if isinstance(data, DatasetDict):
        data, validation = _splits(data, validation)
    return _name(data, "the data", folder), None if validation is None else _name(validation, "validation", folder)


def _splits(data: DatasetDict, validation: Given | None) -> tuple[Dataset, Given | None]:
    """What is trained on and what is held out."""
    if "train" not in data:
        raise RequestError(f"the DatasetDict has no split 'train': its splits are {listed(map(str, data))}")
    if isinstance(validation, str) and validation in data:
        return data["train"], data[validation]
    if validation is not None:
        if isinstance(validation, str) and not Path(validation).suffix:
            raise RequestError(f"no split '{validation}' in the DatasetDict: its splits are {listed(map(str, data))}")
        return data["train"], validation
    return data["train"], next((data[name] for name in HELD_OUT if name in data), None)


def _name(data: Given, what: str, folder: Path) -> str:
    if isinstance(data, str | Path):
        return str(data)
    rows = _rows(data, what)
    return str(rows.file(folder))


def _rows(data: Given, what: str) -> _Rows:
    if isinstance(data, IterableDataset | IterableDatasetDict):
        raise RequestError(
            f"{what} is a stream, which can be read only from its beginning: give a Dataset, of "
            "Dataset.from_generator(...) for example"
        )
    if isinstance(data, Dataset):
        return _of_dataset(data, what)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        twice = [str(name) for name in data.columns[data.columns.duplicated()]]
        if twice:
            raise RequestError(f"{what} has the column '{twice[0]}' more than once: rename one")
        return _of_table(lambda: pa.Table.from_pandas(data, preserve_index=False), what)
    if hasattr(data, "__arrow_c_stream__"):  # of another library: polars, pyarrow, duckdb
        return _of_table(lambda: pa.table(data), what)
    if isinstance(data, Sequence) and not isinstance(data, bytes | bytearray):
        return _of_dicts(data, what)
    raise RequestError(f"{what} is {data!r:.40}, of type {type(data).__name__}: give {NEEDED}")


def _of_dataset(data: Dataset, what: str) -> _Rows:
    _check_rows(len(data), what)
    plain = data.with_format("arrow")
    described = repr(sorted((name, repr(feature)) for name, feature in data.features.items()))

    def parts() -> Iterator[bytes]:
        yield described.encode()
        for table in plain.iter(ROWS):
            yield _as_bytes(table.to_pylist())

    def write(path: Path) -> None:
        with pq.ParquetWriter(path, data.features.arrow_schema) as writer:
            for table in plain.iter(ROWS):
                writer.write_table(table.cast(data.features.arrow_schema))

    return _Rows(".parquet", parts, write)


def _of_table(make: Callable[[], pa.Table], what: str) -> _Rows:
    try:
        table = make()
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        why = "; ".join(str(part) for part in error.args) or type(error).__name__
        raise RequestError(f"{what} has values that no table holds, of several kinds perhaps: {why:.300}") from error
    _check_rows(len(table), what)
    table = table.replace_schema_metadata(None)

    def parts() -> Iterator[bytes]:
        yield str(table.schema).encode()
        for batch in table.to_batches(ROWS):
            yield from (_as_bytes([row]) for row in batch.to_pylist())

    return _Rows(".parquet", parts, lambda path: pq.write_table(table, path))


def _of_dicts(data: Sequence[Any], what: str) -> _Rows:
    _check_rows(len(data), what)
    other = next((place for place, row in enumerate(data) if not isinstance(row, Mapping)), None)
    if other is not None:
        raise RequestError(
            f"{what}: item {other} is {data[other]!r:.40}, of type {type(data[other]).__name__}: a list of dicts is "
            "needed, each with the columns of a row, as {'text': 'Lovely.', 'label': 'good'}"
        )

    def lines() -> Iterator[bytes]:
        for place, row in enumerate(data):
            try:
                yield json.dumps(dict(row), ensure_ascii=True, allow_nan=True, default=_as_json).encode() + b"\n"
            except (TypeError, ValueError) as error:
                raise RequestError(
                    f"{what}: item {place} has a value that is no text, number or list: {error}"
                ) from error

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(lines())

    return _Rows(".jsonl", lines, write)


def _check_rows(rows: int, what: str) -> None:
    if not rows:
        raise RequestError(f"{what}: no rows: at least one example is needed")


def _as_json(value: object) -> object:
    """Numbers and arrays of numpy as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r:.40}, of type {type(value).__name__}")


def _as_bytes(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, default=str).encode()
