"""Reads the user's csv, tsv, json, jsonl, parquet and txt files: the columns that are needed, nothing else of them."""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, List, Value

from distilnlp.data.arrow import BATCH_ROWS, write_dataset
from distilnlp.data.column_types import holds_more, plain_array, plain_type
from distilnlp.data.tagged_words import ConllFile
from distilnlp.data.text_files import JsonFile, LineFile, TableFile, json_texts
from distilnlp.errors import RequestError, listed, nearest, unknown

__all__ = ["HELD_OUT", "SUFFIXES", "file_at", "find_split", "read_files"]

CONLL = (".conll", ".bio", ".iob", ".iob2")
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt", *CONLL)
HELD_OUT = ("validation", "valid", "val", "dev")  # what the part to measure on may be called
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z")

Choose = Callable[[Sequence[str]], Sequence[str]]


def read_files(paths: Sequence[Path], choose: Choose | None = None, mappings: Collection[str] = ()) -> Dataset:
    """One data set from a file, or from the shards of one.

    csv: comma, header line, quotes around fields with commas, quotes or line breaks. tsv: tab, header line; a field
    that stands whole in quotes loses them, other quotes are text. json: a list of objects, or one object a line (as
    jsonl). txt: a text a line, the column ``text``. conll (bio, iob): a word and its tag a line, a blank line between
    sentences. All text is UTF-8. Values of csv and tsv stay strings: what they mean is decided with the column's use
    in view. Of parquet, text is text and a list is a list however it is stored.

    A column that is not needed may hold anything, and may have a name that others have too.

    The files may be larger than memory, a list of objects apart, which is parsed whole: rows are read batch by batch
    into an Arrow file that is memory-mapped and removed with the data set.

    Args:
        paths: the files, each of which has the columns that are needed.
        choose: takes the names of all columns of the first file and gives those that are needed; default: all.
        mappings: columns that may hold mappings, or lists of mappings or lists, which become JSON texts.

    Raises:
        RequestError: a file that is missing, no regular file, empty, of another kind, not UTF-8, or broken (with the
            line); a needed column that is there twice, or of a type that is neither text nor label; what ``choose``
            raises.
    """
    files = [_opened(path, mappings) for path in paths]
    needed = _needed(files[0], choose)
    dataset = write_dataset(_of_one_kind(files, needed))
    if _needed(files[0], choose) != needed:  # keys that came late: now all are known
        return write_dataset(_of_one_kind(files, _needed(files[0], choose)))
    if not len(dataset):
        where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        raise RequestError(f"{where}: no rows: a file with at least one example is needed")
    return dataset


class _File(Protocol):
    """A file, in whatever format.

    Args:
        path: where it is.
        names: of its columns, as often as they are there, as far as they are known.
    """

    path: Path
    names: list[str]

    def tables(self, needed: Sequence[str]) -> Iterator[pa.Table]:
        """The needed columns, a batch of rows at a time; then all names are known."""
        ...

    def learn_names(self) -> None:
        """Read on until all names are known."""
        ...


def _needed(file: _File, choose: Choose | None) -> list[str]:
    """The columns to be read, once each. Raises RequestError where there are none, or what ``choose`` raises."""
    known = list(dict.fromkeys(file.names))
    if not known:
        raise RequestError(f"{file.path}: no rows: a file with at least one example is needed")
    try:
        names = known if choose is None else choose(known)
    except RequestError:
        with _explained(file.path):
            file.learn_names()
        if list(dict.fromkeys(file.names)) == known:
            raise
        return _needed(file, choose)
    return list(dict.fromkeys(names))


def _opened(path: Path, mappings: Collection[str]) -> _File:
    suffix = path.suffix.lower()
    if suffix in COMPRESSED:
        raise RequestError(f"{path}: a compressed file: unpack it, and give what is in it ({', '.join(SUFFIXES)})")
    if suffix not in SUFFIXES:
        raise unknown(f"kind of file in {path}:", suffix, SUFFIXES)
    with _explained(path):
        _check_regular(path)
        if suffix == ".parquet":
            return _ParquetFile(path, mappings)
        if suffix in CONLL:
            return ConllFile(path)
        if suffix == ".txt":
            return LineFile(path)
        return TableFile(path) if suffix in (".csv", ".tsv") else JsonFile(path, mappings)


def _check_regular(path: Path) -> None:
    """Whoever opens a pipe waits for a writer, for ever perhaps, and can read it only once."""
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a name with a zero byte
        raise RequestError(f"{str(path)!r}: cannot be read: {error}") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise RequestError(f"{path}: cannot be read: it is {what}, and a regular file is needed")


def _check_columns(first: _File, file: _File, needed: Sequence[str]) -> None:
    counts = Counter(file.names)
    if not all(name in counts for name in needed):
        with _explained(file.path):
            file.learn_names()
        counts = Counter(file.names)
    missing = [name for name in needed if name not in counts]
    if missing:
        raise RequestError(
            f"{file.path}: no column '{missing[0]}', which {first.path} has: the files differ in their columns;"
            f" columns: {listed(counts)}"
        )
    twice = [name for name in needed if counts[name] > 1]
    if twice:
        raise RequestError(f"{file.path}: has the column '{twice[0]}' more than once: rename one")


def _of_one_kind(files: Sequence[_File], needed: Sequence[str]) -> Iterator[pa.Table]:
    """The tables of all files, after a check that files and rows agree in the types of their columns."""
    schema: pa.Schema | None = None
    for file in files:
        _check_columns(files[0], file, needed)
        with _explained(file.path):
            for table in file.tables(needed):
                schema = table.schema if schema is None else _joined(schema, table.schema, str(file.path))
                yield table


def _joined(first: pa.Schema, second: pa.Schema, where: str) -> pa.Schema:
    if first == second:
        return first
    try:
        return pa.unify_schemas([first, second], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        for field in first:
            other = second.field(field.name)
            try:
                pa.unify_schemas([pa.schema([field]), pa.schema([other])], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                raise RequestError(
                    f"{where}: the values of '{field.name}' are of several kinds: {field.type} and {other.type}"
                ) from error
        raise


class _ParquetFile:
    """A parquet file, of which only the columns that are needed are read."""

    def __init__(self, path: Path, mappings: Collection[str] = ()) -> None:
        self.path = path
        self.mappings = mappings
        with _undamaged(path), pq.ParquetFile(path) as file:
            self.names = list(file.schema_arrow.names)

    def learn_names(self) -> None:
        """They are known."""

    def tables(self, needed: Sequence[str]) -> Iterator[pa.Table]:
        """The needed columns, a batch of rows at a time."""
        with _undamaged(self.path), pq.ParquetFile(self.path) as file:
            schema = self._schema(file.schema_arrow, needed)
            yield schema.empty_table()
            for batch in file.iter_batches(BATCH_ROWS, columns=list(needed)):
                columns = [
                    json_texts(batch.column(name).to_pylist())
                    if self._is_mapping(name, batch.column(name).type)
                    else plain_array(batch.column(name))
                    for name in needed
                ]
                yield pa.table(columns, schema=schema)

    def _is_mapping(self, name: str, kind: pa.DataType) -> bool:
        return name in self.mappings and holds_more(kind)

    def _schema(self, stored: pa.Schema, needed: Sequence[str]) -> pa.Schema:
        fields = []
        for name in needed:
            own = stored.field(name).type
            kind = pa.string() if self._is_mapping(name, own) else plain_type(own)
            if kind is None:
                raise RequestError(
                    f"{self.path}: the values of '{name}' are {stored.field(name).type!s:.80}: texts, numbers or lists"
                    " of them are needed; name another column"
                )
            fields.append(pa.field(name, kind))
        # What `datasets` keeps there: the names of the classes.
        described = (stored.metadata or {}).get(b"huggingface")
        schema = pa.schema(fields)
        return _with_features(schema, described) if described else schema


def _with_features(schema: pa.Schema, described: bytes) -> pa.Schema:
    """With the names of the classes, where the description has them: anything may stand there."""
    try:
        features = Features.from_arrow_schema(schema.with_metadata({b"huggingface": described}))
    except Exception:
        return schema
    classes = [each.feature if isinstance(each, List) else each for each in features.values()]
    named = all(isinstance(each, Value) or _names_classes(each) for each in classes)
    return features.arrow_schema if named and features.arrow_schema.equals(schema) else schema


def _names_classes(feature: object) -> bool:
    return isinstance(feature, ClassLabel) and all(isinstance(name, str) for name in feature.names or ())


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, MemoryError, OverflowError) as error:
        raise RequestError(f"{path}: not a parquet file, or a damaged one: {_first_line(error)}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise RequestError(f"{path}: not a parquet file, or a damaged one: {_first_line(error)}") from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise RequestError(f"{path}: no such file") from error
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror or _first_line(error)}") from error


def file_at(path: str | Path) -> Path:
    """The path. Raises RequestError where nothing is there, with the nearest match."""
    path = Path(path)
    if not os.path.exists(path):
        parent = path.parent
        beside = [each.name for each in parent.iterdir() if each.is_file()] if os.path.isdir(parent) else []
        match = nearest(path.name, beside)
        raise RequestError(f"{path}: no such file" + (f": did you mean '{match}'?" if match else ""))
    return path


def find_split(folder: Path, names: Iterable[str]) -> list[Path]:
    """The file ``<name>.<suffix>`` of a folder, or its shards ``<name>-00000-of-00002.<suffix>``; empty if none.

    Raises:
        RequestError: several files could be meant, a shard is missing, or what has the name cannot be read.
    """
    with _explained(folder):
        found = sorted(folder.iterdir())
    files = [path for path in found if path.suffix.lower() in SUFFIXES]
    for name in names:
        single = [path for path in files if path.stem.lower() == name]
        shards = [path for path in files if _shard(path, name)]
        if len(single) > 1 or (single and shards):
            listed = ", ".join(path.name for path in single + shards)
            raise RequestError(f"{folder}: several files for {name}: {listed}; keep one, or name the file itself")
        if shards:
            _check_shards(folder, name, shards)
        for path in single + shards:
            with _explained(path):
                _check_regular(path)
        if single or shards:
            return single or shards
        packed = [
            path for path in found if path.suffix.lower() in COMPRESSED and path.name.lower().startswith(f"{name}.")
        ]
        if packed:
            raise RequestError(f"{packed[0]}: a compressed file: unpack it")
    return []


def _shard(path: Path, name: str) -> tuple[int, int] | None:
    """Number and count of a shard, as its name has them."""
    match = re.fullmatch(rf"{re.escape(name)}-([0-9]{{1,9}})-of-([0-9]{{1,9}})(-[0-9a-f]{{16}})?", path.stem)
    return (int(match[1]), int(match[2])) if match else None


def _check_shards(folder: Path, name: str, shards: Sequence[Path]) -> None:
    numbers = [_shard(path, name) or (0, 0) for path in shards]
    counts = sorted({count for _, count in numbers})
    if len(counts) > 1:
        listed = " and ".join(str(count) for count in counts)
        raise RequestError(f"{folder}: the names of {name}'s shards tell of {listed} in all: keep those of one set")
    there = [number for number, _ in numbers]
    missing = next((number for number in range(counts[0]) if number not in there), None)
    wrong = next(
        (path for path, number in zip(shards, there, strict=True) if number >= counts[0] or there.count(number) > 1),
        None,
    )
    if missing is not None or wrong is not None:
        which = f"number {missing:05d} is missing" if missing is not None else ""
        extra = f"{wrong.name} is one too many" if wrong is not None else ""
        raise RequestError(
            f"{folder}: {len(shards)} shards of {name} are there, their names tell of {counts[0]} (from 0): "
            + ", ".join(part for part in (which, extra) if part)
        )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
