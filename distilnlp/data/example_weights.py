"""How much each example counts in training: a column of the user's numbers, checked, with a mean of 1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from numpy.typing import NDArray

from distilnlp.data.arrow import column_array, column_values
from distilnlp.data.columns import EXAMPLE_WEIGHT
from distilnlp.errors import RequestError
from distilnlp.problems import LabelColumn

__all__ = ["has_example_weights", "read_weights", "scale_weights", "with_weights"]


def read_weights(dataset: Dataset, column: str, where: str) -> NDArray[np.float64]:
    """The numbers of a column, ``(rows,)``, as the user wrote them.

    Args:
        column: of numbers, or of texts that are.
        where: the file, for the errors.
    Raises:
        RequestError: a row without a number, or one that is negative or not finite; all are 0.
    """
    where = f"{where}, column '{column}'"
    found = LabelColumn.of(column_values(dataset, column), None, where)
    empty = [place for place, value in enumerate(found.distinct) if value is None or value == ""]
    if empty:
        raise RequestError(
            f"{where}: row {found.row(empty[0])} has no weight: fill it in (1 counts as ever, 0 not at all)"
        )
    style = found.style
    numbers = np.array([np.nan if style is None else style.read(value) for value in found.distinct], dtype=np.float64)
    wrong = [place for place, value in enumerate(found.distinct) if isinstance(value, bool)]
    wrong += [int(place) for place in np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))]
    if wrong:
        place = min(wrong, key=found.row)
        if style is None:  # one that is no number hides how the others are written
            place = next((p for p, value in enumerate(found.distinct) if not _is_number(value)), place)
        raise RequestError(
            f"{where}: row {found.row(place)} has {found.distinct[place]!r:.60}: the weight of an example is a number"
            " of 0 or more"
        )
    _check_some(numbers, where)
    return numbers[found.codes]


def _is_number(value: object) -> bool:
    try:
        return bool(np.isfinite(float(value)))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _check_some(numbers: NDArray[Any], where: str) -> None:
    if not np.any(numbers > 0):
        raise RequestError(f"{where}: every weight is 0: nothing would be trained; name another column")


def with_weights(dataset: Dataset, weights: NDArray[np.float64]) -> Dataset:
    """The data set with the column ``example_weight``."""
    return dataset.add_column(EXAMPLE_WEIGHT, weights.astype(np.float32))


def has_example_weights(dataset: Any) -> bool:
    """Whether a data set or a stream has a column ``example_weight``."""
    names: Sequence[str] = getattr(dataset, "column_names", None) or ()
    return isinstance(dataset, Dataset | IterableDataset) and EXAMPLE_WEIGHT in names


def scale_weights(dataset: Any, argument: str) -> Any:
    """The training data with weights of mean 1; data without, a stream and what is not of `datasets` as they are.

    Args:
        argument: the data set's name, for the errors.
    Raises:
        RequestError: weights that are no numbers, negative, not finite, missing, or 0 throughout.
    """
    if not has_example_weights(dataset) or not isinstance(dataset, Dataset):
        return dataset
    try:
        weights = column_array(dataset, EXAMPLE_WEIGHT).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"the column '{EXAMPLE_WEIGHT}' of {argument} holds {dataset.features[EXAMPLE_WEIGHT]}: a number of 0 or"
            " more for each row is needed"
        ) from error
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0))) if weights.ndim == 1 else np.zeros(1, dtype=int)
    if len(wrong):
        value = dataset[int(wrong[0])][EXAMPLE_WEIGHT]
        raise RequestError(
            f"row {wrong[0] + 1} of {argument} has the {EXAMPLE_WEIGHT} {value!r:.60}: a number of 0 or more is"
            " needed in each row"
        )
    _check_some(weights, f"the column '{EXAMPLE_WEIGHT}' of {argument}")
    return with_weights(dataset.remove_columns(EXAMPLE_WEIGHT), weights / weights.mean())
