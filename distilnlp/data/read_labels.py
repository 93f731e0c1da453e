"""What a label column means: which kind of problem its values are of, and the labels as numbers."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import ClassLabel, List

from distilnlp.errors import RequestError
from distilnlp.problems import LabelColumn, Labels, Problem, get_problem, list_problems
from distilnlp.problems.base import MISSING, to_number
from distilnlp.problems.written import parse_list

__all__ = ["encode_labels", "named_ids", "read_label_names", "read_labels"]


def read_labels(
    column: Iterable[object],
    feature: object,
    where: str,
    *,
    problem: str | Problem | None = None,
    train: Labels | None = None,
) -> Labels:
    """Decide what a label column is, and convert it.

    Numbers with a fraction are targets (regression), among which no few other texts may stand; whole numbers, names
    and booleans are classes; lists of names, or lists of zeros and ones of one length, are several labels a text.
    Numbers written as strings count as numbers, also with a decimal comma, marks of thousands or a percent sign where
    the column tells how they are meant. Lists written as strings, as a csv has them, count as lists.
    Class names are sorted, numbers by value, unless the data name them themselves (``ClassLabel``).

    Args:
        column: the values.
        feature: the column's type in the data set, for the class names that it may hold.
        where: the file (or data set) and column, for the errors.
        problem: what the user says it is, or its name; None decides by the values.
        train: the labels of the training split, when this is the validation split: names and problem are taken from
            it.

    Raises:
        RequestError: labels are missing, of several kinds, only one class, or not in the training split; too many
            distinct values for classes.
    """
    given = None if problem is None else get_problem(problem)
    values, declared = _plain(column, feature)
    return encode_labels(LabelColumn.of(values, declared, where), given, train)


def encode_labels(labels: LabelColumn, problem: Problem | None, train: Labels | None) -> Labels:
    """A label column as labels. Args, Raises: as `read_labels`."""
    kind = train.problem if train else problem
    if labels.declared is None:
        labels = _with_lists(labels, kind)
    _check_complete(labels)
    return (kind or _recognised(labels)).encode(labels, train)


def read_label_names(given: str | Path | Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of labels that are ids, given in their order, or as a json file with a list of them.

    Raises:
        RequestError: no such file, or no list of different names.
    """
    if given is None:
        return None
    names: object = list(given) if not isinstance(given, (str, Path)) else None
    if isinstance(given, (str, Path)):
        try:
            names = json.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise RequestError(f"label_names: {given} is no json file with a list of names ({reason:.200})") from error
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(each, str) and each for each in names):
        raise RequestError(f"label_names is {names!r:.80}: a list of names is needed, two or more, in the ids' order")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"label_names has '{twice}' twice: each id has a name of its own")
    return tuple(names)


def named_ids(
    values: Iterable[object], feature: object, names: Sequence[str], where: str
) -> tuple[Iterator[object], ClassLabel | List]:
    """The ids of a label column as numbers, in lists too, and its type with names for them.

    Args:
        values, feature, where: as for `read_labels`.
        names: what the ids are called.
    Raises:
        RequestError: the data name their labels themselves; while reading: a value that is no id of these.
    """
    inner = feature.feature if isinstance(feature, List) else feature
    if isinstance(inner, ClassLabel) and inner.names:
        raise RequestError(f"{where}: the data call their labels {', '.join(inner.names)}: leave label_names out")

    def number(value: object, row: int) -> int | None:
        if value is None:
            return None
        found = to_number(value)
        if found is None or not found.is_integer() or not 0 <= found < len(names):
            raise RequestError(
                f"{where}: row {row} has {value!r:.60}, and label_names are for the ids 0 to {len(names) - 1}"
            )
        return int(found)

    ids = (
        [number(each, row) for each in value] if isinstance(value, list) else number(value, row)
        for row, value in enumerate(values, start=1)
    )
    classes = ClassLabel(names=list(names))
    return ids, List(classes) if isinstance(feature, List) else classes


def _recognised(labels: LabelColumn) -> Problem:
    """The kind that the values look like; the kind that takes all others comes last."""
    problems = [get_problem(name) for name in list_problems()]
    return next(problem for problem in reversed(problems) if problem.recognises(labels))


def _plain(column: Iterable[object], feature: object) -> tuple[Iterator[object], tuple[str, ...] | None]:
    """Values as str, int, float, list or None (missing), and the class names that the data declare."""
    if isinstance(feature, ClassLabel) and feature.names:
        names = tuple(feature.names)
        return (_named(value, names) for value in column), names
    inner = feature.feature if isinstance(feature, List) else None
    if isinstance(inner, ClassLabel) and inner.names:
        inner_names = tuple(inner.names)
        rows = (row if isinstance(row, list) else None for row in column)
        return (row and [_named(value, inner_names) for value in row] for row in rows), inner_names
    return (_scalar(value) for value in column), None


def _with_lists(labels: LabelColumn, kind: Problem | None) -> LabelColumn:
    """The column with lists where it holds lists as text.

    Raises:
        RequestError: some rows hold a list and others do not.
    """
    texts = [value for value in labels.distinct if value is not None]
    if not texts or not all(isinstance(text, str) for text in texts):
        return labels
    parsed = [None if value is None else parse_list(value) for value in labels.distinct]
    lists = sum(value is not None for value in parsed)
    if not lists or (lists < len(texts) and kind is not None and not kind.several_labels):
        return labels
    if lists < len(texts):
        other = next(
            place for place, value in enumerate(parsed) if value is None and labels.distinct[place] is not None
        )
        first = next(place for place, value in enumerate(parsed) if value is not None)
        raise RequestError(
            f"{labels.where}: row {labels.row(first)} has the list {labels.distinct[first]!r:.60} and row"
            f" {labels.row(other)} has {labels.distinct[other]!r:.60}: write a list in each row ([] for no label), or"
            " in none"
        )
    return replace(labels, distinct=list(parsed))


def _named(value: object, names: tuple[str, ...]) -> str | None:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None  # -1 is "no label" on the Hub


def _scalar(value: object) -> object:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _check_complete(labels: LabelColumn) -> None:
    where = labels.where
    words = [value for value in labels.distinct if isinstance(value, str) and value.lower() in MISSING]
    others = [value for value in labels.distinct if value is not None and value not in words]
    # Among names these words may be names too.
    if labels.declared is not None or not others or any(to_number(value) is None for value in others):
        words = []
    missing = [position for position, value in enumerate(labels.distinct) if value is None or value in words]
    if missing:
        rows = np.flatnonzero(np.isin(labels.codes, missing))
        raise RequestError(
            f"{where}: {len(rows)} of {len(labels)} rows have no label{f' ({words[0]!r})' if words else ''}, the first"
            f" is row {rows[0] + 1}: fill them in or remove the rows"
        )
    kinds = {"number" if isinstance(value, (int, float)) else type(value).__name__ for value in labels.distinct}
    if kinds == {"dict"} and any(
        get_problem(name).recognises(labels) for name in list_problems() if get_problem(name).rows == "span"
    ):
        return
    if len(kinds) > 1 or not kinds <= {"number", "str", "list"}:
        raise RequestError(f"{where}: labels are {' and '.join(sorted(kinds))}: numbers, names or lists are needed")
