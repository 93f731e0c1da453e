"""What a run depends on and does not hold: its data and the models from outside, by digests in ``inputs.json``.

The same command goes on with a run only as long as they are what they were when a stage was begun.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from datasets import Dataset

from distilnlp.checksums import file_checksum
from distilnlp.data.load import Task
from distilnlp.errors import RequestError
from distilnlp.models.loading import model_files
from distilnlp.run.folder import INPUTS
from distilnlp.run.plan import Plan
from distilnlp.whole_files import write_text

__all__ = ["Inputs", "data_digest", "model_digest"]

VERSION = 1
_ROWS = 10_000  # that are digested at a time
_COLUMNS = ("text", "text_pair", "label")  # those that are read
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
        task, stage, stages = self._tasks[name], self._plan.stages[name], self._plan.stages
        if id(task) not in self._data:
            sets = {"train": task.train, "validation": task.validation, **task.extra}
            self._data[id(task)] = {key: _data_entry(task, data) for key, data in sets.items() if data is not None}
        outside = [each for each in (stage.start, stage.teacher) if each is not None and each not in stages]
        for each in outside:
            if each not in self._models:
                self._models[each] = model_digest(each)
        return {"data": self._data[id(task)], "models": {each: self._models[each] for each in outside}}

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


def _data_entry(task: Task, data: Dataset) -> dict[str, Any]:
    hashed = xxhash.xxh3_128(repr((task.problem.name, task.label_names)).encode())
    hashed.update(data_digest(data))
    return {"rows": len(data), "digest": hashed.hexdigest()[:16]}


def data_digest(data: Dataset) -> bytes:
    """Of the texts and labels of a data set, in their order: the same on every machine, wherever the rows lie.

    One pass over the Arrow buffers, some million rows a second.
    """
    columns = [name for name in _COLUMNS if name in data.column_names]
    hashed = xxhash.xxh3_128(" ".join(columns).encode())
    for batch in data.select_columns(columns).with_format("arrow").iter(_ROWS):
        for name in columns:
            _digest_array(batch[name].combine_chunks(), hashed.update)
    return hashed.digest()


def _digest_array(array: pa.Array, update: Callable[[Any], object]) -> None:
    """Feed the values of an array, not the buffers behind it, which begin and end where they please."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    update(f"{len(array)} {array.null_count}".encode())
    if array.null_count:
        update(np.asarray(array.is_null()).tobytes())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type) or pa.types.is_binary(array.type):
        array = array.fill_null("" if not pa.types.is_binary(array.type) else b"").cast(pa.large_binary())
        offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        update(np.diff(offsets).tobytes())
        if offsets[-1] > offsets[0]:
            update(memoryview(array.buffers()[2])[offsets[0] : offsets[-1]])
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        update(np.asarray(array.value_lengths().fill_null(0)).astype(np.int64).tobytes())
        _digest_array(array.flatten(), update)
    elif pa.types.is_null(array.type):
        return
    else:
        values = np.asarray(array.fill_null(0) if array.null_count else array)
        kind = np.float64 if values.dtype.kind == "f" else np.int64
        update(values.astype(kind).tobytes())


# ---- models ----


def model_digest(name: str) -> dict[str, str]:
    """File -> checksum of what is read of a model from outside: weights, config and tokenizer."""
    return {file: file_checksum(path)[:16] for file, path in model_files(name).items()}
