"""What the kinds share whose answers are numbers: how they are read, checked and compared."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.base import Floats, LabelColumn, Labels, check_finite
from distilnlp.problems.written import NumberStyle, nearest_style

__all__ = ["correlation", "number_agreement", "one_number", "read_numbers", "undefined_correlation"]

logger = logging.getLogger(__name__)


def read_numbers(column: LabelColumn, train: Labels | None, what: str) -> tuple[NDArray[np.float64], NumberStyle]:
    """The number of each distinct value of a column, and how the numbers are written.

    Args:
        train: the labels of the training split, which are written as these have to be; None where these are they.
        what: needs the numbers, for messages.
    Raises:
        RequestError: a value that is no finite number.
    """
    style = (column.style or nearest_style(column.distinct)) if train is None else train.style or NumberStyle()
    found = [style.read(value) for value in column.distinct]
    numbers = np.array([math.nan if number is None else number for number in found])
    if not np.isfinite(numbers).all():
        position = int(np.argmin(np.isfinite(numbers)))
        raise RequestError(
            f"{column.where}: row {column.row(position)} has '{column.distinct[position]}' where {what} needs a finite"
            f" number{_written_in(style) if train else ''}"
        )
    return numbers, style


def _written_in(style: NumberStyle) -> str:
    if not style.marks:
        return ", written with a decimal point as in the training data"
    sign = "comma" if style.decimal == "," else "point"
    return f", written with a decimal {sign}{' and in percent' if style.percent else ''} as in the training data"


def one_number(logits: ArrayLike, needs: str) -> NDArray[Any]:
    """Logits of one number a row, ``(rows, 1)`` or ``(rows,)``, as ``(rows,)``.

    Args:
        needs: what is needed, in words, for the message.
    Raises:
        RequestError: logits of another shape.
        RunError: logits that are not finite numbers.
    """
    values = np.asarray(logits)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise RequestError(f"{needs}; got {np.shape(logits)}")
    check_finite(values)
    return values


def number_agreement(student: Floats, teacher: Floats) -> dict[str, float]:
    """Pearson correlation (1.0 for equal numbers, else 0.0 where undefined) and the mean absolute difference."""
    same, why = bool(np.array_equal(student, teacher)), undefined_correlation(student, teacher)
    if why is not None and not same:
        logger.warning("agreement with the teacher is not defined: %s; reported as 0.0", why)
    agreement = 1.0 if same else correlation(student, teacher)
    return {"agreement": agreement, "mae": float(np.abs(student - teacher).mean())}


def undefined_correlation(predictions: Floats, references: Floats) -> str | None:
    """Why the correlation of two vectors is not defined, in words; None where it is."""
    for which, values in (("predictions", predictions), ("references", references)):
        if np.ptp(values) == 0:
            return f"the {which} are all equal"
    return None


def correlation(first: Floats, second: Floats) -> float:
    """Pearson correlation of two vectors; 0.0 where it is not defined."""
    if undefined_correlation(first, second) is not None:
        return 0.0
    first, second = (values / np.abs(values).max() for values in (first, second))  # no overflow in the squares
    first, second = first - first.mean(), second - second.mean()
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.clip(first @ second / scale, -1.0, 1.0)) if scale > 0 else 0.0
