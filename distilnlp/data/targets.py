"""What a label column means: classes, a target to regress on, or several labels a text."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from datasets import ClassLabel, List, Value

from distilnlp.data.tasks import MULTI_LABEL, PROBLEM_TYPES, REGRESSION, SINGLE_LABEL
from distilnlp.errors import RequestError, unknown

__all__ = ["Labels", "read_labels"]

MANY_CLASSES = (
    50  # more distinct integers than this are hardly classes; more distinct names only if they seldom repeat
)
MISSING = ("nan", "na", "n/a", "<na>", "null")  # as tools write it into a column of numbers
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # not "nan" and "inf", which can be names


@dataclass(frozen=True)
class _Column:
    """A column by its distinct values, so that what is looked at in Python does not grow with the rows.

    Args:
        distinct: in the order in which they first occur.
        codes: ``(rows,)``, each row's position in ``distinct``.
    """

    distinct: list
    codes: np.ndarray

    @classmethod
    def of(cls, values: Iterable[object]) -> "_Column":
        """Of the values as str, int, float, None, or a list or another container."""
        distinct: list[object] = []
        known: dict[object, int] = {}

        def code(value: object) -> int:
            key = value if value is None or isinstance(value, (str, int, float)) else repr(value)
            if key not in known:
                known[key] = len(distinct)
                distinct.append(value)
            return known[key]

        codes = np.fromiter((code(value) for value in values), dtype=np.int32)
        return cls(distinct, codes)

    def __len__(self) -> int:
        return len(self.codes)

    def row(self, position: int) -> int:
        """The first row, counted from 1, that has a distinct value."""
        return int(np.argmax(self.codes == position)) + 1


@dataclass(frozen=True)
class Labels:
    """A label column, understood.

    Args:
        values: class ids ``(rows,)`` int64, targets ``(rows,)`` float64, or multi-hot rows ``(rows, labels)`` float32.
        names: class names, position = id; None for regression.
        problem_type: one of `PROBLEM_TYPES`.
    """

    values: np.ndarray
    names: tuple[str, ...] | None
    problem_type: str

    @property
    def feature(self) -> ClassLabel | Value | List:
        """The column's type in a raw data set."""
        if self.problem_type == REGRESSION:
            return Value("float32")
        return List(Value("float32")) if self.problem_type == MULTI_LABEL else ClassLabel(names=list(self.names or ()))


def read_labels(
    column: Iterable[object],
    feature: object,
    where: str,
    *,
    problem_type: str | None = None,
    train: Labels | None = None,
) -> Labels:
    """Decide what a label column is, and convert it.

    Numbers with a fraction are targets (regression), among which no few other texts may stand; whole numbers, names
    and booleans are classes; lists of names, or lists of zeros and ones of one length, are several labels a text.
    Numbers written as strings count as numbers.
    Class names are sorted, numbers by value, unless the data name them themselves (``ClassLabel``).

    Args:
        column: the values.
        feature: the column's type in the data set, for the class names that it may hold.
        where: the file (or data set) and column, for the errors.
        problem_type: what the user says it is; None decides by the values.
        train: the labels of the training split, when this is the validation split: names and type are taken from it.

    Raises:
        RequestError: labels are missing, of several kinds, only one class, or not in the training split; too many
            distinct values for classes.
    """
    if problem_type is not None and problem_type not in PROBLEM_TYPES:
        raise unknown("problem_type", problem_type, PROBLEM_TYPES)
    plain, declared = _plain(column, feature)
    values = _Column.of(plain)
    _check_complete(values, declared, where)
    problem_type = train.problem_type if train else problem_type or _problem_type(values, declared, where)
    if problem_type == REGRESSION:
        return _targets(values, where, varied=train is None)
    if problem_type == MULTI_LABEL:
        return _multi_label(values, declared, where, train)
    return _classes(values, declared, where, train)


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


def _check_complete(values: _Column, declared: tuple[str, ...] | None, where: str) -> None:
    words = [value for value in values.distinct if isinstance(value, str) and value.lower() in MISSING]
    others = [value for value in values.distinct if value is not None and value not in words]
    # Among names these words may be names too.
    if declared is not None or not others or any(_number(value) is None for value in others):
        words = []
    missing = [position for position, value in enumerate(values.distinct) if value is None or value in words]
    if missing:
        rows = np.flatnonzero(np.isin(values.codes, missing))
        raise RequestError(
            f"{where}: {len(rows)} of {len(values)} rows have no label{f' ({words[0]!r})' if words else ''}, the first"
            f" is row {rows[0] + 1}: fill them in or remove the rows"
        )
    kinds = {"number" if isinstance(value, (int, float)) else type(value).__name__ for value in values.distinct}
    if len(kinds) > 1 or not kinds <= {"number", "str", "list"}:
        raise RequestError(f"{where}: labels are {' and '.join(sorted(kinds))}: numbers, names or lists are needed")


def _problem_type(values: _Column, declared: tuple[str, ...] | None, where: str) -> str:
    if isinstance(values.distinct[0], list):
        return MULTI_LABEL
    if declared:
        return SINGLE_LABEL
    numbers = [_number(value) for value in values.distinct]
    distinct = len(numbers)
    if None not in numbers:
        if not all(float(number or 0).is_integer() for number in numbers):
            return REGRESSION
        if distinct > MANY_CLASSES:
            raise RequestError(
                f"{where}: {distinct} distinct whole numbers: say problem_type={REGRESSION} or {SINGLE_LABEL}"
                " (--problem-type)"
            )
    elif numbers.count(None) < distinct / 2 and any(
        not number.is_integer() for number in numbers if number is not None
    ):
        position = numbers.index(None)
        raise RequestError(
            f"{where}: row {values.row(position)} has '{values.distinct[position]}' among numbers with a fraction:"
            f" correct or remove it, or say problem_type={SINGLE_LABEL}"
        )
    elif distinct > max(MANY_CLASSES, len(values) // 2):
        raise RequestError(
            f"{where}: {distinct} distinct labels in {len(values)} rows are hardly classes: name another column with"
            f" label=, or say problem_type={SINGLE_LABEL}"
        )
    return SINGLE_LABEL


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return float(value) if DECIMAL.fullmatch(value) else None
    return float(value) if isinstance(value, (int, float)) else None


def _targets(values: _Column, where: str, *, varied: bool) -> Labels:
    targets = np.array([math.nan if (number := _number(value)) is None else number for value in values.distinct])
    if not np.isfinite(targets).all():
        position = int(np.argmin(np.isfinite(targets)))
        raise RequestError(
            f"{where}: row {values.row(position)} has '{values.distinct[position]}' where {REGRESSION} needs a finite"
            " number"
        )
    if varied and len(np.unique(targets)) < 2:
        raise RequestError(f"{where}: every target is {targets[0]}: there is nothing to learn; name another column")
    return Labels(targets[values.codes], None, REGRESSION)


def _classes(values: _Column, declared: tuple[str, ...] | None, where: str, train: Labels | None) -> Labels:
    if isinstance(values.distinct[0], list):
        raise RequestError(f"{where}: labels are lists: {SINGLE_LABEL} needs one name or number a row")
    keys = [_class_name(value) for value in values.distinct]
    if train is None and len(set(keys)) < 2:
        raise RequestError(f"{where}: one class only ('{keys[0]}') in {len(values)} rows: at least two are needed")
    names = (train.names if train else declared) or _sorted_names(set(keys))
    ids = {name: position for position, name in enumerate(names)}
    _check_known([[key] for key in keys], values, names, where)
    return Labels(np.array([ids[key] for key in keys])[values.codes], names, SINGLE_LABEL)


def _class_name(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    if all(DECIMAL.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    return tuple(sorted(names))


def _multi_label(values: _Column, declared: tuple[str, ...] | None, where: str, train: Labels | None) -> Labels:
    for position, value in enumerate(values.distinct):
        if not isinstance(value, list) or not all(isinstance(each, (str, int, float)) for each in value):
            raise RequestError(
                f"{where}: row {values.row(position)} has '{value}': {MULTI_LABEL} needs a list of"
                " names, or of zeros and ones, in each row (json, jsonl or parquet)"
            )
    if declared is None and _is_multi_hot(values.distinct, len(values.distinct[0])):
        width = len(values.distinct[0])
        if train and len(train.names or ()) != width:
            raise RequestError(
                f"{where}: rows of {width} zeros and ones where the training data have"
                f" {len(train.names or ())} labels: as many are needed"
            )
        names = (train and train.names) or tuple(str(position) for position in range(width))
        hot = np.array(values.distinct, dtype=np.float32)
    else:
        keys = [[_class_name(each) for each in value] for value in values.distinct]
        names = (train.names if train else declared) or _sorted_names({each for value in keys for each in value})
        _check_known(keys, values, names, where)
        hot = np.array([[name in value for name in names] for value in keys], dtype=np.float32)
    if train is None and len(np.unique(hot, axis=0)) < 2:
        raise RequestError(f"{where}: every row has the same labels: there is nothing to learn; name another column")
    return Labels(hot[values.codes], names, MULTI_LABEL)


def _is_multi_hot(values: list, width: int) -> bool:
    """Lists of 0 and 1 that are all as long; a list of one number would be a class, not a multi-hot row."""
    return width > 1 and all(len(value) == width and all(each in (0, 1) for each in value) for value in values)


def _check_known(keys: list[list[str]], values: _Column, names: tuple[str, ...], where: str) -> None:
    """``keys``: those of each distinct value."""
    known = set(names)
    for position, labels in enumerate(keys):
        new = next((name for name in labels if name not in known), None)
        if new is not None:
            kind = f"label in row {values.row(position)} of {where}, not in the training data:"
            raise unknown(kind, new, names)
