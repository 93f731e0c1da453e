"""Reads the user's csv, tsv, json, jsonl and parquet files, with errors that name the file and the line."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import InMemoryTable

from distilnlp.errors import RequestError, unknown

__all__ = ["SUFFIXES", "find_split", "read_files"]

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


def read_files(paths: Sequence[Path]) -> Dataset:
    """One data set from a file, or from the shards of one; its columns are as the file has them.

    csv: comma, header line, quotes around fields with commas, quotes or line breaks. tsv: tab, header line; a field
    that stands whole in quotes loses them, other quotes are text. json: a list of objects, or one object a line (as
    jsonl). All text is UTF-8. Values of csv and tsv stay strings: what they mean is decided with the column's use in
    view.

    Raises:
        RequestError: a file that is missing, empty, of another kind, not UTF-8, or broken (with the line).
    """
    tables = [_read(path) for path in paths]
    try:
        table = pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise RequestError(f"{_names(paths)}: the files differ in their columns: {_first_line(error)}") from error
    if not table.num_rows:
        raise RequestError(f"{_names(paths)}: no rows: a file with at least one example is needed")
    return Dataset(InMemoryTable(table))


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


def _read(path: Path) -> pa.Table:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise unknown(f"kind of file in {path}:", suffix, SUFFIXES)
    try:
        if suffix == ".parquet":
            return pq.read_table(path)
        text = _decode(path)
    except pa.ArrowInvalid as error:
        raise RequestError(f"{path}: not a parquet file, or a damaged one: {_first_line(error)}") from error
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror or _first_line(error)}") from error
    if not text.strip():
        raise RequestError(f"{path}: the file is empty: a file with at least one example is needed")
    if suffix == ".csv":
        return _table(path, _csv_records(path, text))
    if suffix == ".tsv":
        return _table(path, _tsv_records(text))
    return _json_table(path, text, lines=suffix == ".jsonl" or not text.lstrip().startswith("["))


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.start counts from behind a byte order mark; one cannot be there when the first bytes are at fault
        line = data.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{path}: not UTF-8: byte 0x{error.object[error.start]:02x} in line {line} (byte {error.start});"
            " save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise RequestError(f"{path}: holds zero bytes, so it is not UTF-8 text (UTF-16?); save the file as UTF-8")
    return text


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(line where the record starts, fields); blank lines are left out."""
    reader = csv.reader(_physical_lines(text), strict=True)
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


def _tsv_records(text: str) -> Iterator[tuple[int, list[str]]]:
    for line, content in enumerate(_physical_lines(text), start=1):
        content = content.rstrip("\r\n")
        if content:
            yield line, [_unquote(value) for value in content.split("\t")]


def _physical_lines(text: str) -> Iterator[str]:
    """Lines with their ends; unlike ``str.splitlines`` a form feed or U+2028 inside a text does not end one."""
    yield from re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


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


def _table(path: Path, records: Iterator[tuple[int, list[str]]]) -> pa.Table:
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
    columns: list[list[str]] = [[] for _ in header]
    for line, fields in records:
        if len(fields) != len(header):
            raise RequestError(
                f"{path}: line {line} has {len(fields)} fields where the header has {len(header)}"
                f" ({', '.join(header)}): a text that holds the separator needs quotes around it"
            )
        for column, value in zip(columns, fields, strict=True):
            column.append(value)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=header)


def _json_table(path: Path, text: str, *, lines: bool) -> pa.Table:
    rows = _json_rows(path, text, lines=lines)
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays = []
    for name in names:
        try:
            arrays.append(pa.array([row.get(name) for row in rows]))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise RequestError(f"{path}: the values of '{name}' are of several kinds: {_first_line(error)}") from error
    return pa.table(arrays, names=names)


def _json_rows(path: Path, text: str, *, lines: bool) -> list[dict]:
    parsed = [_parse(path, content, line) for line, content in _json_lines(text)] if lines else _parse(path, text, 1)
    rows = []
    for number, row in enumerate(parsed if isinstance(parsed, list) else [parsed], start=1):
        if not isinstance(row, dict):
            raise RequestError(f"{path}: example {number} is {type(row).__name__}: one JSON object each is needed")
        rows.append(row)
    return rows


def _json_lines(text: str) -> Iterator[tuple[int, str]]:
    for line, content in enumerate(_physical_lines(text), start=1):
        if content.strip():
            yield line, content.rstrip()  # the end of the line would put an error at its end into the next one


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
