"""The user's own data, whatever they were read from, brought to the package's columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasets import Dataset, Value

from distilnlp.data.arrow import column_batches, with_label
from distilnlp.data.columns import Columns, find_columns
from distilnlp.data.read_labels import read_labels
from distilnlp.data.split import hold_out
from distilnlp.errors import RequestError
from distilnlp.problems import Labels, Problem

__all__ = ["Own", "Request", "convert"]


@dataclass(frozen=True)
class Request:
    """What the user said about their data; None is to be found out."""

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    problem: str | None = None
    seed: int = 0

    def columns(self, names: Sequence[str], where: str) -> Columns:
        """What the columns of the data are for. Raises RequestError where that cannot be told."""
        return find_columns(names, where, text=self.text, text_pair=self.text_pair, label=self.label)

    def found(self, columns: Columns) -> "Request":
        """With every column named: the validation split uses those of the training split, not its own guess."""
        return replace(self, text=columns.text, text_pair=columns.text_pair, label=columns.label)


@dataclass(frozen=True)
class Own:
    """Both splits with the columns ``text``, optional ``text_pair`` and ``label``, and what the labels mean."""

    train: Dataset
    validation: Dataset
    label_names: tuple[str, ...] | None
    problem: Problem


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
    labels = _labels(dataset, where, columns, problem=request.problem)
    rows = _build(dataset, where, columns, labels)
    if validation is None:
        kept, held_out = hold_out(labels.values, request.seed, where)
        train_rows, validation_rows = (rows.select(each, keep_in_memory=True) for each in (kept, held_out))
    else:
        other, other_where = validation
        same = request.found(columns).columns(other.column_names, other_where)
        train_rows = rows
        validation_rows = _build(other, other_where, same, _labels(other, other_where, same, train=labels))
    return Own(train_rows, validation_rows, labels.names, labels.problem)


def _labels(
    dataset: Dataset, where: str, columns: Columns, *, problem: str | None = None, train: Labels | None = None
) -> Labels:
    if not len(dataset):
        raise RequestError(f"{where}: no rows: a data set with at least one example is needed")
    feature = dataset.features[columns.label]
    values = (value for batch in column_batches(dataset, columns.label) for value in batch.to_pylist())
    return read_labels(values, feature, f"{where}, column '{columns.label}'", problem=problem, train=train)


def _build(dataset: Dataset, where: str, columns: Columns, labels: Labels) -> Dataset:
    texts = {columns.text: "text"} | ({columns.text_pair: "text_pair"} if columns.text_pair is not None else {})
    for name in texts:
        _check_texts(dataset, where, name)
    return with_label(dataset.select_columns(list(texts)).rename_columns(texts), labels.values, labels.feature)


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
