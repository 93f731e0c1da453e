"""Tasks that are learned from texts alone: vectors, vectors of parallel text, and texts that are their own labels."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from datasets import Dataset

from distilnlp.data.columns import find_text_columns
from distilnlp.data.custom import pairs_of
from distilnlp.data.files import HELD_OUT, SUFFIXES, file_at, find_split, read_files
from distilnlp.data.glue import load_named
from distilnlp.data.glue_table import known_name
from distilnlp.data.hub import HubData, read_hub
from distilnlp.data.load_measured import named_pairs
from distilnlp.data.parallel import (
    held_out_texts,
    parallel_columns,
    read_parallel,
    split_parallel,
    training_texts,
)
from distilnlp.data.raw_text import raw_texts, split_texts
from distilnlp.data.request import Request
from distilnlp.data.sentences import are_scored, held_out_part, scored_pairs, single_texts
from distilnlp.data.task import Task, with_notes
from distilnlp.errors import RequestError
from distilnlp.problems import Problem, get_problem
from distilnlp.problems.base import label_feature
from distilnlp.problems.sentence_embedding import SentenceEmbedding

__all__ = ["load_raw", "load_vectors"]

logger = logging.getLogger(__name__)


def load_vectors(
    name: str | Path, data_dir: str | Path | None, validation: str | Path | None, request: Request
) -> Task:
    """Texts without their labels, and what vectors are measured on: pairs with a score, parallel text, or texts.

    Args:
        name, data_dir, validation: as for `load_task`.
        request: what is said of the data.
    Raises:
        RequestError, RunError: as `load_task`.
    """
    if request.translations:
        return _load_parallel(name, data_dir, validation, request)
    texts = _texts_of(name, data_dir, request, "pairs")
    held_out: Dataset | None
    if validation is not None:
        # The columns that are named for the texts are not theirs.
        held_out = scored_pairs(*named_pairs(validation, data_dir, replace(request, text=None, text_pair=None)))
    else:
        held_out = _own_held_out(texts)
    _check_scores_are_read(request, name if validation is None else validation, held_out)
    found = single_texts(texts.train, texts.columns, texts.where, held_out)
    train, notes = found.rows, found.notes
    if held_out is None:
        train, held_out = held_out_part(train, request.seed, texts.where)
    if "label" not in held_out.column_names:
        notes = (*notes, f"{len(held_out)} texts without scores are held out")
        logger.warning(
            "%s: there are no pairs with a score, so that vectors are measured by their agreement with the teacher's "
            "alone: give validation= (--validation), a file with two texts and a number a row, or stsb, for more",
            texts.where,
        )
    problem = get_problem(str(request.problem))
    return _task_of(texts, problem, *_limited(train, held_out, request), notes)


def load_raw(name: str | Path, data_dir: str | Path | None, validation: str | Path | None, request: Request) -> Task:
    """Texts that are their own labels; what labels stand beside them is not read.

    Args:
        name, data_dir, validation: as for `load_task`.
        request: what is said of the data.
    Raises:
        RequestError, RunError: as `load_task`.
    """
    texts = _texts_of(name, data_dir, request, None if validation else "texts")
    train = raw_texts(texts.train, texts.columns, texts.where)
    train, held_out, notes = split_texts(train, _raw_held_out(validation, texts, request), request.seed, texts.where)
    return _task_of(texts, get_problem(str(request.problem)), *_limited(train, held_out, request), notes)


def _load_parallel(
    name: str | Path, data_dir: str | Path | None, validation: str | Path | None, request: Request
) -> Task:
    """Texts with their translations, and parallel rows or pairs with a score to measure on."""
    if known_name(name):
        raise RequestError(f"task '{name}' has no translations: leave translations= out, or name a file")
    if request.text_pair is not None:
        raise RequestError("a text and its translation are text= and translations=: leave text_pair= out")
    texts = _texts_of(name, data_dir, request, "texts" if validation is None else None)
    rows = read_parallel(texts.train, texts.columns, texts.where)
    held_out, where = texts.validation, f"the held-out part of {texts.where}"
    hub, split = texts.hub, None if validation is None else str(validation)
    if hub is not None and split is None:
        split = hub.held_out(None)
    if hub is not None and split is not None and split in hub.splits:
        where, rows_of = f"{texts.source} {split}", hub.splits[split]
        columns = parallel_columns(rows_of.column_names, where, request.translations, texts.columns[0])
        held_out = rows_of.select_columns([*columns])
    elif validation is not None:
        held_out, where = _held_out_parallel(validation, data_dir, replace(request, text=texts.columns[0]))
    _check_scores_are_read(request, name if validation is None else validation, held_out)
    notes: tuple[str, ...] = ()
    if held_out is not None and "label" in held_out.column_names:
        measured = _some(scored_pairs(held_out, where), request.seed, request.max_validation)
    else:
        if held_out is None:
            rows, others = split_parallel(rows, request.seed, texts.where)
        else:
            others = read_parallel(held_out, texts.columns, where)
        measured, notes = held_out_texts(_some(others, request.seed, request.max_validation), where)
    # Rows, for a source is to have its translations.
    train, said = training_texts(_some(rows, request.seed, request.max_train), texts.where, measured)
    return _task_of(texts, SentenceEmbedding(request.translations), train, measured, (*said, *notes))


def _check_scores_are_read(request: Request, measured: str | Path, held_out: Dataset | None) -> None:
    """Raise RequestError for a label that is named where no pairs of a file are measured on, which alone have one."""
    if held_out is not None and "label" in held_out.column_names and not known_name(measured):
        return
    for option, value in (("label", request.label), ("label_names", request.label_names)):
        if value is not None:
            raise RequestError(
                f"no labels teach vectors: {option}= is of held-out pairs of texts with a score, and {measured} is no"
                " file of such: leave it out, or give one as validation= (--validation)",
                key=[option],
            )


def _own_held_out(texts: "_Texts") -> Dataset | None:
    """What the data hold out themselves: pairs with a score, or else the texts; None where that is nothing."""
    own, where = texts.validation, f"the held-out part of {texts.where}"
    if own is None:
        return None
    if are_scored(own):
        return scored_pairs(own, where)
    return single_texts(own, [name for name in own.column_names if name != "label"], where).rows


def _held_out_parallel(name: str | Path, data_dir: str | Path | None, request: Request) -> tuple[Dataset, str]:
    """Parallel rows where the file has a column of a translation, else pairs with a score."""
    pairs = replace(request, text=None, translations=(), optional=True)
    if known_name(name):
        return named_pairs(name, data_dir, pairs)
    where = str(name)
    seen: list[str] = []

    def choose(names: Sequence[str]) -> Sequence[str]:
        seen[:] = names
        if request.translations and not set(request.translations).isdisjoint(names):
            return parallel_columns(names, where, request.translations, request.text)
        return pairs.read_from(names, where)

    data = read_files([file_at(name)], choose)
    if not set(request.translations).isdisjoint(seen):
        return data, where
    return pairs_of(data, pairs.columns(data.column_names, where), where, pairs), where


def _raw_held_out(validation: str | Path | None, texts: "_Texts", request: Request) -> Dataset | None:
    """The column ``text`` of what is held out: what is asked for, or of the data themselves; None where neither is."""
    if texts.hub is not None:
        split = texts.hub.held_out(str(validation) if validation else None)
        if split is None:
            return None
        held_out, where = texts.hub.splits[split], f"{texts.source} {split}"
        columns = find_text_columns(held_out.column_names, where, request.text, request.text_pair)
        return raw_texts(held_out, columns, where)
    held_out = _read_texts([file_at(validation)], request) if validation else texts.validation
    where = str(validation) if validation else f"the held-out part of {texts.where}"
    return None if held_out is None else raw_texts(held_out, held_out.column_names, where)


@dataclass(frozen=True)
class _Texts:
    """Where texts come from, with the labels that nobody reads.

    Args:
        name: of the task.
        train: with the columns ``columns``.
        where: what to call the data in an error.
        source, dataset_id: as in `Task`.
        validation: what the data hold out themselves, as `_texts_of` was told; None where that is nothing.
        hub: the Hub data set that they are the training split of; None where they are from elsewhere.
    """

    name: str
    train: Dataset
    columns: tuple[str, ...]
    where: str
    source: str
    dataset_id: str | None = None
    validation: Dataset | None = None
    hub: HubData | None = None


def _texts_of(
    name: str | Path, data_dir: str | Path | None, request: Request, held_out: Literal["pairs", "texts"] | None
) -> _Texts:
    """Texts to learn from, by name, file, folder or Hub id.

    Args:
        held_out: how the held-out part of a task or a folder is read: pairs with ``text``, ``text_pair`` and
            ``label``, or the texts alone; None leaves it unread.
    """
    known = known_name(name)
    if known:
        task = load_named(known, data_dir)
        train: Dataset = task.train
        own: Dataset = task.validation
        columns = tuple(each for each in train.column_names if each != "label")
        if held_out != "pairs":
            own = own.select_columns([*columns])
        return _Texts(task.name, train, columns, known, task.source, task.dataset_id, validation=own)
    path = Path(name)
    if os.path.isdir(path):
        files = find_split(path, ["train"])
        if not files:
            raise RequestError(f"{path}: no training file in this folder: train.txt (.csv, .tsv, .jsonl, .parquet)")
        read, others = _read_texts(files, request), find_split(path, HELD_OUT)
        reading = {"pairs": _read_scored, "texts": _read_texts}
        validation = reading[held_out](others, request) if held_out and others else None
        stem = path.resolve().name
        return _Texts(stem, read, (*read.column_names,), str(files[0]), stem, validation=validation)
    if os.path.exists(path) or isinstance(name, Path) or path.suffix.lower() in SUFFIXES or "/" not in str(name):
        read = _read_texts([file_at(path)], request)
        return _Texts(path.stem, read, (*read.column_names,), str(path), path.name)
    hub = read_hub(str(name))
    columns = _text_columns(hub.train.column_names, hub.name, request)
    return _Texts(hub.short_name, hub.train, columns, f"{name} train", hub.name, hub.repository, hub=hub)


def _read_texts(paths: list[Path], request: Request) -> Dataset:
    return read_files(paths, lambda names: _text_columns(names, str(paths[0]), request))


def _text_columns(names: Sequence[str], where: str, request: Request) -> tuple[str, ...]:
    if request.translations:
        return parallel_columns(names, where, request.translations, request.text)
    return find_text_columns(names, where, request.text, request.text_pair)


def _read_scored(paths: list[Path], request: Request) -> Dataset:
    """Pairs with a score, in the package's columns; or the texts, where these are single or have no label."""
    if paths[0].suffix.lower() != ".txt":
        data, columns = replace(request, optional=True).read(paths)
        if columns.label is not None and columns.text_pair is not None:
            return pairs_of(data, columns, str(paths[0]), request)
    return _read_texts(paths, request)


def _task_of(texts: _Texts, problem: Problem, train: Dataset, held_out: Dataset, notes: Sequence[str]) -> Task:
    metrics = problem.metrics_for(None, label_feature(held_out.features))
    return Task(
        name=texts.name,
        train=train,
        validation=held_out,
        label_names=None,
        problem=problem,
        metrics=metrics,
        main_metric=metrics[0],
        source=with_notes(texts.source, notes),
        dataset_id=texts.dataset_id,
    )


def _limited(train: Dataset, held_out: Dataset, request: Request) -> tuple[Dataset, Dataset]:
    return _some(train, request.seed, request.max_train), _some(held_out, request.seed, request.max_validation)


def _some(dataset: Dataset, seed: int, count: int | None) -> Dataset:
    """So many rows, seeded, in the order of the data."""
    if count is None or count >= len(dataset):
        return dataset
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    return dataset.select(np.sort(chosen), keep_in_memory=True)
