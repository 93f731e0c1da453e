"""What people hand over in place of a data set, and a data set's labels as the training counts them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Features, IterableDataset, List, Value
from datasets.table import InMemoryTable

from distilnlp.data.arrow import column_array, column_batches
from distilnlp.data.label_sets import names_of_sets
from distilnlp.errors import RequestError
from distilnlp.label_names import find_name
from distilnlp.problems import IGNORED, Problem, problem_of_columns

__all__ = ["as_dataset", "as_datasets", "check_class_ids", "count_labels_as"]

NEEDED = "a datasets.Dataset with the columns text (maybe text_pair) and label is needed, as load_task gives it"


def as_datasets(given: Any, argument: str) -> Any:
    """As `as_dataset`, or a dict of several by name.

    Raises:
        RequestError: as `as_dataset`.
    """
    if isinstance(given, Mapping) and not _is_columns(given):
        return {name: as_dataset(each, f"{argument}[{name!r}]") for name, each in given.items()}
    return as_dataset(given, argument)


def as_dataset(given: Any, argument: str) -> Any:
    """A table, a list of rows or a dict of columns as a `datasets.Dataset`; a data set or a stream as it is.

    Args:
        given: a `datasets.Dataset` or ``IterableDataset``; a DataFrame of pandas or polars, a table of pyarrow; rows
            ``[{"text": ..., "label": ...}, ...]``; columns ``{"text": [...], "label": [...]}``; a data set of torch,
            or rows that are tokenised already, which nothing is done to; None.
        argument: its name, for the error.
    Raises:
        RequestError: none of these, or several splits where one is needed.
    """
    kind, home = type(given).__name__, type(given).__module__.partition(".")[0]
    if given is None or isinstance(given, Dataset | IterableDataset):
        return given
    try:
        if isinstance(given, pa.Table):
            return Dataset(InMemoryTable(given))
        if kind == "DataFrame" and home == "pandas":
            return Dataset.from_pandas(given, preserve_index=False)
        if kind == "DataFrame" and home == "polars":
            return Dataset.from_polars(given)
        if isinstance(given, Mapping) and _is_columns(given):
            return Dataset.from_dict(dict(given))
        if isinstance(given, list | tuple) and given and all(isinstance(row, Mapping) for row in given):
            return given if "input_ids" in given[0] else Dataset.from_list([dict(row) for row in given])
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"{argument} is a {kind} that makes no table ({reason:.200}): {NEEDED}") from error
    if isinstance(given, Mapping):
        names = ", ".join(map(str, given))
        raise RequestError(
            f"{argument} has the splits {names}: give one of them, {argument}[{next(iter(given), '')!r}]"
        )
    plain = isinstance(given, str | bytes | Sequence | type) or hasattr(given, "shape")  # or an array
    if not plain and (hasattr(given, "__getitem__") or hasattr(given, "__iter__")):
        return given  # a data set of torch
    raise RequestError(f"{argument} is a {kind}: {NEEDED}")


def _is_columns(given: Mapping[Any, Any]) -> bool:
    """Whether a dict holds columns; rows, tables and data sets as its values are splits."""
    values = list(given.values())
    plain = all(isinstance(value, list | tuple | np.ndarray) for value in values)
    return bool(values) and plain and not any(len(value) and isinstance(value[0], Mapping) for value in values)


def count_labels_as(
    dataset: Any, names: Sequence[str] | None, argument: str, model_problem: Problem | None = None
) -> Any:
    """The data set with its class ids as places in ``names``, and multi-hot rows of whole numbers as float32.

    Args:
        dataset: a data set or stream; anything else is given back as it is.
        names: the labels as the training counts them; None leaves the order alone.
        argument: the data set's name, for the error.
        model_problem: that of the model that will read it, where both could be of it.
    Raises:
        RequestError: a class that is not among ``names``; multi-hot rows of other numbers than 0 and 1, or of several
            lengths.
    """
    features = getattr(dataset, "features", None)
    if not isinstance(dataset, Dataset | IterableDataset) or features is None:
        return dataset
    column = next((name for name in ("label", "labels", "label_ids") if name in features), None)
    if column is None:
        return dataset
    feature = features[column]
    problem = problem_of_columns(features, model_problem)
    own = tuple(feature.names) if isinstance(feature, ClassLabel) else names_of_sets(feature)
    if own is not None and names is not None and own != tuple(names):
        in_order = problem is not None and problem.rows == "token"
        return _renumbered(dataset, column, own, names, argument, in_order=in_order)
    if problem is not None and not problem.several_labels:
        return dataset
    if isinstance(feature, List) and isinstance(feature.feature, Value) and "int" in feature.feature.dtype:
        if isinstance(dataset, Dataset):
            _check_multi_hot(dataset, column, argument)
        return dataset.cast_column(column, List(Value("float32")))
    return dataset


def _renumbered(
    dataset: Any, column: str, own: Sequence[str], names: Sequence[str], argument: str, *, in_order: bool
) -> Any:
    """The data set with its class ids as places in ``names``; ``in_order``: a list has a class for each token."""
    found = [find_name(name, names) for name in own]
    if None in found or len(set(found)) < len(found):
        raise RequestError(
            f"the labels of {argument} are {', '.join(own)} and those of the training are {', '.join(names)}: give "
            "data of the same labels"
        )
    places = np.array([list(names).index(str(name)) for name in found])
    feature = ClassLabel(names=list(names))
    if names_of_sets(dataset.features[column]) is not None:

        def renumber_set(row: dict[str, Any]) -> dict[str, Any]:
            ids = [each if each < 0 else int(places[each]) for each in row[column]]
            return {column: ids if in_order else sorted(ids)}

        return dataset.map(renumber_set, features=Features({**dataset.features, column: List(feature)}))
    if isinstance(dataset, IterableDataset):

        def renumber(row: dict[str, Any]) -> dict[str, Any]:
            value = row[column]
            return {column: value if value is None or value < 0 else int(places[value])}

        return dataset.map(renumber, features=Features({**dataset.features, column: feature}))
    ids = column_array(dataset, column)
    if ids.dtype == object:
        raise RequestError(f"{argument} has rows without a label: fill them in or remove the rows")
    return dataset.remove_columns(column).add_column(column, np.where(ids < 0, ids, places[ids]), feature=feature)


def _check_multi_hot(dataset: Dataset, column: str, argument: str) -> None:
    lengths: set[Any] = set()
    for batch in column_batches(dataset, column):
        lengths.update(pc.unique(pc.list_value_length(batch)).to_pylist())
        low, high = pc.min_max(pc.list_flatten(batch)).values()
        if len(lengths) > 1 or None in lengths or low.as_py() not in (0, 1) or high.as_py() not in (0, 1):
            raise RequestError(
                f"the rows of '{column}' in {argument} are lists of whole numbers, and not all of one length with "
                "nothing but 0 and 1: one number a label is needed, 1 where it holds"
            )


def check_class_ids(dataset: Any, classes: int, argument: str) -> None:
    """Raise RequestError for class ids that a head of so many classes has no logit for.

    Args:
        dataset: tokenised or not; a stream or a data set of torch is not read.
        classes: how many the head tells apart.
        argument: the data set's name, for the error.
    """
    if not isinstance(dataset, Dataset):
        return
    column = next((name for name in ("label", "labels") if name in dataset.features), None)
    feature = None if column is None else dataset.features[column]
    feature = feature.feature if isinstance(feature, List) else feature
    if not isinstance(feature, ClassLabel) and not (isinstance(feature, Value) and "int" in feature.dtype):
        return
    for batch in column_batches(dataset, str(column)):
        flat = batch.flatten() if isinstance(dataset.features[str(column)], List) else batch
        ids = flat.to_numpy(zero_copy_only=False)
        wrong = [each for each in np.unique(ids[ids != IGNORED]) if not 0 <= each < classes]
        if wrong:
            raise RequestError(
                f"{argument} has the label {wrong[0]:g} and the head has {classes} classes, counted from 0: give a "
                "model with a logit for each label (num_labels=), or data with those labels"
            )
