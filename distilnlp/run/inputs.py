"""What a run depends on and does not hold: its data and the models from outside, by digests in ``inputs.json``.

The same command goes on with a run only as long as they are what they were when a stage was begun.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from datasets import Dataset

from distilnlp.checksums import file_checksum
from distilnlp.data.columns import EXAMPLE_WEIGHT
from distilnlp.data.task import Task
from distilnlp.errors import RequestError
from distilnlp.models.loading import model_files
from distilnlp.problems import TEACHER_LOGITS, TEACHER_TEXT
from distilnlp.run.folder import INPUTS
from distilnlp.run.plan import Plan, StagePlan
from distilnlp.run.vocabulary import vocabulary_files
from distilnlp.whole_files import write_text

__all__ = ["Inputs", "data_digest", "data_entry", "model_digest"]

VERSION = 1
_ROWS = 10_000  # that are digested at a time
_COLUMNS = ("text", "text_pair", "label", EXAMPLE_WEIGHT, TEACHER_LOGITS, TEACHER_TEXT)  # those that are read
WAY_OUT = "put back what it was, give another folder with --output, or start over with --fresh"


class Inputs:
    """The digests of a plan's stages, each taken when it is first asked for, and those that a run's folder has kept.

    Args:
        folder: of the run.
        plan, tasks: of the run, as they are now.
    """

    def __init__(self, folder: Path, plan: Plan, tasks: Mapping[str, Task]) -> None:
        self.file = folder / INPUTS
        self._plan, self._tasks = plan, tasks
        self._data: dict[int, dict[str, Any]] = {}
        self._models: dict[str, dict[str, str]] = {}

    def _of_stage(self, name: str) -> dict[str, Any]:
        task, stage = self._tasks[name], self._plan.stages[name]
        if id(task) not in self._data:
            sets = {"train": task.train, "validation": task.validation, **task.extra}
            self._data[id(task)] = {key: data_entry(task, data) for key, data in sets.items() if data is not None}
        generate = stage.data.generate
        writer = () if generate is None or generate.model is None else (generate.model,)
        models = (stage.start, *stage.teaching_models, *writer, *stage.spec.part_models.values())
        outside = [each for each in models if self._plan.stage_of(each) is None]
        for each in outside:
            if each not in self._models:
                self._models[each] = model_digest(each)
        data = {**self._data[id(task)], **self._vocabulary(stage)}
        return {"data": data, "models": {each: self._models[each] for each in outside}}

    @staticmethod
    def _vocabulary(stage: StagePlan) -> dict[str, Any]:
        """The files that a stage's vocabulary is made of beside its data, by their paths."""
        spec = None if stage.spec.student is None else stage.spec.student.vocabulary
        files = [] if spec is None else [Path(file) for part in vocabulary_files(spec) for file in part]
        return {str(file): _file_entry(file) for file in files if file.is_file()}

    def check(self, begun: Sequence[str]) -> None:
        """Compare them with those that were kept when the stages were begun.

        Args:
            begun: the stages that were begun; the others may change.
        Raises:
            RequestError: another thing than then (says which, and what it was); ``inputs.json`` is damaged or missing.
        """
        kept = self._kept(begun)
        for name in begun:
            if name not in kept:
                raise RequestError(f"{self.file} says nothing of the stage '{name}', which was begun: {WAY_OUT}")
            changed = _difference(kept[name], self._of_stage(name))
            if changed is not None:
                raise RequestError(f"{changed} when stage '{name}' was begun: {WAY_OUT}")

    def keep(self) -> None:
        """Write ``inputs.json``, before a stage is begun."""
        stages = {name: self._of_stage(name) for name in self._plan.stages}
        write_text(self.file, json.dumps({"version": VERSION, "stages": stages}, indent=1) + "\n")

    def _kept(self, begun: Sequence[str]) -> dict[str, Any]:
        if not begun:
            return {}
        try:
            values = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RequestError(
                f"there is no {self.file}, so nobody can tell whether the data and models are what they were when the "
                "run began: give another folder with --output, or start over with --fresh"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise RequestError(f"{self.file} is damaged ({reason}): give another --output, or use --fresh") from error
        known = isinstance(values, dict) and values.get("version") == VERSION
        if not known or not isinstance(values.get("stages"), dict):
            raise RequestError(f"{self.file} is damaged or of another version: give another --output, or use --fresh")
        return dict(values["stages"])


def _difference(was: Any, now: Mapping[str, Any]) -> str | None:
    """The first thing that changed, in words that end before "when"."""
    was = was if isinstance(was, dict) else {}
    old, new = ({**(values.get("data") or {})} for values in (was, now))
    for key in {**old, **new}:
        if old.get(key) != new.get(key):
            return f"the data changed: {key} is now {_shown(new.get(key))} and was {_shown(old.get(key))}"
    old, new = ({**(values.get("models") or {})} for values in (was, now))
    for model in {**old, **new}:
        files, before = new.get(model, {}), old.get(model, {})
        for file in {**before, **files}:
            if before.get(file) != files.get(file):
                is_now, was_then = files.get(file, "not there"), before.get(file, "not there")
                return f"the model {model} changed: its {file} is now {is_now} and was {was_then}"
    return None


def _shown(entry: Mapping[str, Any] | None) -> str:
    return "not there" if entry is None else f"{entry.get('rows')} rows of the digest {entry.get('digest')}"


# ---- data ----


def _file_entry(path: Path) -> dict[str, Any]:
    """As `data_entry`, of the lines of a text file."""
    return {"rows": path.read_bytes().count(b"\n"), "digest": file_checksum(path)[:16]}


def data_entry(task: Task, data: Dataset) -> dict[str, Any]:
    """How many ``rows`` a set of the task has, and a ``digest`` of its texts, their labels and what those mean."""
    hashed = xxhash.xxh3_128(repr((task.problem.labelled_as, task.label_names)).encode())
    hashed.update(data_digest(data))
    return {"rows": len(data), "digest": hashed.hexdigest()[:16]}


def data_digest(data: Dataset) -> bytes:
    """Of the texts and labels of a data set, in their order: the same on every machine, wherever the rows lie.

    The rows are read once, where they lie, and take 8 bytes a column in memory: a million a second.
    """
    columns = [name for name in _COLUMNS if name in data.column_names]
    hashed = xxhash.xxh3_128(" ".join(columns).encode())
    # To gather rows one by one in a random order takes twenty times as long as to read them all. Nothing public tells
    # the order of a selection.
    chosen = data._indices
    whole = chosen is not None and len(chosen) > data.data.num_rows / 20
    rows = Dataset(data.data) if whole else data
    order = np.asarray(chosen.column(0)) if whole else slice(None)
    for name in columns:
        batches = rows.select_columns([name]).with_format("arrow").iter(_ROWS)
        parts = [_row_digests(batch[name].combine_chunks()) for batch in batches]
        hashed.update(np.concatenate([np.empty(0, np.uint64), *parts])[order].tobytes())
    return hashed.digest()


def _row_digests(array: pa.Array) -> np.ndarray:
    """64 bits ``(rows,)`` of each value."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    kinds = pa.types
    digests: np.ndarray
    if kinds.is_integer(array.type) or kinds.is_floating(array.type) or kinds.is_boolean(array.type):
        digests = _numbers(array.fill_null(0)).view(np.uint64)
    elif kinds.is_list(array.type) or kinds.is_large_list(array.type) or kinds.is_fixed_size_list(array.type):
        inner = array.flatten()  # of the rows that are no nulls
        plain = kinds.is_integer(inner.type) or kinds.is_floating(inner.type)
        values = (_numbers(inner) if plain else _row_digests(inner)).data.cast("B")
        ends = np.cumsum(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)) * 8
        rows = (values[start:end] for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=False))
        digests = np.fromiter(map(xxhash.xxh3_64_intdigest, rows), np.uint64, len(array))
    elif kinds.is_struct(array.type):
        texts = (json.dumps(row, sort_keys=True, default=str).encode() for row in array.to_pylist())
        digests = np.fromiter(map(xxhash.xxh3_64_intdigest, texts), np.uint64, len(array))
    else:
        texts = array.cast(pa.large_string()).cast(pa.large_binary()).fill_null(b"").to_pylist()
        digests = np.fromiter(map(xxhash.xxh3_64_intdigest, texts), np.uint64, len(array))
    # What is missing is no empty text and no 0.
    missing: np.ndarray = array.is_null().to_numpy(zero_copy_only=False)
    return np.where(missing, ~digests, digests)


def _numbers(array: pa.Array) -> np.ndarray:
    """As float64 or int64, so that a label is the same in whatever width it is stored."""
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values.astype(np.float64 if values.dtype.kind == "f" else np.int64))


# ---- models ----


def model_digest(name: str) -> dict[str, str]:
    """File -> checksum of what is read of a model from outside: weights, config and tokenizer."""
    return {file: file_checksum(path)[:16] for file, path in model_files(name).items()}
