"""Several labels a text: kept as the few that hold, and a 0 or 1 for each only in a batch."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, List
from numpy.typing import NDArray

from distilnlp.data.arrow import column_array, column_batches, column_values
from distilnlp.errors import RequestError
from distilnlp.problems import IGNORED, LabelColumn, Labels, Problem, problem_of_columns
from distilnlp.problems.base import LABEL_COLUMNS

__all__ = [
    "as_zeros_and_ones",
    "is_missing",
    "label_array",
    "label_keys",
    "label_sums",
    "labelled_rows",
    "names_of_sets",
    "read_zeros_and_ones",
    "rows_with_label",
    "rows_without_label",
]


def names_of_sets(feature: object) -> tuple[str, ...] | None:
    """The labels of a column that holds, of each text, the ids of those that hold; None for any other column."""
    inner = feature.feature if isinstance(feature, List) else None
    return tuple(inner.names) if isinstance(inner, ClassLabel) and inner.names else None


def as_zeros_and_ones(sets: Sequence[Sequence[int]], labels: int) -> NDArray[np.int8]:
    """``(rows, labels)``, 1 where a label holds, in the smallest type: of many labels that is much.

    Args:
        sets: of each row the ids of the labels that hold.
        labels: how many there are.
    Raises:
        RequestError: an id that no label has.
    """
    ids = np.fromiter((each for row in sets for each in row), dtype=np.int64)
    if len(ids) and not 0 <= ids.min() <= ids.max() < labels:
        raise RequestError(
            f"a text has the label {ids.max() if ids.max() >= labels else ids.min()} and there are {labels}, counted"
            " from 0: give a model with a logit for each label (num_labels=), or data with those labels"
        )
    hot = np.zeros((len(sets), labels), dtype=np.int8)
    hot[np.repeat(np.arange(len(sets)), [len(row) for row in sets]), ids] = 1
    return hot


def label_array(dataset: Dataset, problem: Problem | None = None, column: str = "label") -> NDArray[Any]:
    """A column of labels as numbers, a label for each row of logits.

    Args:
        dataset: the data.
        problem: the kind of task; default: the one that the columns are told to be of.
        column: of the labels.
    Returns:
        ``(rows,)``, or ``(rows, labels)`` where there are several a text; of a kind that labels tokens,
        or the texts of a query, those of all examples, one after the other; of one whose answers stand in the text, a
        tuple of them for each row.
    """
    names = names_of_sets(dataset.features[column])
    kind = problem or problem_of_columns(dataset.features)
    if kind is not None and kind.rows == "span":
        return _answers(dataset, column)
    if kind is not None and kind.rows == "token":
        return np.fromiter((each for ids in column_values(dataset, column) for each in ids), dtype=np.int64)
    if kind is not None and kind.rows == "list":
        return np.fromiter((each for values in column_values(dataset, column) for each in values), dtype=np.float64)
    return (
        column_array(dataset, column)
        if names is None
        else as_zeros_and_ones(list(column_values(dataset, column)), len(names))
    )


def label_keys(dataset: Dataset, problem: Problem, column: str = "label") -> NDArray[Any]:
    """A column of labels, to tell examples apart by: a number each, or the ids of all labels in it, as tuples."""
    if problem.rows == "span":
        return problem.strata(_answers(dataset, column))
    if names_of_sets(dataset.features[column]) is None and problem.rows != "list":
        return column_array(dataset, column)
    keys = np.empty(len(dataset), dtype=object)
    for row, ids in enumerate(column_values(dataset, column)):
        keys[row] = tuple(ids)
    return problem.strata(keys)


def label_sums(dataset: Dataset, column: str = "label") -> NDArray[np.int64]:
    """In how many rows each of several labels holds, ``(labels,)``; of label sets, or of zeros and ones."""
    names = names_of_sets(dataset.features[column])
    if names is None:
        sums: list[NDArray[Any]] = [
            np.asarray(batch.to_pylist()).sum(axis=0) for batch in column_batches(dataset, column)
        ]
        return np.asarray(np.sum(sums, axis=0), dtype=np.int64)
    found = np.zeros(len(names), dtype=np.int64)
    for batch in column_batches(dataset, column):
        found += np.bincount(pc.list_flatten(batch).to_numpy(), minlength=len(names))
    return found


def rows_with_label(batch: pa.Array) -> NDArray[np.bool_]:
    """Which rows have a label, ``(rows,)``: one that is not -100, NaN, null, or a list of nothing but such."""
    there: NDArray[np.bool_] = np.asarray(batch.is_valid())
    if pa.types.is_floating(batch.type):
        there = there & ~np.asarray(pc.fill_null(pc.is_nan(batch), False))
    elif pa.types.is_integer(batch.type):
        there = there & ~np.asarray(pc.fill_null(pc.equal(batch, IGNORED), False))
    elif pa.types.is_list(batch.type) and not pa.types.is_nested(batch.type.value_type):
        lengths = np.asarray(pc.fill_null(pc.list_value_length(batch), 0))
        known = rows_with_label(pc.list_flatten(batch))
        some = np.bincount(np.repeat(np.arange(len(batch)), lengths)[known], minlength=len(batch)) > 0
        there = there & (some | (lengths == 0))
    return there


def labelled_rows(dataset: Dataset) -> NDArray[np.bool_]:
    """Which rows of a data set have a label, ``(rows,)`` (see `rows_with_label`); none without a column ``label``."""
    if "label" not in dataset.column_names or not len(dataset):
        return np.zeros(len(dataset), dtype=bool)
    return np.concatenate([rows_with_label(batch) for batch in column_batches(dataset, "label")])


def is_missing(value: object, declared: bool = False) -> bool:
    """Whether a label as it stands in the data is none: nothing, blank text or NaN; of declared classes also -1."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (declared and value == -1) or (isinstance(value, float) and math.isnan(value))


def rows_without_label(dataset: Any) -> int:
    """How many rows of a data set have a column of labels and no label in it (see `rows_with_label`)."""
    columns = dataset.column_names if isinstance(dataset, Dataset) else []
    name = next((name for name in LABEL_COLUMNS if name in columns), None)
    return 0 if name is None else sum(int((~rows_with_label(batch)).sum()) for batch in column_batches(dataset, name))


def _answers(dataset: Dataset, column: str) -> NDArray[Any]:
    """The texts that are right of each row, ``(rows,)`` of tuples."""
    found = np.empty(len(dataset), dtype=object)
    for place, row in enumerate(column_values(dataset, column)):
        found[place] = tuple(row["text"])
    return found


def read_zeros_and_ones(dataset: Dataset, column: str, where: str, train: Labels | None) -> LabelColumn | None:
    """A column of lists of a 0 or 1 for each label, of one length, as the labels that hold; None for any other.

    The labels have no names there: they get those of the training data, else their places.

    Args:
        dataset, column: the data.
        where: the file and column, for the errors.
        train: the labels of the training split, where this is the validation split.
    Raises:
        RequestError: as many labels as the training data have are needed.
    """
    width: int | None = None
    for batch in column_batches(dataset, column):
        width = _width(batch) if width in (None, _width(batch)) else None
        if width is None:
            return None
    if width is None:
        return None
    if train and len(train.names or ()) != width:
        raise RequestError(
            f"{where}: rows of {width} zeros and ones where the training data have {len(train.names or ())} labels: as"
            " many are needed"
        )
    names = (train and train.names) or tuple(str(place) for place in range(width))
    known: dict[bytes, int] = {}
    distinct: list[list[str]] = []
    codes = np.empty(len(dataset), dtype=np.int32)
    row = 0
    for batch in column_batches(dataset, column):
        hot = pc.list_flatten(batch).cast(pa.int8()).to_numpy().reshape(-1, width)
        for packed, each in zip(np.packbits(hot, axis=1), hot, strict=True):
            key = packed.tobytes()
            if key not in known:
                known[key] = len(distinct)
                distinct.append([names[place] for place in np.flatnonzero(each)])
            codes[row] = known[key]
            row += 1
    return LabelColumn(list(distinct), codes, names, where)


def _width(batch: pa.Array) -> int | None:
    """The length of the lists of an array, 2 or more; None where they differ or hold other things than 0 and 1."""
    kind = batch.type
    if not pa.types.is_list(kind) or batch.null_count or not len(batch):
        return None
    inner = kind.value_type
    values = pc.list_flatten(batch)
    if values.null_count or not (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
        return None
    lengths = pc.unique(pc.list_value_length(batch))
    width: int = lengths[0].as_py()
    numbers = pc.unique(values).to_pylist()
    return width if len(lengths) == 1 and width > 1 and set(numbers) <= {0, 1} else None
