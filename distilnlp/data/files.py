"""Reads the user's csv, tsv, json, jsonl and parquet files, with errors that name the file and the line."""

import codecs
import csv
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from distilnlp.data.arrow import BATCH_ROWS, write_dataset
from distilnlp.errors import RequestError, unknown

__all__ = ["SUFFIXES", "find_split", "read_files"]

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
CHUNK_BYTES = 1 << 20
_Row = TypeVar("_Row")


def read_files(paths: Sequence[Path]) -> Dataset:
    """One data set from a file, or from the shards of one; its columns are as the file has them.

    csv: comma, header line, quotes around fields with commas, quotes or line breaks. tsv: tab, header line; a field
    that stands whole in quotes loses them, other quotes are text. json: a list of objects, or one object a line (as
    jsonl). All text is UTF-8. Values of csv and tsv stay strings: what they mean is decided with the column's use in
    view.

    The files may be larger than memory, a list of objects apart, which is parsed whole: rows are read batch by batch
    into an Arrow file that is memory-mapped and removed with the data set.

    Raises:
        RequestError: a file that is missing, empty, of another kind, not UTF-8, or broken (with the line).
    """
    dataset = write_dataset(_of_one_kind(paths))
    if not len(dataset):
        raise RequestError(f"{_names(paths)}: no rows: a file with at least one example is needed")
    return dataset


def _of_one_kind(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """The tables of all files, after a check that files and rows agree in their columns and types."""
    first: pa.Schema | None = None
    for path in paths:
        schema: pa.Schema | None = None
        for table in _read(path):
            schema = table.schema if schema is None else _joined(schema, table.schema, str(path))
            yield table
        if first is not None and schema is not None:
            what = f"{_names(paths)}: the files differ in their columns"
            if set(first.names) != set(schema.names):
                raise RequestError(f"{what}: {', '.join(first.names)} and {', '.join(schema.names)}")
            schema = _joined(first, schema, what)
        first = schema


def _joined(first: pa.Schema, second: pa.Schema, where: str) -> pa.Schema:
    if first == second:
        return first
    try:
        return pa.unify_schemas([first, second], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        named = re.search(r"Field (\S+) has", str(error))
        which = f"the values of '{named[1]}' are of several kinds" if named else "rows differ"
        raise RequestError(f"{where}: {which}: {_first_line(error)}") from error


def find_split(folder: Path, names: Iterable[str]) -> list[Path]:
    """The file ``<name>.<suffix>`` of a folder, or its shards ``<name>-00000-of-00002.<suffix>``; empty if none.

    Raises:
        RequestError: several files could be meant.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    for name in names:
        single = [path for path in files if path.stem.lower() == name]
        shards = [path for path in files if re.fullmatch(rf"{re.escape(name)}-\d+-of-\d+", path.stem)]
        if len(single) > 1 or (single and shards):
            listed = ", ".join(path.name for path in single + shards)
            raise RequestError(f"{folder}: several files for {name}: {listed}; keep one, or name the file itself")
        if shards and len(shards) != int(shards[0].stem.rsplit("-", 1)[1]):
            raise RequestError(f"{folder}: {len(shards)} shards of {name} are there, their names say otherwise")
        if single or shards:
            return single or shards
    return []


def _read(path: Path) -> Iterator[pa.Table]:
    """The file in batches of rows; at least one, which may have none."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise unknown(f"kind of file in {path}:", suffix, SUFFIXES)
    try:
        if suffix == ".parquet":
            yield from _parquet_tables(path)
            return
        _check_text(path)
        with path.open(encoding="utf-8-sig", newline="") as lines:
            if suffix == ".csv":
                yield from _tables(path, _csv_records(path, lines))
            elif suffix == ".tsv":
                yield from _tables(path, _tsv_records(lines))
            else:
                yield from _json_tables(path, lines)
    except pa.ArrowInvalid as error:
        raise RequestError(f"{path}: not a parquet file, or a damaged one: {_first_line(error)}") from error
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror or _first_line(error)}") from error


def _parquet_tables(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        yield file.schema_arrow.empty_table()
        for batch in file.iter_batches(BATCH_ROWS):
            yield pa.Table.from_batches([batch], file.schema_arrow)


def _check_text(path: Path) -> None:
    """Read the file once for what is not UTF-8 text, so that the error comes before any other and knows the line."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = lines = pending = 0  # bytes and line ends before this chunk; bytes of a character that it cuts
    blank = True
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            if done == 0:
                chunk = chunk.removeprefix(codecs.BOM_UTF8)
            try:
                text = decoder.decode(chunk)
                pending = len(decoder.getstate()[0])
            except UnicodeDecodeError as error:
                raise _not_utf8(path, error, done - pending, lines) from error
            if "\0" in text:
                raise RequestError(
                    f"{path}: holds zero bytes, so it is not UTF-8 text (UTF-16?); save the file as UTF-8"
                )
            blank = blank and not text.strip()
            done += len(chunk)
            lines += chunk.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error, done - pending, lines) from error
    if blank:
        raise RequestError(f"{path}: the file is empty: a file with at least one example is needed")


def _not_utf8(path: Path, error: UnicodeDecodeError, start: int, lines: int) -> RequestError:
    """``start``, ``lines``: bytes and line ends before the part that was decoded; a byte order mark is not counted."""
    line = lines + error.object.count(b"\n", 0, error.start) + 1
    return RequestError(
        f"{path}: not UTF-8: byte 0x{error.object[error.start]:02x} in line {line} (byte {start + error.start});"
        " save the file as UTF-8"
    )


def _csv_records(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """(line where the record starts, fields); blank lines are left out."""
    reader = csv.reader(lines, strict=True)
    line = 1
    with _any_field_size():
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise RequestError(
                    f"{path}: broken quotes in the record that starts in line {line}: {error};"
                    ' a quote inside a quoted field is written ""'
                ) from error
            if fields is None:
                return
            if fields:
                yield line, fields
            line = reader.line_num + 1


def _tsv_records(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    for line, content in enumerate(lines, start=1):
        content = content.rstrip("\r\n")
        if content:
            yield line, [_unquote(value) for value in content.split("\t")]


def _unquote(value: str) -> str:
    inner = value[1:-1]
    quoted = len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else value


@contextmanager
def _any_field_size() -> Iterator[None]:
    """The csv module refuses fields over 131,072 characters, for the whole process: lift it for this read only."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _tables(path: Path, records: Iterator[tuple[int, list[str]]]) -> Iterator[pa.Table]:
    _, header = next(records)
    header = [name.strip() for name in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise RequestError(f"{path}: the header has the column '{twice[0]}' more than once: rename one")
    other = next((sign for sign in ";\t|" if len(header) == 1 and sign in header[0]), None)
    if other:
        raise RequestError(
            f"{path}: the header '{header[0]}' is one field: separate with commas (.csv) or tabs (.tsv)"
        )
    schema = pa.schema([(name, pa.string()) for name in header])
    yield schema.empty_table()
    for rows in _batches(_fields(path, header, records)):
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        yield pa.table(columns, schema=schema)


def _fields(path: Path, header: Sequence[str], records: Iterable[tuple[int, list[str]]]) -> Iterator[list[str]]:
    for line, fields in records:
        if len(fields) != len(header):
            raise RequestError(
                f"{path}: line {line} has {len(fields)} fields where the header has {len(header)}"
                f" ({', '.join(header)}): a text that holds the separator needs quotes around it"
            )
        yield fields


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        yield batch


def _json_tables(path: Path, lines: TextIO) -> Iterator[pa.Table]:
    yield pa.table({})
    for rows in _batches(_json_rows(path, lines)):
        names = list(dict.fromkeys(name for row in rows for name in row))
        arrays = []
        for name in names:
            try:
                arrays.append(pa.array([row.get(name) for row in rows]))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise RequestError(
                    f"{path}: the values of '{name}' are of several kinds: {_first_line(error)}"
                ) from error
        yield pa.table(arrays, names=names)


def _json_rows(path: Path, lines: TextIO) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(_json_values(path, lines), start=1):
        if not isinstance(row, dict):
            raise RequestError(f"{path}: example {number} is {type(row).__name__}: one JSON object each is needed")
        if not row:
            raise RequestError(f"{path}: example {number} is an empty object: fill it in or take it out")
        yield row


def _json_values(path: Path, lines: TextIO) -> Iterator[object]:
    if path.suffix.lower() == ".json" and _starts_with_list(lines):
        parsed = _parse(path, lines.read(), 1)
        yield from parsed if isinstance(parsed, list) else [parsed]
        return
    for line, content in enumerate(lines, start=1):
        if content.strip():
            yield _parse(path, content.rstrip(), line)  # with its end, an error there would be in the next line


def _starts_with_list(lines: TextIO) -> bool:
    start = next((content for content in lines if content.strip()), "")
    lines.seek(0)
    return start.lstrip().startswith("[")


def _parse(path: Path, content: str, first_line: int) -> object:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise RequestError(f"{path}: not JSON in line {line}, column {error.colno}: {error.msg}") from error


def _names(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
