"""A teacher's answers that stand in the data: probabilities, logits, labels with a confidence, or scores."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from distilnlp.data.arrow import column_batches
from distilnlp.errors import RequestError, listed, nearest, unknown
from distilnlp.label_names import find_name, match_names
from distilnlp.problems import Problem
from distilnlp.problems.base import sorted_names

__all__ = ["Missing", "RawAnswers", "RecordedColumns", "Values", "read_answers"]

Floats = NDArray[np.float64]
Values = Literal["probabilities", "logits"]
Missing = Literal["refuse", "label"]


@dataclass(frozen=True)
class RecordedColumns:
    """Where a data set holds the answers of a teacher, and how they are written.

    Args:
        columns: one column with a mapping label -> number, a list of numbers, a label or a number; several columns, or
            one pattern such as ``prob_*``, hold the number of one class each.
        confidence: column of the probability of a label; without it a label is certain. Only where the one column
            holds labels.
        values: what the numbers are; None: logits where the column's name ends in ``logits``, else probabilities.
        missing: a row without an answer: ``refuse`` it, or let its hard ``label`` stand for the answer.
        labels: names for the numbers of a list, in their order; None: the labels of the data, in their order.
    Raises:
        RequestError: no column, or an unknown word.
    """

    columns: tuple[str, ...]
    confidence: str | None = None
    values: Values | None = None
    missing: Missing = "refuse"
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.columns:
            raise RequestError("a recorded teacher needs the name of at least one column")
        if self.values is not None and self.values not in get_args(Values):
            raise unknown("kind of recorded values:", str(self.values), get_args(Values))
        if self.missing not in get_args(Missing):
            raise unknown("value of missing:", str(self.missing), get_args(Missing))
        if self.confidence is not None and len(self.columns) > 1:
            raise RequestError("a confidence belongs to one column of labels, and several columns are named")

    @property
    def name(self) -> str:
        """What to call the teacher."""
        return f"column {','.join(self.columns)}"

    @property
    def holds_logits(self) -> bool:
        """Whether the numbers are logits."""
        if self.values is None:
            return self.columns[0].lower().rstrip("*_-. ").endswith("logits")
        return self.values == "logits"

    def names_in(self, names: Sequence[str], where: str) -> tuple[str, ...]:
        """The columns of a data set that hold the answers; that of the confidence last.

        Raises:
            RequestError: one is not there.
        """
        found: list[str] = []
        for column in self.columns:
            matches = [name for name in names if fnmatch.fnmatchcase(name, column)] if "*" in column else []
            if not matches and column not in names:
                match = nearest(column, names)
                hint = f"did you mean '{match}'? " if match else ""
                raise RequestError(
                    f"{where}: no column '{column}' for the teacher's answers: {hint}columns: {listed(names)}"
                )
            found += [name for name in matches or [column] if name not in found]
        if self.confidence is not None and self.confidence not in names:
            raise RequestError(
                f"{where}: no column '{self.confidence}' for the teacher's confidence; columns: {listed(names)}"
            )
        return (*found, *(() if self.confidence is None else (self.confidence,)))

    def are_in(self, names: Sequence[str]) -> bool:
        """Whether a data set has them."""
        return all(column in names or fnmatch.filter(names, column) for column in self.columns)


@dataclass(frozen=True)
class RawAnswers:
    """The answers as they were read, before it is known which label each number is of.

    Args:
        values: ``(rows, numbers)``; NaN throughout in a row without an answer. Where ``given`` is there,
            ``(rows, 1)``, the confidence in the label.
        names: of the numbers, in their order; None where nobody says.
        given: the label of each row, None in a row without one; None where numbers were read.
        spec: where they stand.
        where: file and column, for messages.
    """

    values: Floats
    names: tuple[str, ...] | None
    given: tuple[str | None, ...] | None
    spec: RecordedColumns
    where: str

    @property
    def answered(self) -> NDArray[np.bool_]:
        """``(rows,)``, whether there is an answer."""
        return np.asarray(~np.isnan(self.values).all(axis=1))

    @property
    def has_one_answer(self) -> bool:
        """Whether all rows have an answer, and it is the same one."""
        same = bool((self.values == self.values[0]).all())
        return same and (self.given is None or len({*self.given}) == 1)

    @property
    def kind(self) -> str:
        """The registered name of the kind of task that the answers look like."""
        return "regression" if self.given is None and self.values.shape[1] == 1 else "single_label_classification"

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The labels that they tell by themselves; places where a list has no names; None for one number a row."""
        if self.given is not None:
            return self.names or sorted_names({label for label in self.given if label is not None})
        if self.values.shape[1] == 1:
            return None
        return self.names or tuple(str(place) for place in range(self.values.shape[1]))

    def logits(self, problem: Problem, names: Sequence[str] | None) -> NDArray[np.float32]:
        """The answers as logits ``(rows, labels)``, in the order of ``names``; NaN in a row without one.

        Raises:
            RequestError: other labels, or numbers that cannot be; with the first such row.
        """
        values = self.values if self.given is None else self._spread(problem, names)
        answered = ~np.isnan(values).all(axis=1)
        if values.shape[1] != problem.num_logits(names):
            raise RequestError(
                f"{self.where}: {values.shape[1]} numbers a row where {problem.name} needs {problem.num_logits(names)}"
                f"{f' ({listed(names)})' if names else ''}"
            )
        if self.given is None and names is not None and self.names is not None:
            order = match_names(names, self.names)
            if order is None:
                raise RequestError(
                    f"{self.where}: answers for {listed(self.names)}, and the labels are {listed(names)}: the same"
                    " names are needed"
                )
            values = values[:, list(order)]
        logits = values.astype(np.float64)
        if not (self.spec.holds_logits and self.given is None):
            wrong, needed = problem.wrong_probabilities(values)
            wrong &= answered
            if wrong.any():
                self._refuse(int(np.argmax(wrong)), values, needed)
            logits[answered] = problem.logits_of(values[answered])
        return logits.astype(np.float32)

    def _refuse(self, row: int, values: Floats, needed: str) -> None:
        shown = ", ".join(f"{value:g}" for value in values[row][:4]) + (", ..." if values.shape[1] > 4 else "")
        total = f" (their sum is {values[row].sum():.4g})" if values.shape[1] > 1 else ""
        raise RequestError(f"{self.where}: row {row + 1} has {shown}{total}: {needed}")

    def _spread(self, problem: Problem, names: Sequence[str] | None) -> Floats:
        """The confidence in a label as probabilities: what it leaves is shared evenly by the other labels."""
        if not problem.exclusive_classes or names is None:
            raise RequestError(f"{self.where}: labels with a confidence are for one class a text, not {problem.name}")
        places = {name: place for place, name in enumerate(names)}
        spread = np.full((len(self.values), len(names)), np.nan)
        for row, label in enumerate(self.given or ()):
            if label is None:
                continue
            meant = places.get(label, places.get(find_name(label, names) or ""))
            if meant is None:
                raise unknown(f"label in row {row + 1} of {self.where}:", label, names)
            spread[row] = (1 - self.values[row, 0]) / (len(names) - 1)
            spread[row, meant] = self.values[row, 0]
        return spread


def read_answers(dataset: Dataset, where: str, spec: RecordedColumns) -> RawAnswers:
    """The answers that stand in a data set.

    Args:
        dataset: with the columns of ``spec``: numbers, text, lists of numbers or mappings; lists and mappings may be
            JSON in text.
        where: the file or data set, for messages.
    Raises:
        RequestError: a column is not there, a row has none and has to, rows of several forms, lengths or labels, or
            what is no finite number; with the first such row.
    """
    names = spec.names_in(dataset.column_names, where)
    columns = names if spec.confidence is None else names[:-1]
    shown = f"column '{columns[0]}'" if len(columns) == 1 else f"columns {columns[0]} to {columns[-1]}"
    place = f"{where}, {shown}"
    if len(columns) > 1 or "*" in spec.columns[0]:
        raw = _one_column_each(dataset, columns, spec, place)
    else:
        rows = [_parsed(value) for value in _values(dataset, columns[0])]
        confidences = None if spec.confidence is None else list(_values(dataset, spec.confidence))
        raw = _one_column(rows, confidences, spec, place)
    absent = np.flatnonzero(~raw.answered)
    if len(absent) == len(raw.values):
        raise RequestError(f"{place}: no row has an answer of the teacher: name the column that holds them")
    if len(absent) and spec.missing == "refuse":
        raise RequestError(
            f"{place}: {len(absent)} of {len(raw.values)} rows have no answer of the teacher, the first is row"
            f" {absent[0] + 1}: fill them in, or let their hard label stand for it with --teacher-missing label (in a"
            " recipe, missing: label)"
        )
    return raw


def _values(dataset: Dataset, column: str) -> Iterator[Any]:
    return (value for batch in column_batches(dataset, column) for value in batch.to_pylist())


def _parsed(value: Any) -> Any:
    """A mapping, a list, a number, a label, or None; JSON in text is read."""
    if isinstance(value, str):
        text = value.strip()
        if text[:1] in ("{", "["):
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                return text
        return text or None
    if isinstance(value, list) and value and isinstance(value[0], tuple):  # a map of Arrow
        return dict(value)
    return value


def _number(value: Any) -> float:
    """NaN for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _one_column_each(dataset: Dataset, columns: Sequence[str], spec: RecordedColumns, where: str) -> RawAnswers:
    values = np.full((len(dataset), len(columns)), np.nan)
    for place, column in enumerate(columns):
        for row, value in enumerate(_values(dataset, column)):
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            values[row, place] = _number(value)
            if math.isnan(values[row, place]):
                raise RequestError(
                    f"{where}: row {row + 1} has {value!r:.60} in '{column}' where a finite number is needed"
                )
    holes = np.isnan(values).any(axis=1) & ~np.isnan(values).all(axis=1)
    if holes.any():
        row = int(np.argmax(holes))
        column = columns[int(np.argmax(np.isnan(values[row])))]
        raise RequestError(f"{where}: row {row + 1} has nothing in '{column}' and numbers in other columns")
    # Not half a word that two labels begin with.
    ends = [place + 1 for place, sign in enumerate(columns[0]) if sign in "_-. /:"] if len(columns) > 1 else []
    shared = max((end for end in ends if len({name[:end] for name in columns}) == 1), default=0)
    return RawAnswers(values, tuple(name[shared:] for name in columns), None, spec, where)


def _one_column(
    rows: Sequence[Any], confidences: Sequence[Any] | None, spec: RecordedColumns, where: str
) -> RawAnswers:
    first = next((row for row in rows if row is not None), None)
    if first is None:
        return RawAnswers(np.full((len(rows), 1), np.nan), None, None, spec, where)
    if isinstance(first, Mapping):
        return _of_mappings(rows, spec, where)
    if isinstance(first, list):
        return _of_lists(rows, spec, where)
    if confidences is None and all(row is None or not math.isnan(_number(row)) for row in rows):
        values = np.array([[math.nan if row is None else _number(row)] for row in rows])
        return RawAnswers(values, None, None, spec, where)
    return _of_labels(rows, confidences, spec, where)


def _of_mappings(rows: Sequence[Any], spec: RecordedColumns, where: str) -> RawAnswers:
    known = {str(name): place for place, name in enumerate(next(row for row in rows if row is not None))}
    values = np.full((len(rows), len(known)), np.nan)
    for number, row in enumerate(rows):
        if row is None or (isinstance(row, Mapping) and all(value is None for value in row.values())):
            continue
        if not isinstance(row, Mapping) or {str(name) for name in row} != known.keys():
            got = listed([str(name) for name in row]) if isinstance(row, Mapping) else f"{row!r:.60}"
            raise RequestError(
                f"{where}: row {number + 1} has {got}: a number for each of {listed(list(known))} is needed, as in the"
                " first row"
            )
        for name, value in row.items():
            values[number, known[str(name)]] = _checked(value, number, where, f" for '{name}'")
    return RawAnswers(values, tuple(known), None, spec, where)


def _of_lists(rows: Sequence[Any], spec: RecordedColumns, where: str) -> RawAnswers:
    width = len(next(row for row in rows if row is not None))
    if spec.labels is not None and len(spec.labels) != width:
        raise RequestError(f"{where}: {width} numbers a row and {len(spec.labels)} labels: as many are needed")
    values = np.full((len(rows), max(width, 1)), np.nan)
    for number, row in enumerate(rows):
        if row is None:
            continue
        if not isinstance(row, list) or len(row) != width or not width:
            raise RequestError(
                f"{where}: row {number + 1} has {row!r:.60}: a list of {width} numbers is needed, as in the first row"
            )
        values[number] = [_checked(value, number, where) for value in row]
    return RawAnswers(values, spec.labels, None, spec, where)


def _of_labels(
    rows: Sequence[Any], confidences: Sequence[Any] | None, spec: RecordedColumns, where: str
) -> RawAnswers:
    given: list[str | None] = []
    values = np.full((len(rows), 1), np.nan)
    for number, row in enumerate(rows):
        if isinstance(row, Mapping | list) or (isinstance(row, float) and math.isnan(row)):
            raise RequestError(f"{where}: row {number + 1} has {row!r:.60} where other rows have a label")
        given.append(None if row is None else str(row))
        if row is not None:
            sure = 1.0 if confidences is None else _checked(confidences[number], number, where, " as the confidence")
            if not 0 <= sure <= 1:
                raise RequestError(f"{where}: row {number + 1} has the confidence {sure:g}: it lies from 0 to 1")
            values[number] = sure
    return RawAnswers(values, spec.labels, tuple(given), spec, where)


def _checked(value: Any, row: int, where: str, what: str = "") -> float:
    number = _number(value)
    if math.isnan(number):
        raise RequestError(f"{where}: row {row + 1} has {value!r:.60}{what} where a finite number is needed")
    return number
