"""The user's own data, whatever they were read from, brought to the package's columns."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset, Value
from numpy.typing import NDArray

from distilnlp.data.arrow import column_batches, with_label
from distilnlp.data.columns import EXAMPLE_WEIGHT, Columns, find_columns
from distilnlp.data.example_weights import read_weights, with_weights
from distilnlp.data.label_sets import names_of_sets, read_zeros_and_ones
from distilnlp.data.read_labels import encode_labels, named_ids, read_labels
from distilnlp.data.repeats import Repeats, overlap_note, text_hashes
from distilnlp.data.split import hold_out
from distilnlp.data.tagged_words import check_lengths, words_of_entities
from distilnlp.errors import RequestError
from distilnlp.problems import LabelColumn, Labels, Problem, get_problem, problem_of_columns

__all__ = ["Own", "Request", "convert", "pairs_of"]

logger = logging.getLogger(__name__)

# What stands in a column that says of each text whether it has one label.
_HOLDS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


@dataclass(frozen=True)
class Request:
    """What the user said about their data; None is to be found out.

    Args:
        text, text_pair, label, weight, problem: as for `load_task`.
        seed: of the split.
        trained: the columns of a model's training, for what is not said.
        label_names: of labels that are ids.
    """

    text: str | None = None
    text_pair: str | None = None
    label: str | tuple[str, ...] | None = None
    problem: str | None = None
    seed: int = 0
    trained: Columns | None = None
    label_names: tuple[str, ...] | None = None
    weight: str | None = None

    def columns(self, names: Sequence[str], where: str) -> Columns:
        """What the columns of the data are for. Raises RequestError where that cannot be told."""
        text, text_pair, label = self.text, self.text_pair, self.label
        if self.trained is not None:
            own = self.trained
            if text is None and text_pair is None:
                _check_trained(names, where, "text", own.text, own.text_pair)
                text, text_pair = own.text, own.text_pair
            if label is None:
                _check_trained(names, where, "label", *((own.label,) if isinstance(own.label, str) else own.label))
                label = own.label
        return find_columns(names, where, text=text, text_pair=text_pair, label=label, weight=self.weight)

    def found(self, columns: Columns) -> "Request":
        """With every column named: the validation split uses those of the training split, not its own guess.

        It has no weights: what is measured counts every example alike.
        """
        return replace(self, text=columns.text, text_pair=columns.text_pair, label=columns.label, weight=None)


def _check_trained(names: Sequence[str], where: str, role: str, *columns: str | None) -> None:
    missing = next((name for name in columns if name is not None and name not in names), None)
    if missing is not None:
        raise RequestError(
            f"{where}: no column '{missing}', which the model was trained on: name the {role} with --{role}; columns:"
            f" {', '.join(names)}"
        )


@dataclass(frozen=True)
class Own:
    """Both splits with the columns ``text``, optional ``text_pair`` and ``label``, and what the labels mean.

    Args:
        columns: where they were found. With weights, ``train`` has the column ``example_weight``.
        notes: what is to be known of the texts, for the source: repeated ones, say.
    """

    train: Dataset
    validation: Dataset
    label_names: tuple[str, ...] | None
    problem: Problem
    columns: Columns
    notes: tuple[str, ...]


def convert(train: tuple[Dataset, str], validation: tuple[Dataset, str] | None, request: Request) -> Own:
    """Find the columns, read the labels, hold out a validation split if there is none.

    Args:
        train, validation: the data as read, and what to call them in an error.
        request: what the user said.

    Raises:
        RequestError: columns cannot be told, texts or labels are missing, labels cannot be learned from or differ
            between the splits.
    """
    dataset, where = train
    columns = request.columns(dataset.column_names, where)
    dataset = words_of_entities(dataset, where, columns)
    labels = _labels(dataset, where, columns, problem=request.problem, names=request.label_names)
    rows, hashes = _build(dataset, where, columns, labels)
    if columns.weight is not None:
        rows = with_weights(rows, read_weights(dataset, columns.weight, where))
    repeats = Repeats.of(hashes)
    notes = [note for note in (repeats.note(), repeats.contradictions(labels.values)) if note]
    if validation is None:
        kept, held_out = hold_out(labels.problem.strata(labels.values), request.seed, where, repeats.groups)
        train_rows, validation_rows = (rows.select(each, keep_in_memory=True) for each in (kept, held_out))
        if columns.weight is not None:
            validation_rows = validation_rows.remove_columns(EXAMPLE_WEIGHT)
        note = overlap_note(hashes[kept], hashes[held_out])
        if note:
            notes.append(f"{note}, because there are too few different ones: the held-out scores mean little")
        elif notes:
            notes.append("equal texts are all held out or all trained on")
    else:
        other, other_where = validation
        same = request.found(columns).columns(other.column_names, other_where)
        other = words_of_entities(other, other_where, same)
        train_rows = rows
        own = _labels(other, other_where, same, train=labels, names=request.label_names)
        validation_rows, others = _build(other, other_where, same, own)
        note = overlap_note(hashes, others)
        notes += [note] if note else []
    if notes:
        logger.warning("%s: %s", where, "; ".join(notes))
    return Own(train_rows, validation_rows, labels.names, labels.problem, columns, tuple(notes))


def pairs_of(dataset: Dataset, columns: Columns, where: str, request: Request) -> Dataset:
    """Pairs with a score, with the columns ``text``, ``text_pair`` (of pairs) and ``label``.

    Raises:
        RequestError: a score that is no number, a text that is missing.
    """
    labels = _labels(dataset, where, columns, problem=request.problem)
    return _build(dataset, where, columns, labels)[0]


def _labels(
    dataset: Dataset,
    where: str,
    columns: Columns,
    *,
    problem: str | None = None,
    train: Labels | None = None,
    names: tuple[str, ...] | None = None,
) -> Labels:
    if not len(dataset):
        raise RequestError(f"{where}: no rows: a data set with at least one example is needed")
    given = _told_by_texts(dataset, columns) if problem is None else get_problem(problem)
    kind = train.problem if train else given
    if kind is not None and kind.by_token:
        _check_words(dataset, where, columns, kind)
        check_lengths(dataset, where, columns)
    if not isinstance(columns.label, str):
        return encode_labels(_one_column_each(dataset, where, columns.label), given, train)
    feature = dataset.features[columns.label]
    where = f"{where}, column '{columns.label}'"
    if names_of_sets(feature) is None and (kind is None or kind.several_labels):
        hot = read_zeros_and_ones(dataset, columns.label, where, train)
        if hot is not None:
            return encode_labels(hot, kind, train)
    values: Iterator[object] = (
        value for batch in column_batches(dataset, columns.label) for value in batch.to_pylist()
    )
    if names is not None:
        values, feature = named_ids(values, feature, names, where)
    return read_labels(values, feature, where, problem=given, train=train)


def _told_by_texts(dataset: Dataset, columns: Columns) -> Problem | None:
    """The kind of task whose texts are of this type, whatever the labels are; None where the labels tell it."""
    return problem_of_columns({"text": dataset.features[columns.text]})


def _check_words(dataset: Dataset, where: str, columns: Columns, kind: Problem) -> None:
    """Whether texts are lists of words with a list of tags each."""
    if _told_by_texts(dataset, columns) is None:
        raise RequestError(
            f"{where}: column '{columns.text}' holds texts, and {kind.name} needs a list of words in each row, or"
            " entities with their places in the text (start, end, label)"
        )
    if not isinstance(columns.label, str):
        raise RequestError(f"{where}: {kind.name} needs one column with a list of tags in each row: name it alone")


def _one_column_each(dataset: Dataset, where: str, names: tuple[str, ...]) -> LabelColumn:
    """The labels of each text, of which each has a column of zeros and ones."""
    hot = np.stack([_zeros_and_ones(dataset, where, name) for name in names], axis=1)  # (rows, labels)
    _, first, codes = np.unique(np.packbits(hot, axis=1), axis=0, return_index=True, return_inverse=True)
    distinct = [[name for name, holds in zip(names, hot[row], strict=True) if holds] for row in first]
    shown = ", ".join(names) if len(names) < 6 else f"{names[0]} to {names[-1]}"
    return LabelColumn(distinct, codes.reshape(-1).astype(np.int32), names, f"{where}, columns {shown}")


def _zeros_and_ones(dataset: Dataset, where: str, column: str) -> NDArray[np.bool_]:
    found: list[bool] = []
    for batch in column_batches(dataset, column):
        for value in batch.to_pylist():
            holds = _HOLDS.get(str(value).strip().lower())
            if holds is None:
                raise RequestError(
                    f"{where}, column '{column}': row {len(found) + 1} has {value!r:.60}: 0 or 1 is needed where each"
                    " label has a column"
                )
            found.append(holds)
    return np.array(found)


def _build(dataset: Dataset, where: str, columns: Columns, labels: Labels) -> tuple[Dataset, NDArray[np.uint64]]:
    """The data set with the package's columns, and a hash of each row's texts."""
    texts = {columns.text: "text"} | ({columns.text_pair: "text_pair"} if columns.text_pair is not None else {})
    for name in texts:
        if not labels.problem.by_token:
            _check_texts(dataset, where, name)
    rows = dataset.select_columns(list(texts)).rename_columns(texts)
    return with_label(rows, labels.values, labels.feature), text_hashes(rows)


def _check_texts(dataset: Dataset, where: str, column: str) -> None:
    feature = dataset.features[column]
    if not isinstance(feature, Value) or feature.dtype not in ("string", "large_string"):
        raise RequestError(f"{where}: column '{column}' holds {feature}, not texts: name another column")
    empty, first, start = 0, 0, 1
    for batch in column_batches(dataset, column):
        rows = [row for row, text in enumerate(batch.to_pylist(), start=start) if text is None or not text.strip()]
        first = first or (rows[0] if rows else 0)
        empty += len(rows)
        start += len(batch)
    if empty:
        raise RequestError(
            f"{where}: {empty} of {len(dataset)} rows have no text in column '{column}', the first is row {first}:"
            " fill them in or remove the rows"
        )
