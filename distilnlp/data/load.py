"""A task's examples by name, file or Hub id, with the same columns wherever they come from."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset

from distilnlp.data.columns import Columns
from distilnlp.data.custom import convert
from distilnlp.data.files import HELD_OUT, SUFFIXES, file_at, find_split
from distilnlp.data.glue import load_named
from distilnlp.data.glue_table import known_name, task_names
from distilnlp.data.hub import read_hub
from distilnlp.data.label_sets import label_keys
from distilnlp.data.load_generated import MakeTexts, load_generated
from distilnlp.data.load_texts import load_raw, load_vectors
from distilnlp.data.read_labels import read_label_names
from distilnlp.data.recorded import RecordedColumns
from distilnlp.data.request import Known, Request
from distilnlp.data.split import ranks_of, subset
from distilnlp.data.task import Task, with_notes
from distilnlp.errors import RequestError, unknown
from distilnlp.problems import Problem, find_problem
from distilnlp.typed import typed

__all__ = ["load_task"]


@typed
def load_task(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    validation: str | Path | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | Sequence[str] | None = None,
    label_names: str | Path | Sequence[str] | None = None,
    weight: str | None = None,
    trained: Columns | None = None,
    problem_type: str | None = None,
    group_size: int | None = None,
    without_relevant: str | None = None,
    translations: str | Sequence[str] | None = None,
    seed: int = 0,
    max_train: int | None = None,
    max_validation: int | None = None,
    recorded: RecordedColumns | None = None,
    optional_labels: bool = False,
    known: Known | None = None,
    generated: MakeTexts | None = None,
) -> Task:
    """Load a task.

    GLUE's validation sets are what is evaluated on: its test sets have no labels. Where ``data_dir`` has no QQP
    validation set but a ``validation_substitute`` (training pairs, held out), that one is used, because QQP could not
    be run at all without it; a warning and `Task.source` say that its scores do not compare with GLUE's.

    Args:
        name: a GLUE task (``mrpc``), ``mnli-sample`` or ``found-or-written`` (inside the package, offline), a csv,
            tsv, json, jsonl or parquet file, a folder with ``train`` and ``validation`` files, or a Hub data set
            (``org/name``, or ``org/name:config``).
        data_dir: for GLUE tasks, a folder ``<task>/{train,validation}.parquet`` to read instead of the Hub; None takes
            the environment variable ``DISTILNLP_DATA_DIR``, if set.
        validation: own data only: a file, or the name of a split of the Hub data set. Without it and without a
            validation split (``validation``, ``valid``, ``val``, ``dev``) a tenth of the rows is held out.
        text, text_pair, label: own data only: the columns; None finds them among common names. Several label columns,
            as a sequence or with commas between them, hold a 0 or 1 for each label of a text.
        label_names: own data only: what labels that are ids (0, 1, ...) are called, in their order; or a json file
            with a list of them.
        weight: own data only: the column that says how much each training example counts, 0 or more. What is measured
            counts every example alike.
        trained: own data only: the columns that a model was trained on, used in place of finding them.
        problem_type: own data only: None decides by the values (see `distilnlp.data.read_labels`).
        group_size: own data only, to rank: how many texts of a query a training example has at most (default 16);
            those of a query with more are dealt out to several.
        without_relevant: own data only, to rank: what becomes of a query of which no text is relevant: ``refuse``
            (default), or ``leave_out``.
        translations: own data only, for sentence embeddings: the columns of the translations of ``text``. Every text
            of a row is then one to learn from, with the source as what the teacher reads of it (``teacher_text``),
            and held-out rows are measured by how often a translation is found.
        seed: of the held-out split and of the subsets.
        max_train, max_validation: rows at most; a seeded subset that keeps the classes' shares.
        recorded: own data only: where the answers of a teacher stand. The splits then have the column
            ``teacher_logits``, ``(labels,)`` a row, in the order of ``label_names``.
        optional_labels: own data only: rows may have no label. Where none has, the splits have no column ``label``;
            where some have, the label of the others is -100 (classes), NaN (a number; of each text of a query) or
            null, they are trained on and never held out.
        known: gives the kind of task and the labels' names (of the teacher's head), for rows without labels.
        generated: makes the texts to learn from, without labels, in place of training examples that are then not read
            (see `load_generated`); ``max_train`` says nothing of them.

    Raises:
        RequestError: no such task, file or column; data that cannot be learned from; the Hub is switched off.
        RunError: the Hub cannot be reached; the packaged sample is damaged.
    """
    for option, value in (("max_train", max_train), ("max_validation", max_validation)):
        if value is not None and value < 1:
            raise RequestError(f"{option} is {value}: it must be 1 or more, or left out for all rows")
    if seed < 0:
        raise RequestError(f"seed is {seed}: it must be 0 or more", key=["seed"])
    labels = label if label is None or isinstance(label, str) else tuple(label)
    request = Request(
        text=text,
        text_pair=text_pair,
        label=labels,
        problem=problem_type,
        seed=seed,
        trained=trained,
        label_names=read_label_names(label_names),
        weight=weight,
        recorded=recorded,
        optional=optional_labels or recorded is not None,
        known=known,
        group_size=group_size,
        without_relevant=without_relevant,
        translations=(translations,) if isinstance(translations, str) else tuple(translations or ()),
        max_train=max_train,
        max_validation=max_validation,
    )
    kind = find_problem(problem_type)
    if generated is not None:
        task = load_generated(name, data_dir, validation, replace(request, optional=True), generated)
        return _limit(task, seed, None, max_validation)
    if request.translations and not (kind is not None and kind.taught_alone):
        raise RequestError(
            "translations are for sentence embeddings: add problem_type sentence_embedding (--problem-type), or leave "
            "translations out",
            key=["translations"],
        )
    if kind is not None and (kind.taught_alone or kind.labels_itself):
        _check_texts_alone(str(name), kind, request)
        if kind.taught_alone:
            return load_vectors(name, data_dir, validation, replace(request, optional=False))
        return load_raw(name, data_dir, validation, request)
    own_options: dict[str, object] = {"validation": validation, "text": text, "text_pair": text_pair, "label": label}
    own_options |= {"label_names": label_names, "weight": weight}
    own_options |= {"group_size": group_size, "without_relevant": without_relevant}
    named = known_name(name)
    if named:
        _refuse_own_options(named, own_options | {"problem_type": problem_type, "recorded": recorded})
        task = load_named(named, data_dir)
    elif data_dir is not None:
        raise RequestError(
            f"data_dir= is for GLUE tasks, and {name} is none: leave it out, or give the file's whole path"
        )
    else:
        task = _load_own(name, validation, request)
    return _limit(task, seed, max_train, max_validation)


def _check_texts_alone(name: str, kind: Problem, request: Request) -> None:
    """Raise RequestError for what is said of labels and answers, where the texts alone are learned from."""
    request.refuse_of_queries(name)
    if request.weight is not None:
        raise RequestError(f"{kind.name} learns from every text alike: leave weight= out (--weight)")
    if request.recorded is not None:
        teaches = "teach logits" if kind.taught_alone else "are of classes"
        raise RequestError(f"answers in the data {teaches}, and {kind.name} has none: leave the column out")
    if kind.labels_itself and (request.label is not None or request.label_names is not None):
        raise RequestError(f"{kind.name} learns from the texts alone: leave label= out (--label)")


def _refuse_own_options(name: str, options: Mapping[str, object]) -> None:
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise RequestError(
            f"task '{name}' has its own columns and splits, {given[0]}= is for your own data: leave it out, or name"
            f" a file instead (./{name} for a folder of that name)"
        )


def _load_own(name: str | Path, validation: str | Path | None, request: Request) -> Task:
    path = Path(name)
    if os.path.isdir(path):  # False for what can be no name, where Path raises
        files = find_split(path, ["train"])
        if not files:
            raise RequestError(f"{path}: no training file in this folder: train.csv (.tsv, .json, .jsonl, .parquet)")
        held_out = [file_at(validation)] if validation else find_split(path, HELD_OUT)
        return _own_task(path.resolve().name, files, held_out, request, source=path.resolve().name)
    bare = path.suffix and "/" not in str(name)  # a task or a folder has no suffix, a Hub id has a slash
    if os.path.exists(path) or isinstance(name, Path) or path.suffix.lower() in SUFFIXES or bare:
        return _own_task(path.stem, [file_at(path)], [file_at(validation)] if validation else [], request, path.name)
    folder = Path(str(name).partition("/")[0])  # where there is one, a name with one slash is no Hub id
    if str(name).count("/") != 1 or str(name).startswith((".", "/", "~")) or os.path.isdir(folder):
        if "/" in str(name):
            raise RequestError(f"{name}: no such file or folder")
        raise unknown("task", str(name), task_names())
    return _load_from_hub(str(name), str(validation) if validation else None, request)


def _own_task(name: str, train: list[Path], validation: list[Path], request: Request, source: str) -> Task:
    data, columns = request.read(train)
    held_out = (request.read_held_out(validation, columns), str(validation[0])) if validation else None
    return _task_of(name, (data, str(train[0])), held_out, request, source, None)


def _load_from_hub(name: str, validation: str | None, request: Request) -> Task:
    hub = read_hub(name)
    train = (hub.train, f"{name} train")
    split = hub.held_out(validation)
    held_out = (hub.splits[split], f"{name} {split}") if split else None
    return _task_of(hub.short_name, train, held_out, request, name, hub.repository)


def _task_of(
    name: str,
    train: tuple[Dataset, str],
    validation: tuple[Dataset, str] | None,
    request: Request,
    source: str,
    dataset_id: str | None,
) -> Task:
    own = convert(train, validation, request)
    metrics = own.problem.metrics_for(own.label_names)
    return Task(
        name=name,
        train=own.train,
        validation=own.validation,
        label_names=own.label_names,
        problem=own.problem,
        metrics=metrics,
        main_metric=metrics[0],
        source=with_notes(source, own.notes),
        dataset_id=dataset_id,
        columns=own.columns,
        recorded=None if request.recorded is None else request.recorded.name,
    )


def _limit(task: Task, seed: int, max_train: int | None, max_validation: int | None) -> Task:
    task = replace(
        task,
        train=_subset(task.train, task.problem, seed, max_train),
        validation=_subset(task.validation, task.problem, seed, max_validation),
        extra={name: _subset(each, task.problem, seed, max_validation) for name, each in task.extra.items()},
    )
    if (
        max_train is not None
        and task.train is not None
        and task.is_labelled
        and task.problem.rows not in ("list", "span")
        and len(np.unique(ranks_of(label_keys(task.train, task.problem)))) < 2
    ):
        raise RequestError(f"max_train={max_train} leaves rows of one label only: take more")
    return task


def _subset(dataset: Dataset, problem: Problem, seed: int, count: int | None) -> Dataset:
    if count is None or count >= len(dataset):
        return dataset
    keys = label_keys(dataset, problem) if "label" in dataset.column_names else np.zeros(len(dataset))
    return dataset.select(subset(keys, count, seed), keep_in_memory=True)
