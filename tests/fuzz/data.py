"""Damaged data files: strange cells, columns and types, broken bytes."""

import csv
import io
import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distilnlp.data import load_task
from distilnlp.run.predict import read_texts
from tests.fuzz.answers import Case
from tests.fuzz.mutate import damage_bytes, damage_text, strange, typo

__all__ = ["damaged_data"]

KINDS = ("csv", "tsv", "json", "jsonl", "parquet")
COLUMNS = ("text", "text_pair", "label", "id", "", "idx", "a b", "sentence1", "question", "score", "Text", "label")
LABELS = (
    ("good", "bad"),
    (0, 1),
    (-1, 0, 1),
    (1.5, 2.25, 0.0),
    ("1", "2", "x"),
    ("C", "C++"),
    ([0, 1], [1, 0]),
    (["joy"], ["joy", "anger"], []),
    (True, False),
    ("0,5", "1,5"),
    ("['a']", "[]"),
    ("2020-01-01", "2021-01-01"),
    (b"\x00\xff", b"a"),
)


def damaged_data(rng: random.Random, folder: Path, data: str, model: str) -> Case:
    """A file that is loaded as a task, or read for prediction."""
    kind = rng.choice(KINDS)
    path = folder / f"data.{kind}"
    rows, said = _rows(rng)
    raw = _write(rng, kind, rows)
    if rng.random() < 0.35:
        said.append("bytes")
        raw = damage_bytes(rng, raw) if kind == "parquet" or rng.random() < 0.3 else _damaged_text(rng, raw)
    path.write_bytes(raw)
    target = path
    if rng.random() < 0.08:
        target = folder / "set"
        target.mkdir()
        os.replace(path, target / rng.choice((f"train.{kind}", f"train-00000-of-00002.{kind}", f"x.{kind}")))
        if rng.random() < 0.5:
            os.mkfifo(target / f"validation.{kind}")
    options: dict[str, Any] = {}
    for key in ("text", "text_pair", "label"):
        if rng.random() < 0.15:
            options[key] = rng.choice(COLUMNS)
    if rng.random() < 0.2:
        options["problem_type"] = rng.choice(
            ("regression", "single_label_classification", "multi_label_classification", "nothing")
        )
    if rng.random() < 0.1:
        options["validation"] = rng.choice((str(target), str(folder), data, "nothing.csv"))
    if rng.random() < 0.1:
        options[rng.choice(("max_train", "max_validation", "seed"))] = rng.choice((0, 1, 5, -1, 10**9))

    def call() -> None:
        if not options and rng.random() < 0.2:
            read_texts(target, None, None)
            return
        task = load_task(str(target), **options)
        for part in (task.train, task.validation):
            part[: len(part)]

    return Case(f"{kind}: {'; '.join(said)} {options or ''}", call)


def _rows(rng: random.Random) -> tuple[dict[str, list[Any]], list[str]]:
    """Columns of one length, and what is strange about them."""
    count = rng.choice((0, 1, 2, 3, 20, 20, 20, 60))
    labels = rng.choice(LABELS)
    columns: dict[str, list[Any]] = {
        "text": [f"film {row} was {rng.choice(('good', 'bad', 'long', 'Été'))}" for row in range(count)],
        "label": [labels[row % len(labels)] for row in range(count)],
    }
    said = [f"{count} rows, labels {labels!r}"]
    for _ in range(rng.choice((0, 1, 1, 2))):
        how = rng.randrange(5)
        name = rng.choice(list(columns)) if columns else "text"
        if how == 0 and count:
            value = strange(rng)
            columns.setdefault(name, [None] * count)[rng.randrange(count)] = value
            said.append(f"a cell of {name} is {repr(value)[:60]}")
        elif how == 1:
            columns[typo(rng, name)] = columns.pop(name, [None] * count)
            said.append(f"{name} misspelt")
        elif how == 2:
            new = rng.choice(COLUMNS)
            value = strange(rng)
            columns[new] = [value] * count
            said.append(f"{new!r} is {repr(value)[:60]}")
        elif how == 3:
            columns = {f"c{i}": [i] * count for i in range(rng.choice((0, 100)))} | columns
            said.append("many columns")
        else:
            columns[name] = [strange(rng) for _ in range(count)]
            said.append(f"{name} of everything")
    return columns, said


def _write(rng: random.Random, kind: str, columns: dict[str, list[Any]]) -> bytes:
    if kind == "parquet":
        return _parquet(rng, columns)
    names = list(columns)
    rows = list(zip(*columns.values(), strict=True))
    if kind in ("json", "jsonl"):
        shown = [dict(zip(names, map(_plain, row), strict=True)) for row in rows]
        if kind == "jsonl" or rng.random() < 0.3:
            return "\n".join(json.dumps(row) for row in shown).encode()
        return json.dumps(rng.choice((shown, shown, {"data": shown}, shown[:1] and shown[0]))).encode()
    file = io.StringIO()
    if rng.random() < 0.1 and names:
        names.append(names[0])
    writer = csv.writer(file, delimiter="\t" if kind == "tsv" else rng.choice((",", ",", ",", ";")))
    writer.writerows([names, *rows])
    return file.getvalue().encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _parquet(rng: random.Random, columns: dict[str, list[Any]]) -> bytes:
    arrays, names = [], []
    for name, values in columns.items():
        arrays.append(_array(values))
        names.append(name)
    count = len(arrays[0]) if arrays else 0
    for _ in range(rng.choice((0, 0, 1))):
        kind = rng.choice(
            (
                *(pa.map_(pa.string(), pa.int64()), pa.binary(2), pa.date32(), pa.time64("us"), pa.duration("s")),
                *(pa.decimal128(5, 2), pa.null(), pa.struct([("a", pa.int8())]), pa.large_list(pa.string())),
                *(
                    pa.float16(),
                    pa.dictionary(pa.int8(), pa.string()),
                    pa.timestamp("ns", "UTC"),
                    pa.list_(pa.int8(), 2),
                ),
            )
        )
        arrays.append(pa.nulls(count, kind))
        names.append(rng.choice(("unused", "label", "text", "")))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=names), sink)
    return sink.getvalue()


def _array(values: list[Any]) -> pa.Array:
    """Of whatever type holds them and can be written, else as text."""
    try:
        made = pa.array(values)
        pq.write_table(pa.table({"a": made}), io.BytesIO())
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return pa.array([repr(value) for value in values])
    return made


def _damaged_text(rng: random.Random, raw: bytes) -> bytes:
    return damage_text(rng, raw.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")
