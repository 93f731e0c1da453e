"""A task's examples by name, file or Hub id, with the same columns wherever they come from.

The only module of this part that uses the network.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
from datasets import Dataset, DatasetDict

from distilnlp.data.arrow import column_batches
from distilnlp.data.columns import Columns, find_text_columns
from distilnlp.data.custom import Known, Request, convert, pairs_of
from distilnlp.data.files import SUFFIXES, find_split, read_files
from distilnlp.data.glue import Official, official, read_folder, read_packaged
from distilnlp.data.glue_table import DATA_DIR, GLUE, GLUE_ID, PACKAGED, TaskInfo, task_names
from distilnlp.data.label_sets import label_keys, rows_with_label, rows_without_label
from distilnlp.data.parallel import (
    held_out_texts,
    parallel_columns,
    read_parallel,
    split_parallel,
    training_texts,
)
from distilnlp.data.ranked import QUERIES, REFUSE, RankingColumns, read_queries
from distilnlp.data.raw_text import raw_texts, split_texts
from distilnlp.data.read_labels import read_label_names
from distilnlp.data.recorded import RecordedColumns
from distilnlp.data.repeats import overlap_note, text_hashes
from distilnlp.data.sentences import are_scored, held_out_part, scored_pairs, single_texts
from distilnlp.data.split import ranks_of, subset
from distilnlp.errors import RequestError, RunError, nearest, unknown
from distilnlp.problems import (
    Problem,
    get_problem,
    means_own_labels,
    means_vectors,
    problem_of_queries,
    problem_of_vectors,
)
from distilnlp.problems.sentence_embedding import SentenceEmbedding
from distilnlp.typed import typed

__all__ = ["Task", "has_queries", "known_name", "load_pairs", "load_queries", "load_task"]

logger = logging.getLogger(__name__)

VALIDATION_NAMES = ("validation", "valid", "val", "dev")


@dataclass(frozen=True)
class Task:
    """Examples and what is to be learned from them.

    Args:
        name: the task's name, or the stem of the file.
        train, validation: columns ``text``, optional ``text_pair``, ``label`` (``ClassLabel``, float32, or, of several
            labels, a list of ``ClassLabel``).
        extra: further evaluation sets, e.g. ``mismatched``.
        label_names: position = label id; None where the problem has none (a regression).
        problem: the kind of task.
        metrics, main_metric: names as ``compute_metrics`` reports them.
        source: where the data are from, for the model card: a Hub id or a file's name; what sets the data apart from
            the official ones, and how many texts stand there several times or in both splits.
        dataset_id: the Hub id for the card's metadata, or None.
        columns: where texts and labels stand in the data as they were given; where it names a column of weights,
            ``train`` has them as ``example_weight``, and no other set has.
        recorded: what to call the teacher whose answers stand in the column ``teacher_logits``; None without one.
    """

    name: str
    train: Dataset | None
    validation: Dataset | None
    label_names: tuple[str, ...] | None
    problem: Problem
    metrics: tuple[str, ...]
    main_metric: str
    source: str
    dataset_id: str | None = None
    columns: Columns | None = None
    extra: dict[str, Dataset] = field(default_factory=dict)
    recorded: str | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether any training row has a label, or is one itself."""
        return self.train is not None and (self.problem.labels_itself or "label" in self.train.column_names)

    def labelled(self) -> "Task":
        """The task with those training rows that have a label."""
        if self.train is None or not rows_without_label(self.train):
            return self
        has_one = np.concatenate([rows_with_label(batch) for batch in column_batches(self.train, "label")])
        return replace(self, train=self.train.select(np.flatnonzero(has_one), keep_in_memory=True))


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
            where some have, the label of the others is -100 (classes), NaN (a number) or null, they are trained on and
            never held out.
        known: gives the kind of task and the labels' names (of the teacher's head), for rows without labels.

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
    names = read_label_names(label_names)
    optional = optional_labels or recorded is not None
    request = Request(
        *(text, text_pair, labels, problem_type, seed, trained, names, weight, recorded, optional, known),
        *(
            group_size,
            without_relevant,
            (translations,) if isinstance(translations, str) else tuple(translations or ()),
        ),
    )
    if request.translations and not means_vectors(problem_type):
        raise RequestError(
            "translations are for sentence embeddings: add problem_type sentence_embedding (--problem-type), or leave "
            "translations out",
            key=["translations"],
        )
    if means_vectors(problem_type) or means_own_labels(problem_type):
        request.refuse_of_queries(str(name))
        if weight is not None:
            raise RequestError(f"{problem_type} learns from every text alike: leave weight= out (--weight)")
    if means_vectors(problem_type):
        if recorded is not None:
            raise RequestError(f"answers in the data teach logits, and {problem_type} has none: leave the column out")
        request = replace(request, optional=False)
        return _load_sentences(name, data_dir, validation, request, max_train, max_validation)
    if means_own_labels(problem_type):
        if recorded is not None:
            raise RequestError(
                f"answers in the data are of classes, and {problem_type} has none: leave the column out"
            )
        if label is not None or label_names is not None:
            raise RequestError(f"{problem_type} learns from the texts alone: leave label= out (--label)")
        return _load_raw(name, data_dir, validation, request, max_train, max_validation)
    own_options: dict[str, object] = {"validation": validation, "text": text, "text_pair": text_pair, "label": label}
    own_options |= {"label_names": label_names, "weight": weight}
    own_options |= {"group_size": group_size, "without_relevant": without_relevant}
    named = known_name(name)
    if named:
        _refuse_own_options(named, own_options | {"problem_type": problem_type, "recorded": recorded})
        task = _load_named(named, data_dir or os.environ.get(DATA_DIR))
    elif data_dir is not None:
        raise RequestError(
            f"data_dir= is for GLUE tasks, and {name} is none: leave it out, or give the file's whole path"
        )
    else:
        task = _load_own(name, validation, request)
    return _limit(task, seed, max_train, max_validation)


def known_name(name: str | Path) -> str | None:
    """The task that a name stands for (``SST-2`` is ``sst2``); None for own data."""
    if isinstance(name, Path):
        return None
    plain = name.lower()
    if plain in PACKAGED:
        return plain
    plain = plain.replace("-", "").replace("_", "")  # SST-2, sst_2
    return plain if plain in GLUE else None


def _refuse_own_options(name: str, options: Mapping[str, object]) -> None:
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise RequestError(
            f"task '{name}' has its own columns and splits, {given[0]}= is for your own data: leave it out, or name"
            f" a file instead (./{name} for a folder of that name)"
        )


def _load_named(name: str, data_dir: str | Path | None) -> Task:
    if name in PACKAGED:
        info = PACKAGED[name]
        data = read_packaged(info)
    else:
        info = GLUE[name]
        data = read_folder(info, data_dir) if data_dir else _glue_from_hub(info)
    matched = "validation_matched" in data.splits
    train, validation = data.splits["train"], data.splits["validation_matched" if matched else "validation"]
    note = overlap_note(text_hashes(train), text_hashes(validation))
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
        source=_noted(data.source, (note,) if note else ()),
        dataset_id=data.dataset_id,
        columns=Columns(info.text_columns[0], (*info.text_columns[1:], None)[0], "label"),
    )


def _load_sentences(
    name: str | Path,
    data_dir: str | Path | None,
    validation: str | Path | None,
    request: Request,
    max_train: int | None,
    max_validation: int | None,
) -> Task:
    """Texts without their labels, and what vectors are measured on: pairs with a score, parallel text, or texts."""
    if request.translations:
        return _load_parallel(name, data_dir, validation, request, max_train, max_validation)
    texts = _texts_of(name, data_dir, request, "pairs")
    held_out: Dataset | None
    if validation is not None:
        # The columns that are named for the texts are not theirs.
        held_out = scored_pairs(*_named_pairs(validation, data_dir, replace(request, text=None, text_pair=None)))
    else:
        held_out = _own_held_out(texts)
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
    return _vector_task(texts, train, held_out, notes, request, max_train, max_validation)


def _vector_task(
    texts: "_Texts",
    train: Dataset,
    held_out: Dataset,
    notes: Sequence[str],
    request: Request,
    max_train: int | None,
    max_validation: int | None,
) -> Task:
    problem = get_problem(str(request.problem))
    metrics = problem.metrics_by(held_out.features.get("label"))
    return Task(
        name=texts.name,
        train=_some(train, request.seed, max_train),
        validation=_some(held_out, request.seed, max_validation),
        label_names=None,
        problem=SentenceEmbedding(request.translations) if request.translations else problem,
        metrics=metrics,
        main_metric=metrics[0],
        source=_noted(texts.source, notes),
        dataset_id=texts.dataset_id,
    )


def _own_held_out(texts: "_Texts") -> Dataset | None:
    """What the data hold out themselves: pairs with a score, or else the texts; None where that is nothing."""
    own, where = texts.validation, f"the held-out part of {texts.where}"
    if own is None:
        return None
    if are_scored(own):
        return scored_pairs(own, where)
    return single_texts(own, [name for name in own.column_names if name != "label"], where).rows


def _load_parallel(
    name: str | Path,
    data_dir: str | Path | None,
    validation: str | Path | None,
    request: Request,
    max_train: int | None,
    max_validation: int | None,
) -> Task:
    """Texts with their translations, and parallel rows or pairs with a score to measure on."""
    if known_name(name):
        raise RequestError(f"task '{name}' has no translations: leave translations= out, or name a file")
    if request.text_pair is not None:
        raise RequestError("a text and its translation are text= and translations=: leave text_pair= out")
    texts = _texts_of(name, data_dir, request, "texts" if validation is None else None)
    rows = read_parallel(texts.train, texts.columns, texts.where)
    held_out, where = texts.validation, f"the held-out part of {texts.where}"
    own = next((each for each in VALIDATION_NAMES if each in texts.splits), None)
    split = own if validation is None else str(validation)
    if split is not None and split in texts.splits:
        where = f"{texts.source} {split}"
        columns = parallel_columns(texts.splits[split].column_names, where, request.translations, texts.columns[0])
        held_out = texts.splits[split].select_columns([*columns])
    elif validation is not None:
        held_out, where = _held_out_parallel(validation, data_dir, replace(request, text=texts.columns[0]))
    notes: tuple[str, ...] = ()
    if held_out is not None and "label" in held_out.column_names:
        measured = _some(scored_pairs(held_out, where), request.seed, max_validation)
    else:
        if held_out is None:
            rows, others = split_parallel(rows, request.seed, texts.where)
        else:
            others = read_parallel(held_out, texts.columns, where)
        measured, notes = held_out_texts(_some(others, request.seed, max_validation), where)
    # Rows, for a source is to have its translations.
    train, said = training_texts(_some(rows, request.seed, max_train), texts.where, measured)
    return _vector_task(texts, train, measured, (*said, *notes), request, None, None)


def _held_out_parallel(name: str | Path, data_dir: str | Path | None, request: Request) -> tuple[Dataset, str]:
    """Parallel rows where the file has a column of a translation, else pairs with a score."""
    pairs = replace(request, text=None, translations=())
    if known_name(name):
        return _named_pairs(name, data_dir, pairs)
    where = str(name)
    seen: list[str] = []

    def choose(names: Sequence[str]) -> Sequence[str]:
        seen[:] = names
        if request.translations and not set(request.translations).isdisjoint(names):
            return parallel_columns(names, where, request.translations, request.text)
        return pairs.read_from(names, where)

    data = read_files([_file(name)], choose)
    if not set(request.translations).isdisjoint(seen):
        return data, where
    return pairs_of(data, pairs.columns(data.column_names, where), where, pairs), where


@dataclass(frozen=True)
class _Texts:
    """Where texts come from, with the labels that nobody reads.

    Args:
        name: of the task.
        train: with the columns ``columns``.
        where: what to call the data in an error.
        source, dataset_id: as in `Task`.
        validation: what the data hold out themselves, as `_texts_of` was told; None where that is nothing.
        splits: all of a Hub data set.
    """

    name: str
    train: Dataset
    columns: tuple[str, ...]
    where: str
    source: str
    dataset_id: str | None = None
    validation: Dataset | None = None
    splits: Mapping[str, Dataset] = field(default_factory=dict)


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
        task = _load_named(known, data_dir or os.environ.get(DATA_DIR))
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
        read, others = _read_texts(files, request), find_split(path, VALIDATION_NAMES)
        reading = {"pairs": _read_scored, "texts": _read_texts}
        validation = reading[held_out](others, request) if held_out and others else None
        stem = path.resolve().name
        return _Texts(stem, read, (*read.column_names,), str(files[0]), stem, validation=validation)
    if os.path.exists(path) or isinstance(name, Path) or path.suffix.lower() in SUFFIXES or "/" not in str(name):
        read = _read_texts([_file(path)], request)
        return _Texts(path.stem, read, (*read.column_names,), str(path), path.name)
    repository, _, config = str(name).partition(":")
    splits = _from_hub(repository, config or None)
    if "train" not in splits:
        raise RequestError(f"{name}: no split 'train' in this Hub data set: it has {', '.join(splits)}")
    columns = _text_columns(splits["train"].column_names, str(name), request)
    stem = repository.rsplit("/", 1)[-1]
    return _Texts(stem, splits["train"], columns, f"{name} train", str(name), repository, splits=splits)


def _read_texts(paths: list[Path], request: Request) -> Dataset:
    return read_files(paths, lambda names: _text_columns(names, str(paths[0]), request))


def _text_columns(names: Sequence[str], where: str, request: Request) -> tuple[str, ...]:
    if request.translations:
        return parallel_columns(names, where, request.translations, request.text)
    return find_text_columns(names, where, request.text, request.text_pair)


def _read_scored(paths: list[Path], request: Request) -> Dataset:
    """Pairs with a score, in the package's columns; or the texts, where these are single or have no label."""
    if paths[0].suffix.lower() != ".txt":
        data, columns = _read(paths, replace(request, optional=True))
        if columns.label is not None and columns.text_pair is not None:
            return pairs_of(data, columns, str(paths[0]), request)
    return _read_texts(paths, request)


def _read_pairs(paths: list[Path], request: Request) -> Dataset:
    """Pairs with a score, in the package's columns."""
    data, columns = _read(paths, request)
    return pairs_of(data, columns, str(paths[0]), request)


@typed
def load_pairs(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    translations: Sequence[str] = (),
) -> Task:
    """Pairs of texts with a score, or parallel text, to measure vectors on: a task without anything to learn from.

    Args:
        name: a GLUE task, of which the validation set is taken, a file, or a folder with a ``validation`` file.
        data_dir, text, text_pair, label, translations: as for `load_task`.
    Raises:
        RequestError: no such data, or pairs without a score.
    """
    problem = problem_of_vectors()
    request = Request(text, text_pair, label, problem.name, translations=tuple(translations))
    folder = Path(name)
    held_out = find_split(folder, VALIDATION_NAMES) if os.path.isdir(folder) and not known_name(name) else []
    if request.translations:
        if known_name(name) or text_pair or label:
            raise RequestError("translations= is for a file of parallel text, without text_pair= and label=")
        where = str(held_out[0] if held_out else name)
        rows = _read_texts([_file(where)], request)
        measured, _ = held_out_texts(read_parallel(rows, rows.column_names, where), where)
        problem = SentenceEmbedding(request.translations)
    else:
        pairs, where = _named_pairs(held_out[0] if held_out else name, data_dir, request)
        measured = scored_pairs(pairs, where)
    known = known_name(name)
    metrics = problem.metrics_by(measured.features["label"])
    return Task(
        name=known or Path(name).stem,
        train=None,
        validation=measured,
        label_names=None,
        problem=problem,
        metrics=metrics,
        main_metric=metrics[0],
        source=where,
    )


@typed
def load_queries(
    name: str | Path,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    trained: Columns | None = None,
    without_relevant: str | None = None,
) -> Task:
    """Queries with their texts alone, to measure on how vectors put texts in order: a task with nothing to learn from.

    Args:
        name: a file, or a folder with a ``validation`` file, in any form that a ranking is learned from.
        text, text_pair, label, without_relevant: as for `load_task`.
        trained: the columns that the model was trained on, used where the file has them.
    Raises:
        RequestError: no such file, or one without queries, texts and their relevance.
    """
    problem = problem_of_queries()
    path = _measured_file(name)
    request = Request(text, text_pair, label, problem.name, trained=trained if _has(path, trained) else None)
    data, columns = _read([path], request)
    rows, note = read_queries(data, str(path), cast("RankingColumns", columns), without_relevant or REFUSE)
    if note:
        logger.warning("%s: %s", path, note)
    return Task(
        name=path.stem,
        train=None,
        validation=rows,
        label_names=None,
        problem=problem,
        metrics=problem.metrics,
        main_metric=problem.main_metric,
        source=_noted(path.name, (note,) if note else ()),
    )


def has_queries(name: str | Path, trained: Columns | None = None) -> bool:
    """Whether a file has a column of queries: one that is called so, or all that a model was trained on.

    Args:
        name: a file, or a folder with a ``validation`` file; False for the name of a task.
        trained: the columns that the model was trained on, where it was on queries.
    Raises:
        RequestError: no such file.
    """
    if known_name(name):
        return False
    path = _measured_file(name)
    return _has(path, Columns(QUERIES[0], None, None)) or _has(path, trained)


def _measured_file(name: str | Path) -> Path:
    """The file itself, or the one of a folder that is held out."""
    held_out = find_split(Path(name), VALIDATION_NAMES) if os.path.isdir(name) else []
    return held_out[0] if held_out else _file(name)


def _has(path: Path, columns: Columns | None) -> bool:
    names: list[str] = []

    def first(known: Sequence[str]) -> Sequence[str]:
        names.extend(known)
        return known[:1]

    if columns is None:
        return False
    read_files([path], first)
    return {*columns.names} <= {*names, *map(str.lower, names)}


def _named_pairs(name: str | Path, data_dir: str | Path | None, request: Request) -> tuple[Dataset, str]:
    known = known_name(name)
    if known:
        task = _load_named(known, data_dir or os.environ.get(DATA_DIR))
        return task.validation, known
    return _read_pairs([_file(name)], request), str(name)


def _some(dataset: Dataset, seed: int, count: int | None) -> Dataset:
    """So many rows, seeded, in the order of the data."""
    if count is None or count >= len(dataset):
        return dataset
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    return dataset.select(np.sort(chosen), keep_in_memory=True)


def _load_raw(
    name: str | Path,
    data_dir: str | Path | None,
    validation: str | Path | None,
    request: Request,
    max_train: int | None,
    max_validation: int | None,
) -> Task:
    """Texts that are their own labels; what labels stand beside them is not read."""
    problem = get_problem(str(request.problem))
    texts = _texts_of(name, data_dir, request, None if validation else "texts")
    train = raw_texts(texts.train, texts.columns, texts.where)
    train, held_out, notes = split_texts(train, _raw_held_out(validation, texts, request), request.seed, texts.where)
    return Task(
        name=texts.name,
        train=_some(train, request.seed, max_train),
        validation=_some(held_out, request.seed, max_validation),
        label_names=None,
        problem=problem,
        metrics=problem.metrics,
        main_metric=problem.main_metric,
        source=_noted(texts.source, notes),
        dataset_id=texts.dataset_id,
    )


def _raw_held_out(validation: str | Path | None, texts: _Texts, request: Request) -> Dataset | None:
    """The column ``text`` of what is held out: what is asked for, or of the data themselves; None where neither is."""
    if texts.splits:
        own = next((each for each in VALIDATION_NAMES if each in texts.splits), None)
        split = str(validation) if validation else own
        if split is None:
            return None
        if split not in texts.splits:
            raise unknown(f"split of {texts.source}:", split, texts.splits)
        held_out, where = texts.splits[split], f"{texts.source} {split}"
        columns = find_text_columns(held_out.column_names, where, request.text, request.text_pair)
        return raw_texts(held_out, columns, where)
    held_out = _read_texts([_file(validation)], request) if validation else texts.validation
    where = str(validation) if validation else f"the held-out part of {texts.where}"
    return None if held_out is None else raw_texts(held_out, held_out.column_names, where)


def _noted(source: str, notes: Sequence[str]) -> str:
    return f"{source} ({'; '.join(notes)})" if notes else source


def _glue_from_hub(info: TaskInfo) -> Official:
    splits = _from_hub(GLUE_ID, info.name)
    columns = {split: official(splits[split], info, f"{GLUE_ID} {info.name}/{split}") for split in info.splits}
    return Official(columns, GLUE_ID, GLUE_ID)


def _load_own(name: str | Path, validation: str | Path | None, request: Request) -> Task:
    path = Path(name)
    if os.path.isdir(path):  # False for what can be no name, where Path raises
        files = find_split(path, ["train"])
        if not files:
            raise RequestError(f"{path}: no training file in this folder: train.csv (.tsv, .json, .jsonl, .parquet)")
        held_out = [_file(validation)] if validation else find_split(path, VALIDATION_NAMES)
        return _own_task(path.resolve().name, files, held_out, request, source=path.resolve().name)
    bare = path.suffix and "/" not in str(name)  # a task or a folder has no suffix, a Hub id has a slash
    if os.path.exists(path) or isinstance(name, Path) or path.suffix.lower() in SUFFIXES or bare:
        return _own_task(path.stem, [_file(path)], [_file(validation)] if validation else [], request, path.name)
    folder = Path(str(name).partition("/")[0])  # where there is one, a name with one slash is no Hub id
    if str(name).count("/") != 1 or str(name).startswith((".", "/", "~")) or os.path.isdir(folder):
        if "/" in str(name):
            raise RequestError(f"{name}: no such file or folder")
        raise unknown("task", str(name), task_names())
    return _load_from_hub(str(name), str(validation) if validation else None, request)


def _file(path: str | Path) -> Path:
    path = Path(path)
    if not os.path.exists(path):
        parent = path.parent
        beside = [each.name for each in parent.iterdir() if each.is_file()] if os.path.isdir(parent) else []
        match = nearest(path.name, beside)
        raise RequestError(f"{path}: no such file" + (f": did you mean '{match}'?" if match else ""))
    return path


def _own_task(name: str, train: list[Path], validation: list[Path], request: Request, source: str) -> Task:
    data, columns = _read(train, request)
    held_out = (_read_held_out(validation, request, columns), str(validation[0])) if validation else None
    return _task_of(name, (data, str(train[0])), held_out, request, source, None)


def _read(paths: list[Path], request: Request) -> tuple[Dataset, Columns]:
    """The columns that are asked for, and what they are for; what else is in the files is not read."""
    where = str(paths[0])
    data = read_files(paths, lambda names: request.read_from(names, where), request.mappings)
    return data, request.columns(data.column_names, where)


def _read_held_out(paths: list[Path], request: Request, columns: Columns) -> Dataset:
    where = str(paths[0])

    def choose(names: Sequence[str]) -> Sequence[str]:
        return request.of_held_out(columns, names).read_from(names, where)

    return read_files(paths, choose, request.mappings)


def _load_from_hub(name: str, validation: str | None, request: Request) -> Task:
    repository, _, config = name.partition(":")
    splits = _from_hub(repository, config or None)
    if "train" not in splits:
        raise RequestError(f"{name}: no split 'train' in this Hub data set: it has {', '.join(splits)}")
    if validation is not None and validation not in splits:
        raise unknown(f"split of {name}:", validation, splits)
    split = validation or next((each for each in VALIDATION_NAMES if each in splits), None)
    held_out = (splits[split], f"{name} {split}") if split else None
    stem = repository.rsplit("/", 1)[-1]
    return _task_of(stem, (splits["train"], f"{name} train"), held_out, request, name, repository)


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
        source=_noted(source, own.notes),
        dataset_id=dataset_id,
        columns=own.columns,
        recorded=None if request.recorded is None else request.recorded.name,
    )


def _from_hub(repository: str, config: str | None) -> DatasetDict:
    from datasets import load_dataset
    from huggingface_hub import is_offline_mode

    advice = f"give data_dir (or {DATA_DIR})" if repository == GLUE_ID else "download it and give the file"
    what = f"Hub data set '{repository}'" + (f" ({config})" if config else "")
    try:
        loaded = load_dataset(repository, config)
    except ConnectionError as error:
        if is_offline_mode():
            raise RequestError(
                f"{what} is not in the cache and HF_HUB_OFFLINE is set: unset it, or {advice}"
            ) from error
        raise RunError(f"{what} cannot be reached: check the connection, or {advice}") from error
    except (OSError, ValueError) as error:  # not found, private, an unknown configuration, a damaged file
        raise RequestError(f"{what} cannot be loaded: {' '.join(str(error).split())}") from error
    return loaded


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
