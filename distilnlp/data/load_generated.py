"""A task whose training texts are generated: of its own examples only the held-out ones are read."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset, List, Value

from distilnlp.data.columns import Columns
from distilnlp.data.custom import convert
from distilnlp.data.files import HELD_OUT, file_at, find_split, read_files
from distilnlp.data.generate import UnreadRows
from distilnlp.data.glue import load_named
from distilnlp.data.glue_table import known_name
from distilnlp.data.hub import read_hub
from distilnlp.data.request import Request
from distilnlp.data.task import Task
from distilnlp.errors import RequestError
from distilnlp.problems import Problem

__all__ = ["MakeTexts", "load_generated"]

# Makes the training texts: columns ``text`` and, of pairs, ``text_pair``; as lists of words where it is told so.
MakeTexts = Callable[[bool, bool], Dataset]


def load_generated(
    name: str | Path, data_dir: str | Path | None, validation: str | Path | None, request: Request, make: MakeTexts
) -> Task:
    """The held-out examples of a task, with texts to learn from that have no label.

    No file of training examples is opened; of what comes in one piece with them (GLUE, a data set of the Hub) none of
    their rows is looked at.

    Args:
        name, data_dir, validation: as for `load_task`.
        request: what is said of the data.
        make: called with whether the texts are pairs, and whether they are lists of words.
    Raises:
        RequestError: there are no held-out examples of their own; a kind of task whose examples are not a text or two.
    """
    named = known_name(name)
    if named:
        task = load_named(named, data_dir, unread=UnreadRows(named))
        pair = task.validation is not None and "text_pair" in task.validation.column_names
        return replace(task, train=make(pair, False))
    if request.known is not None:
        _check_kind(request.known()[0])
    held_out, where, source = _held_out(name, validation, request)
    columns = request.columns(held_out.column_names, where)
    by_word = isinstance(held_out.features[columns.text], List)
    made = _as_theirs(make(columns.text_pair is not None, by_word), columns)
    own = convert((made, "the generated texts"), (held_out, where), replace(request.found(columns), optional=True))
    metrics = own.problem.metrics_for(own.label_names)
    return Task(
        name=Path(name).stem,
        train=own.train,
        validation=own.validation,
        label_names=own.label_names,
        problem=own.problem,
        metrics=metrics,
        main_metric=metrics[0],
        source=source,
        columns=replace(own.columns, label=None),
    )


def _check_kind(problem: Problem) -> None:
    if problem.rows not in ("text", "token") or problem.vectors or problem.labels_itself:
        raise RequestError(
            f"texts are generated for tasks that answer a text, a pair or its words, and not for {problem.name}: write"
            " them into a file ('distilnlp generate') and learn from that"
        )


def _held_out(name: str | Path, validation: str | Path | None, request: Request) -> tuple[Dataset, str, str]:
    """The held-out examples as they are read, what to call them, and where they are from."""

    def of(paths: list[Path], source: str) -> tuple[Dataset, str, str]:
        where = str(paths[0])
        return read_files(paths, lambda names: request.read_from(names, where)), where, source

    if validation is not None and os.path.exists(validation):
        return of([file_at(validation)], Path(validation).name)
    if os.path.isdir(name):
        found = find_split(Path(name), HELD_OUT)
        if found and validation is None:
            return of(found, Path(name).resolve().name)
    elif "/" in str(name) and not os.path.exists(name):
        hub = read_hub(str(name))
        split = hub.held_out(str(validation) if validation else None)
        if split is not None:
            return hub.splits[split], f"{name} {split}", str(name)
    raise RequestError(
        f"{validation or name}: the training texts are generated, and so no example of a file is held out from them:"
        " give the held-out examples as a file (data.validation)"
    )


def _as_theirs(made: Dataset, columns: Columns) -> Dataset:
    """Generated texts with the columns of the held-out examples; their labels are empty."""
    named: dict[str, str] = {"text": columns.text}
    if columns.text_pair is not None:
        named["text_pair"] = columns.text_pair
    made = made.rename_columns({old: new for old, new in named.items() if old != new})
    if columns.label is None:
        return made
    if not isinstance(columns.label, str):
        raise RequestError(
            f"the labels stand in several columns ({', '.join(columns.label)}), and generated texts need one: put the"
            " names of those that hold into one column of the held-out file"
        )
    empty: list[Any] = [None] * len(made)
    return made.add_column(columns.label, empty, feature=Value("string"))
