"""The tasks known by name, in the package's columns: from the Hub, a folder, or the excerpt inside this package."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset

from distilnlp.data.arrow import column_array, with_label
from distilnlp.data.columns import Columns
from distilnlp.data.embedded import read_sample, read_sentences
from distilnlp.data.files import find_split, read_files
from distilnlp.data.glue_table import DATA_DIR, GLUE, GLUE_ID, PACKAGED, SAMPLE, SENTENCES, TaskInfo
from distilnlp.data.hub import read_hub
from distilnlp.data.repeats import overlap_note, text_hashes
from distilnlp.data.task import Task, with_notes
from distilnlp.errors import RequestError, listed

__all__ = ["Official", "load_named", "official", "read_folder", "read_packaged"]

logger = logging.getLogger(__name__)

SUBSTITUTE = "validation_substitute"  # pairs of QQP's training set where its validation set is not to be had

_PACKAGED = {
    SAMPLE: (read_sample, "an excerpt of MNLI", "nyu-mll/multi_nli"),
    # No id: its labels are none of MNLI's, and its scores are not to stand under that name
    SENTENCES: (read_sentences, "premises (found) and hypotheses (written) of an excerpt of MNLI", None),
}


@dataclass(frozen=True)
class Official:
    """The splits of a GLUE task by their official names, and what a model card says about them."""

    splits: Mapping[str, Dataset]
    source: str
    dataset_id: str | None


def load_named(name: str, data_dir: str | Path | None, *, unread: Any = None) -> Task:
    """A task of the tables by the name that it has there.

    Args:
        name: as `known_name` gives it.
        data_dir: of GLUE's tasks; None takes the environment variable ``DISTILNLP_DATA_DIR``, or else the Hub.
        unread: what stands for the training rows, where nobody may look at them.
    Raises:
        RequestError: as `read_folder` and `read_hub`.
        RunError: as `read_packaged` and `read_hub`.
    """
    data_dir = data_dir or os.environ.get(DATA_DIR)
    if name in PACKAGED:
        info = PACKAGED[name]
        data = read_packaged(info)
    else:
        info = GLUE[name]
        data = read_folder(info, data_dir) if data_dir else _from_hub(info)
    matched = "validation_matched" in data.splits
    train = data.splits["train"] if unread is None else unread
    validation = data.splits["validation_matched" if matched else "validation"]
    note = overlap_note(text_hashes(train), text_hashes(validation)) if unread is None else None
    if note:
        logger.warning("%s: %s", info.name, note)
    return Task(
        name=info.name,
        train=train,
        validation=validation,
        extra={"mismatched": data.splits["validation_mismatched"]} if matched else {},
        label_names=info.label_names,
        problem=info.problem,
        metrics=info.metrics,
        main_metric=info.main_metric,
        source=with_notes(data.source, (note,) if note else ()),
        dataset_id=data.dataset_id,
        columns=Columns(info.text_columns[0], (*info.text_columns[1:], None)[0], "label"),
    )


def _from_hub(info: TaskInfo) -> Official:
    splits = read_hub(f"{GLUE_ID}:{info.name}").splits
    columns = {split: official(splits[split], info, f"{GLUE_ID} {info.name}/{split}") for split in info.splits}
    return Official(columns, GLUE_ID, GLUE_ID)


def read_packaged(info: TaskInfo) -> Official:
    """One of the tasks of the excerpt of MNLI that comes with this package.

    Raises:
        RunError: a file is missing or damaged.
    """
    read, what, dataset_id = _PACKAGED[info.name]
    splits = {split: official(data, info, f"{info.name}/{split}") for split, data in read().items()}
    return Official(splits, f"{info.name}: {what}, scores are not comparable with published ones", dataset_id)


def read_folder(info: TaskInfo, data_dir: str | Path) -> Official:
    """The splits in ``<data_dir>/<task>/``. What sets them apart from GLUE's own is logged and goes into the source.

    Raises:
        RequestError: a split or a column is not there, or labels mean something else than in GLUE.
    """
    folder = Path(data_dir) / info.name
    if not folder.is_dir():
        raise RequestError(
            f"{data_dir}: no folder '{info.name}' in this data directory: it needs {info.name}/"
            f"{{{','.join(info.splits)}}}.parquet; leave out data_dir and {DATA_DIR} to load from the Hub"
        )
    splits, notes, comparable = {}, [], True
    for split, rows in info.splits.items():
        files = find_split(folder, [split])
        if not files and info.name == "qqp" and split == "validation":
            files = find_split(folder, [SUBSTITUTE])
            notes += ["validation is a substitute, rows of GLUE's train"] if files else []
        if not files:
            raise RequestError(f"{folder}: no file for the split '{split}': {split}.parquet is needed")
        where = str(files[0])
        data = read_files(files, partial(_needed, info=info, where=where))
        splits[split] = official(data, info, where)
        if len(splits[split]) != rows:
            notes.append(f"{split} has {len(splits[split])} of GLUE's {rows} rows")
            comparable &= split == "train"
    if notes:
        logger.warning("%s: %s; scores are not comparable with published GLUE scores", info.name, "; ".join(notes))
    source = f"{GLUE_ID} ({'; '.join(notes)})" if notes else GLUE_ID
    # Without the id no score can be published under GLUE's name that was not taken on GLUE's validation set
    return Official(splits, source, GLUE_ID if comparable else None)


def official(dataset: Dataset, info: TaskInfo, where: str) -> Dataset:
    """The columns ``text``, ``text_pair`` and ``label``, after a check that labels mean what the table of tasks says.

    Raises:
        RequestError: a column is missing, or the labels are others than the task's.
    """
    needed = _needed(dataset.column_names, info, where)
    feature = dataset.features["label"]
    if isinstance(feature, ClassLabel) and tuple(feature.names) != info.label_names:
        raise RequestError(f"{where}: labels are {feature.names}: {info.name} has {list(info.label_names or ())}")
    if info.label_names:
        strange = [value for value in dataset.unique("label") if value not in range(len(info.label_names))]
        if strange:
            raise RequestError(f"{where}: label {strange[0]} is none of 0 to {len(info.label_names) - 1}")
    renamed = dict(zip(info.text_columns, ("text", "text_pair"), strict=False))
    target = info.problem.feature(info.label_names)
    if feature != target:
        dataset = with_label(dataset, column_array(dataset, "label"), target)
    return dataset.select_columns(list(needed)).rename_columns(renamed)


def _needed(names: Sequence[str], info: TaskInfo, where: str) -> tuple[str, ...]:
    needed = (*info.text_columns, "label")
    missing = [name for name in needed if name not in names]
    if missing:
        raise RequestError(
            f"{where}: no column '{missing[0]}': {info.name} has {', '.join(needed)}; this has {listed(names)}"
        )
    return needed
