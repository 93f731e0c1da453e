"""What vectors are measured on, and nothing is learned from: pairs with a score, parallel text, queries."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from datasets import Dataset

from distilnlp.data.columns import Columns
from distilnlp.data.custom import pairs_of
from distilnlp.data.files import HELD_OUT, file_at, find_split, read_files
from distilnlp.data.glue import load_named
from distilnlp.data.glue_table import known_name
from distilnlp.data.parallel import held_out_texts, parallel_columns, read_parallel
from distilnlp.data.ranked import QUERIES, REFUSE, RankingColumns, read_queries
from distilnlp.data.request import Request
from distilnlp.data.sentences import scored_pairs
from distilnlp.data.task import Task, with_notes
from distilnlp.errors import RequestError
from distilnlp.problems import Problem, problem_of_queries, problem_of_vectors
from distilnlp.problems.base import label_feature
from distilnlp.problems.sentence_embedding import SentenceEmbedding
from distilnlp.typed import typed

__all__ = ["has_queries", "load_pairs", "load_queries", "named_pairs"]

logger = logging.getLogger(__name__)


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
    request = Request(
        text=text, text_pair=text_pair, label=label, problem=problem.name, translations=tuple(translations)
    )
    known = known_name(name)
    if known and (text or text_pair or label):
        raise RequestError(
            f"task '{known}' has its own columns: leave text=, text_pair= and label= out, or name a file"
        )
    if request.translations:
        if known or text_pair or label:
            raise RequestError("translations= is for a file of parallel text, without text_pair= and label=")
        where = str(_measured(name))
        rows = read_files([file_at(where)], lambda names: parallel_columns(names, where, request.translations, text))
        measured, _ = held_out_texts(read_parallel(rows, rows.column_names, where), where)
        problem = SentenceEmbedding(request.translations)
    else:
        pairs, where = named_pairs(name if known else _measured(name), data_dir, request)
        measured = scored_pairs(pairs, where)
    return _task_of(known or Path(name).stem, measured, problem, where)


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
    path = file_at(_measured(name))
    request = Request(
        text=text,
        text_pair=text_pair,
        label=label,
        problem=problem.name,
        trained=trained if _has(path, trained) else None,
    )
    data, columns = request.read([path])
    rows, note = read_queries(data, str(path), cast("RankingColumns", columns), without_relevant or REFUSE)
    if note:
        logger.warning("%s: %s", path, note)
    return _task_of(path.stem, rows, problem, with_notes(path.name, (note,) if note else ()))


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
    path = file_at(_measured(name))
    return _has(path, Columns(QUERIES[0], None, None)) or _has(path, trained)


def named_pairs(name: str | Path, data_dir: str | Path | None, request: Request) -> tuple[Dataset, str]:
    """Pairs in the package's columns, and what to call them: the held-out ones of a task by name, or those of a file.

    Args:
        name: a GLUE task, of which the validation set is taken, or a file.
        data_dir: as for `load_task`.
        request: what is said of the file's columns.
    Raises:
        RequestError: no such data, or a row that is no pair with a label.
    """
    known = known_name(name)
    if known:
        return load_named(known, data_dir).validation, known
    data, columns = replace(request, optional=True).read([file_at(name)])  # no score is told with what is needed
    return pairs_of(data, columns, str(name), request), str(name)


def _task_of(name: str, rows: Dataset, problem: Problem, source: str) -> Task:
    metrics = problem.metrics_for(None, label_feature(rows.features))
    return Task(
        name=name,
        train=None,
        validation=rows,
        label_names=None,
        problem=problem,
        metrics=metrics,
        main_metric=metrics[0],
        source=source,
    )


def _measured(name: str | Path) -> str | Path:
    """A file itself, or the one of a folder that is held out."""
    held_out = find_split(Path(name), HELD_OUT) if os.path.isdir(name) else []
    return held_out[0] if held_out else name


def _has(path: Path, columns: Columns | None) -> bool:
    names: list[str] = []

    def first(known: Sequence[str]) -> Sequence[str]:
        names.extend(known)
        return known[:1]

    if columns is None:
        return False
    read_files([path], first)
    return {*columns.names} <= {*names, *map(str.lower, names)}
