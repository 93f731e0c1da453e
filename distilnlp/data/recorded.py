"""A teacher's answers that stand in the data: probabilities, logits, labels with a confidence, or scores."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from distilnlp.data.arrow import column_values
from distilnlp.errors import RequestError, listed, nearest, unknown
from distilnlp.label_names import find_name, match_names
from distilnlp.problems import Problem
from distilnlp.problems.base import sorted_names

__all__ = ["Missing", "RawAnswers", "RecordedColumns", "Values", "read_answers"]

Floats = NDArray[np.float64]
Values = Literal["probabilities", "logits"]
Missing = Literal["refuse", "label"]
_SIGNS = "_-. /:"  # what the name of a column has between its words


@dataclass(frozen=True)
class RecordedColumns:
    """Where a data set holds the answers of a teacher, and how they are written.

    Args:
        columns: one column with a mapping label -> number, a list of numbers, a label or a number; several columns, or
            one pattern such as ``prob_*``, hold the number of one class each. Of words with tags, one column with a
            list of mappings, of lists, or of tags, one for each word.
        confidence: column of the probability of a label; without it a label is certain. Only where the one column
            holds labels. Of tags, a list with a probability for each word.
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

    An answer is that of a row; of texts that are lists of words, that of a word.

    Args:
        values: ``(answers, numbers)``; NaN throughout in a row without an answer. Where ``given`` is there,
            ``(answers, 1)``, the confidence in the label.
        names: of the numbers, in their order; None where nobody says.
        given: the label of each answer, None in a row without one; None where numbers were read.
        spec: where they stand.
        where: file and column, for messages.
        words: how many words of each row have an answer, ``(rows,)``, all of them or 0; None where rows have one each.
    """

    values: Floats
    names: tuple[str, ...] | None
    given: tuple[str | None, ...] | None
    spec: RecordedColumns
    where: str
    words: NDArray[np.int64] | None = None

    @property
    def answered(self) -> NDArray[np.bool_]:
        """``(rows,)``, whether there is an answer."""
        return np.asarray(~np.isnan(self.values).all(axis=1)) if self.words is None else self.words > 0

    @property
    def has_one_answer(self) -> bool:
        """Whether all rows have an answer, and it is the same one."""
        same = bool((self.values == self.values[0]).all())
        return same and (self.given is None or len({*self.given}) == 1)

    @property
    def kind(self) -> str:
        """The registered name of the kind of task that the answers look like."""
        if self.words is not None:
            return "token_classification"
        return "regression" if self.given is None and self.values.shape[1] == 1 else "single_label_classification"

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The labels that they tell by themselves; places where a list has no names; None for one number a row."""
        if self.given is not None:
            return self.names or sorted_names({label for label in self.given if label is not None})
        if self.values.shape[1] == 1 and self.words is None:
            return None
        return self.names or tuple(str(place) for place in range(self.values.shape[1]))

    def logits(self, problem: Problem, names: Sequence[str] | None) -> NDArray[np.float32]:
        """The answers as logits ``(answers, labels)``, in the order of ``names``; NaN in a row without one.

        Raises:
            RequestError: other labels, or numbers that cannot be; with the first such row.
        """
        values = self.values if self.given is None else self._spread(problem, names)
        answered = ~np.isnan(values).all(axis=1)
        if values.shape[1] != problem.num_logits(names):
            raise RequestError(
                f"{self.where}: {values.shape[1]} numbers {'a row' if self.words is None else 'a word'} where"
                f" {problem.name} needs {problem.num_logits(names)}"
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
        raise RequestError(f"{self.where}: {self._place(row)} has {shown}{total}: {needed}")

    def _place(self, answer: int) -> str:
        """Row, and of words word, of an answer, from 1."""
        return f"row {answer + 1}" if self.words is None else _word_place(self.words, answer)

    def _spread(self, problem: Problem, names: Sequence[str] | None) -> Floats:
        """The confidence in a label as probabilities: what it leaves is shared evenly by the other labels."""
        if not problem.exclusive_classes or names is None:
            raise RequestError(f"{self.where}: labels with a confidence are for one class a text, not {problem.name}")
        if len(names) < 2:
            raise RequestError(f"{self.where}: one label only ({listed(names)}): at least two are needed")
        places = {name: place for place, name in enumerate(names)}
        spread = np.full((len(self.values), len(names)), np.nan)
        for row, label in enumerate(self.given or ()):
            if label is None:
                continue
            meant = places.get(label, places.get(find_name(label, names) or ""))
            if meant is None:
                raise unknown(f"label in {self._place(row)} of {self.where}:", label, names)
            spread[row] = (1 - self.values[row, 0]) / (len(names) - 1)
            spread[row, meant] = self.values[row, 0]
        return spread


def read_answers(
    dataset: Dataset, where: str, spec: RecordedColumns, words: NDArray[np.int64] | None = None
) -> RawAnswers:
    """The answers that stand in a data set.

    Args:
        dataset: with the columns of ``spec``: numbers, text, lists of numbers or mappings; lists and mappings may be
            JSON in text.
        where: the file or data set, for messages.
        words: how many words each text has, ``(rows,)``, where each is answered for; None for one answer a text.
    Raises:
        RequestError: a column is not there, a row has none and has to, rows of several forms, lengths or labels, other
            than one answer a word, or what is no finite number; with the first such row, and word.
    """
    names = spec.names_in(dataset.column_names, where)
    columns = names if spec.confidence is None else names[:-1]
    shown = f"column '{columns[0]}'" if len(columns) == 1 else f"columns {columns[0]} to {columns[-1]}"
    place = f"{where}, {shown}"
    several = len(columns) > 1 or "*" in spec.columns[0]
    if several and words is not None:
        raise RequestError(
            f"{place}: of texts with a tag for each word one column is read, with a mapping tag -> number, a list of"
            " numbers, or a tag for each word"
        )
    if several:
        raw = _one_column_each(dataset, columns, spec, place)
    else:
        rows = [_parsed(value) for value in column_values(dataset, columns[0])]
        confidences = (
            None if spec.confidence is None else [_parsed(v) for v in column_values(dataset, spec.confidence)]
        )
        if words is None:
            raw = _one_column(rows, confidences, spec, _Places(place))
        else:
            raw = _of_words(rows, confidences, spec, place, words)
    answered = raw.answered
    absent = np.flatnonzero(~answered)
    if len(absent) == len(answered):
        raise RequestError(f"{place}: no row has an answer of the teacher: name the column that holds them")
    if spec.labels is not None and raw.names != spec.labels:
        raise RequestError(
            f"{place}: teacher labels ({', '.join(spec.labels)}) name the numbers of a list, and these answers are"
            f" {'numbers alone' if raw.names is None else 'of ' + listed(raw.names)}: leave --teacher-labels out (in a"
            " recipe, labels)"
        )
    if len(absent) and spec.missing == "refuse":
        raise RequestError(
            f"{place}: {len(absent)} of {len(answered)} rows have no answer of the teacher, the first is row"
            f" {absent[0] + 1}: fill them in, or let their hard label stand for it with --teacher-missing label (in a"
            " recipe, missing: label)"
        )
    return raw


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


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and all(each is None for each in value.values()))


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
        for row, value in enumerate(column_values(dataset, column)):
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
    # Not half a word that two labels begin with; nor a whole one, where a pattern says what comes before the labels.
    before = spec.columns[0].partition("*")[0] if len(spec.columns) == 1 else ""
    ends = [place + 1 for place, sign in enumerate(columns[0]) if sign in _SIGNS] if len(columns) > 1 else []
    shared = max((end for end in ends if len({name[:end] for name in columns}) == 1), default=0)
    if before and before[-1] in _SIGNS:
        shared = len(before)
    return RawAnswers(values, tuple(name[shared:] for name in columns), None, spec, where)


def _word_place(words: NDArray[np.int64], answer: int) -> str:
    row = int(np.searchsorted(np.cumsum(words), answer, side="right"))
    return f"row {row + 1}, word {answer - int(words[:row].sum()) + 1}"


@dataclass(frozen=True)
class _Places:
    """What to call the answers in a message.

    Args:
        where: file and column.
        words: as `RawAnswers` has them.
    """

    where: str
    words: NDArray[np.int64] | None = None

    @property
    def unit(self) -> str:
        """What has one answer."""
        return "row" if self.words is None else "word"

    def of(self, answer: int) -> str:
        """Where an answer stands."""
        return f"{self.where}: {f'row {answer + 1}' if self.words is None else _word_place(self.words, answer)}"


def _of_words(
    rows: Sequence[Any],
    confidences: Sequence[Any] | None,
    spec: RecordedColumns,
    where: str,
    words: NDArray[np.int64],
) -> RawAnswers:
    """Of rows with a list each, an answer for each word."""
    answered = np.zeros(len(rows), dtype=np.int64)
    flat: list[Any] = []
    sure: list[Any] | None = None if confidences is None else []
    for number, (row, count) in enumerate(zip(rows, words.tolist(), strict=True)):
        if row is None:
            continue
        given = [("answers", row)]
        if confidences is not None:
            given.append(("confidences", confidences[number]))
        for what, values in given:
            if not isinstance(values, list) or len(values) != count:
                got = f"{len(values)} {what}" if isinstance(values, list) else f"{values!r:.60}"
                raise RequestError(
                    f"{where}: row {number + 1} has {count} words and {got} of the teacher: one is needed for each"
                    " word"
                )
        answered[number] = count
        flat += [_parsed(value) for value in row]
        if sure is not None and confidences is not None:
            sure += confidences[number]
    places = _Places(where, answered)
    missing = next((answer for answer, value in enumerate(flat) if _is_nothing(value)), None)
    if missing is not None:
        raise RequestError(f"{places.of(missing)} has no answer of the teacher, and other words of the row have")
    if flat and sure is None and not isinstance(flat[0], Mapping | list) and not math.isnan(_number(flat[0])):
        raise RequestError(
            f"{places.of(0)} has {flat[0]!r:.60}: a mapping tag -> number, a list of numbers, or a tag is needed for"
            " each word"
        )
    raw = _one_column(flat, sure, spec, places)
    return replace(raw, words=answered)


def _one_column(
    rows: Sequence[Any], confidences: Sequence[Any] | None, spec: RecordedColumns, places: _Places
) -> RawAnswers:
    first = next((row for row in rows if row is not None), None)
    if first is None:
        return RawAnswers(np.full((len(rows), 1), np.nan), None, None, spec, places.where)
    if isinstance(first, Mapping):
        return _of_mappings(rows, spec, places)
    if isinstance(first, list):
        if places.words is None and any(isinstance(part, Mapping | list) for part in first):
            raise RequestError(
                f"{places.where}: the first row has an answer for each word, and the texts are whole: give lists of"
                " words (tokens)"
            )
        return _of_lists(rows, spec, places)
    if confidences is None and all(row is None or not math.isnan(_number(row)) for row in rows):
        values = np.array([[math.nan if row is None else _number(row)] for row in rows])
        return RawAnswers(values, None, None, spec, places.where)
    return _of_labels(rows, confidences, spec, places)


def _of_mappings(rows: Sequence[Any], spec: RecordedColumns, places: _Places) -> RawAnswers:
    known = {str(name): place for place, name in enumerate(next(row for row in rows if row is not None))}
    values = np.full((len(rows), len(known)), np.nan)
    for number, row in enumerate(rows):
        if _is_nothing(row):
            continue
        if not isinstance(row, Mapping) or {str(name) for name in row} != known.keys():
            got = listed([str(name) for name in row]) if isinstance(row, Mapping) else f"{row!r:.60}"
            raise RequestError(
                f"{places.of(number)} has {got}: a number for each of {listed(list(known))} is needed, as in the"
                f" first {places.unit}"
            )
        for name, value in row.items():
            values[number, known[str(name)]] = _checked(value, number, places, f" for '{name}'")
    return RawAnswers(values, tuple(known), None, spec, places.where)


def _of_lists(rows: Sequence[Any], spec: RecordedColumns, places: _Places) -> RawAnswers:
    width = len(next(row for row in rows if row is not None))
    if spec.labels is not None and len(spec.labels) != width:
        raise RequestError(
            f"{places.where}: {width} numbers a {places.unit} and {len(spec.labels)} labels: as many are needed"
        )
    values = np.full((len(rows), max(width, 1)), np.nan)
    for number, row in enumerate(rows):
        if row is None:
            continue
        if not isinstance(row, list) or len(row) != width or not width:
            raise RequestError(
                f"{places.of(number)} has {row!r:.60}: a list of {width} numbers is needed, as in the first"
                f" {places.unit}"
            )
        values[number] = [_checked(value, number, places) for value in row]
    return RawAnswers(values, spec.labels, None, spec, places.where)


def _of_labels(
    rows: Sequence[Any], confidences: Sequence[Any] | None, spec: RecordedColumns, places: _Places
) -> RawAnswers:
    given: list[str | None] = []
    values = np.full((len(rows), 1), np.nan)
    for number, row in enumerate(rows):
        if isinstance(row, Mapping | list) or (isinstance(row, float) and math.isnan(row)):
            raise RequestError(f"{places.of(number)} has {row!r:.60} where other {places.unit}s have a label")
        given.append(None if row is None else str(row))
        if row is not None:
            sure = 1.0 if confidences is None else _checked(confidences[number], number, places, " as the confidence")
            if not 0 <= sure <= 1:
                raise RequestError(f"{places.of(number)} has the confidence {sure:g}: it lies from 0 to 1")
            values[number] = sure
    return RawAnswers(values, spec.labels, tuple(given), spec, places.where)


def _checked(value: Any, answer: int, places: _Places, what: str = "") -> float:
    number = _number(value)
    if math.isnan(number):
        raise RequestError(f"{places.of(answer)} has {value!r:.60}{what} where a finite number is needed")
    return number
