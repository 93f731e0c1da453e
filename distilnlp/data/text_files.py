"""The rows of csv, tsv, json, jsonl and txt files, with errors that name the file and the line."""

import codecs
import csv
import itertools
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

import pyarrow as pa

from distilnlp.data.arrow import BATCH_ROWS
from distilnlp.data.column_types import plain_type
from distilnlp.data.squad import LOOK, looks_nested, questions_of
from distilnlp.errors import RequestError, listed

__all__ = ["JsonFile", "LineFile", "TableFile", "check_text", "json_texts", "open_text"]

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
# What a file begins with that is no text, whatever its name says.
SIGNS = {
    b"\x1f\x8b": "compressed (gzip): unpack it",
    b"BZh": "compressed (bzip2): unpack it",
    b"\xfd7zXZ": "compressed (xz): unpack it",
    b"\x28\xb5\x2f\xfd": "compressed (zstandard): unpack it",
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as csv",
    b"PAR1": "a parquet file: name it .parquet",
    codecs.BOM_UTF16_LE: "UTF-16 text: save it as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text: save it as UTF-8",
}
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_Row = TypeVar("_Row")


class TableFile:
    """A csv file (comma, quotes) or a tsv file (tab), whose first line names the columns.

    Args:
        path: its suffix decides.
    Raises:
        RequestError: it is not UTF-8, is empty, or its header is not of this kind.
    """

    def __init__(self, path: Path) -> None:
        check_text(path)
        self.path = path
        with self._records() as records:
            _, header = next(records, (1, []))
        self.names = [name.strip() for name in header]
        other = next((sign for sign in ";\t|" if len(header) == 1 and sign in header[0]), None)
        if other:
            raise RequestError(
                f"{path}: the header '{header[0]:.200}' is one field: separate with commas (.csv) or tabs (.tsv)"
            )

    def learn_names(self) -> None:
        """They are known."""

    def tables(self, needed: Sequence[str]) -> Iterator[pa.Table]:
        """The columns that are needed, a batch of rows at a time. Raises RequestError for a broken line."""
        schema = pa.schema([(name, pa.string()) for name in needed])
        places = [self.names.index(name) for name in needed]
        yield schema.empty_table()
        with self._records() as records:
            next(records)
            for rows in _batches(self._fields(records)):
                yield pa.table(
                    [pa.array([row[place] for row in rows], pa.string()) for place in places], schema=schema
                )

    def _fields(self, records: Iterable[tuple[int, list[str]]]) -> Iterator[list[str]]:
        for line, fields in records:
            if len(fields) != len(self.names):
                raise RequestError(
                    f"{self.path}: line {line} has {len(fields)} fields where the header has {len(self.names)}"
                    f" ({listed(self.names)}): a text that holds the separator needs quotes around it"
                )
            yield fields

    @contextmanager
    def _records(self) -> Iterator[Iterator[tuple[int, list[str]]]]:
        with open_text(self.path) as lines:
            yield _csv_records(self.path, lines) if self.path.suffix.lower() == ".csv" else _tsv_records(lines)


class LineFile:
    """A text a line, in the one column ``text``; a line of white space is none.

    Args:
        path: a ``.txt`` file.
    Raises:
        RequestError: it is not UTF-8, or empty.
    """

    def __init__(self, path: Path) -> None:
        check_text(path)
        self.path = path
        self.names = ["text"]

    def learn_names(self) -> None:
        """They are known."""

    def tables(self, needed: Sequence[str]) -> Iterator[pa.Table]:
        """The texts, a batch of lines at a time."""
        schema = pa.schema([(name, pa.string()) for name in needed])
        yield schema.empty_table()
        with open_text(self.path) as lines:
            for texts in _batches(line.strip() for line in lines if line.strip()):
                yield pa.table([pa.array(texts, pa.string()) for _ in needed], schema=schema)


class JsonFile:
    """A list of objects, or one object a line; the keys of all of them are the columns; or SQuAD's articles.

    Of lines, ``names`` has the keys of those that were read, at first of one batch.

    A list is parsed whole; of lines, only a batch of rows is in memory.

    Args:
        path: a ``.json`` or ``.jsonl`` file.
        mappings: columns that may hold objects, or lists of objects or lists, which become JSON texts.
    Raises:
        RequestError: it is not UTF-8, is empty, or is not JSON.
    """

    def __init__(self, path: Path, mappings: Collection[str] = ()) -> None:
        check_text(path)
        self.path = path
        self.mappings = mappings
        self._list: list[object] | None = None
        with open_text(path) as lines:
            if path.suffix.lower() == ".json" and _starts_with_list(lines):
                parsed = _parse(path, lines.read(), 1)
                self._list = parsed if isinstance(parsed, list) else [parsed]
            elif path.suffix.lower() == ".json" and looks_nested(lines.read(LOOK)):
                lines.seek(0)
                self._list = _nested_questions(path, lines.read())
        self.names: list[str] = []
        self._note_names(itertools.islice(self._rows(), BATCH_ROWS))

    def learn_names(self) -> None:
        """Read all rows for their keys."""
        self._note_names(self._rows())

    def _note_names(self, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
        known = set(self.names)
        for _, row in rows:
            if not row.keys() <= known:
                self.names += [name for name in row if name not in known]
                known.update(row)

    def tables(self, needed: Sequence[str]) -> Iterator[pa.Table]:
        """The columns that are needed, a batch of rows at a time; null where an object lacks one.

        Half a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD, and a warning says so.

        Raises:
            RequestError: values that are of several kinds, too large, or neither texts nor labels; a needed key that
                an object has twice.
        """
        replaced: list[str] = []  # where
        for rows in _batches(self._rows()):
            self._note_names(rows)
            for where, row in rows:
                twice = row.twice & set(needed) if isinstance(row, _RepeatedKeys) else None
                if twice:
                    raise RequestError(f"{self.path}: {where} has the key '{min(twice)}' more than once: remove one")
            yield pa.table([self._array(name, rows, replaced) for name in needed], names=list(needed))
        if replaced:
            logger.warning(
                "%s: %d texts hold half a character (an emoji that was cut, say), the first in %s: it was replaced by"
                " U+FFFD",
                *(self.path, len(replaced), replaced[0]),
            )

    def _array(self, name: str, rows: Sequence[tuple[str, dict[str, Any]]], replaced: list[str]) -> pa.Array:
        values = [row.get(name) for _, row in rows]
        if name in self.mappings and any(map(_holds_more, values)):
            for (where, _), value in zip(rows, values, strict=True):
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, _RepeatedKeys):
                        raise RequestError(f"{self.path}: {where} has '{min(part.twice)}' in '{name}' more than once")
            return json_texts(values)
        try:
            try:
                array = pa.array(values)
            except UnicodeEncodeError:
                whole = [_whole(value) for value in values]
                changed = zip(rows, values, whole, strict=True)
                replaced += [where for (where, _), before, after in changed if before != after]
                array = pa.array(whole)
        except (pa.ArrowException, OverflowError, RecursionError) as error:
            raise self._refused(name, rows, error) from error
        if plain_type(array.type) is None:
            raise RequestError(
                f"{self.path}: the values of '{name}' are {_shown(array.type)}: texts, numbers or lists of them are"
                " needed; name another column"
            )
        return array

    def _refused(self, name: str, rows: Sequence[tuple[str, dict[str, Any]]], error: Exception) -> RequestError:
        """In one line, with the first row that differs from the one before it."""
        kinds = [(where, type(row[name]).__name__) for where, row in rows if row.get(name) is not None]
        other = next((pair for pair in itertools.pairwise(kinds) if pair[0][1] != pair[1][1]), None)
        if other is None:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return RequestError(f"{self.path}: the values of '{name}' cannot be read as one kind: {reason:.200}")
        (_, first), (where, second) = other
        return RequestError(
            f"{self.path}: the values of '{name}' are of several kinds: {where} has {second} after {first}"
        )

    def _rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each object, and where it is."""
        for where, row in self._values():
            if not isinstance(row, dict):
                raise RequestError(f"{self.path}: {where} is {type(row).__name__}: one JSON object each is needed")
            yield where, row

    def _values(self) -> Iterator[tuple[str, object]]:
        if self._list is not None:
            for number, value in enumerate(self._list, start=1):
                yield f"example {number}", value
            return
        with open_text(self.path) as lines:
            for line, content in enumerate(lines, start=1):
                if content.strip():  # with its end, an error there would be in the next line
                    yield f"line {line}", _parse(self.path, content.rstrip(), line)


def _holds_more(value: object) -> bool:
    """Whether it is a mapping, or a list of mappings or lists."""
    return isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(part, dict | list) for part in value)
    )


def json_texts(values: Sequence[Any]) -> pa.Array:
    """Mappings (also as lists of pairs, as Arrow gives them) and lists of such as JSON texts; null for none."""
    return pa.array([None if each is None else json.dumps(_plain(each), default=str) for each in values], pa.string())


def _plain(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return dict(value)
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _nested_questions(path: Path, content: str) -> list[object] | None:
    """The questions of a file of articles; None where it is not one, and may be one of objects in lines."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return None  # whoever reads the lines says what is wrong
    found = questions_of(parsed, path)
    return None if found is None else [*found]


class _RepeatedKeys(dict[str, Any]):
    """A JSON object that has a key more than once."""

    twice: set[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        row = _RepeatedKeys(row)
        row.twice = {name for name, count in Counter(name for name, _ in pairs).items() if count > 1}
    return row


def _parse(path: Path, content: str, first_line: int) -> object:
    try:
        return json.loads(content, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise RequestError(f"{path}: not JSON in line {line}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise RequestError(
            f"{path}: the JSON that starts in line {first_line} is nested too deeply: objects of texts and numbers are"
            " needed"
        ) from error
    except ValueError as error:  # Python reads whole numbers of 4,300 digits at most
        raise RequestError(
            f"{path}: the JSON that starts in line {first_line} has a number that is too long: {error!s:.60}"
        ) from error


def _starts_with_list(lines: TextIO) -> bool:
    start = next((content for content in lines if content.strip()), "")
    lines.seek(0)
    return start.lstrip().startswith("[")


def _whole(value: object) -> object:
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return HALF_CHARACTER.sub("\ufffd", value) if isinstance(value, str) else value


def _shown(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return "objects"
    return "lists of lists or of objects" if pa.types.is_list(kind) else str(kind)


def open_text(path: Path) -> TextIO:
    """The lines of a file that `check_text` has found to be text."""
    return path.open(encoding="utf-8-sig", newline="")


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        yield batch


# ---- csv and tsv ----


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


# ---- is it text? ----


def check_text(path: Path) -> None:
    """Read the file once for what is not UTF-8 text, so that the error comes before any other and knows the line."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = lines = pending = 0  # bytes and line ends before this chunk; bytes of a character that it cuts
    blank = True
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            if done == 0:
                sign = next((sign for sign in SIGNS if chunk.startswith(sign)), None)
                if sign:
                    raise RequestError(f"{path}: not UTF-8 text but {SIGNS[sign]}")
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
