"""A number for each text."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.base import (
    Answer,
    Floats,
    LabelColumn,
    Labels,
    Problem,
    check_finite,
    register_problem,
)
from distilnlp.problems.written import NumberStyle, nearest_style

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Regression", "correlation", "undefined_correlation"]

logger = logging.getLogger(__name__)


@register_problem("regression")
@dataclass(frozen=True)
class Regression(Problem):
    """A number for each text: one logit, which is the number itself, and its squared error.

    Units: those of the target; the loss in their square.
    """

    named_labels: ClassVar[bool] = False
    response_loss: ClassVar[str] = "logit_mse"
    no_label: ClassVar[float | None] = math.nan
    metrics: ClassVar[tuple[str, ...]] = ("pearson", "spearmanr")
    accepted_metrics: ClassVar[tuple[str, ...]] = ("pearson", "spearmanr", "mse")
    agreement_meaning: ClassVar[str] = "Pearson correlation with the teacher (0 is what chance gives)"

    def recognises(self, column: LabelColumn) -> bool:
        """Numbers, of which some have a fraction."""
        if column.declared:
            return False
        style = column.style
        return style is not None and not all(float(style.read(value) or 0).is_integer() for value in column.distinct)

    def encode(self, column: LabelColumn, train: Labels | None) -> Labels:
        style = (column.style or nearest_style(column.distinct)) if train is None else train.style or NumberStyle()
        found = [style.read(value) for value in column.distinct]
        targets = np.array([math.nan if number is None else number for number in found])
        if not np.isfinite(targets).all():
            position = int(np.argmin(np.isfinite(targets)))
            raise RequestError(
                f"{column.where}: row {column.row(position)} has '{column.distinct[position]}' where {self.name} needs"
                f" a finite number{_written_in(style) if train else ''}"
            )
        if train is None and len(np.unique(targets)) < 2:
            raise RequestError(
                f"{column.where}: every target is {targets[0]}: there is nothing to learn; name another column"
            )
        return Labels(targets[column.codes], None, self, style)

    def feature(self, names: Sequence[str] | None) -> Any:
        from datasets import Value

        return Value("float32")

    def has_feature(self, feature: Any) -> bool:
        from datasets import Value

        return isinstance(feature, Value) and "float" in feature.dtype

    def num_logits(self, names: Sequence[str] | None) -> int:
        return 1

    def config_settings(self, names: Sequence[str] | None) -> dict[str, Any]:
        return {"problem_type": self.name, "num_labels": 1}

    def has_labels(self, labels: Tensor) -> bool:
        return labels.is_floating_point() and labels.ndim == 1

    def row_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The squared error."""
        import torch.nn.functional as F

        if logits.shape[-1] != 1:
            raise RequestError(f"a float target needs one logit; the student has {logits.shape[-1]}")
        numbers = logits.squeeze(-1)  # (batch, rows)
        return F.mse_loss(numbers, labels.to(numbers.dtype).reshape(numbers.shape), reduction="none")

    def check_logits(self, logits: ArrayLike) -> NDArray[Any]:
        values = np.asarray(logits)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            raise RequestError(f"{self.name} needs logits of shape (examples, 1); got {np.shape(logits)}")
        check_finite(values)
        return values

    def decide(self, logits: ArrayLike) -> NDArray[Any]:
        """The numbers themselves, ``(examples,)``."""
        return self.check_logits(logits)

    def answers(self, logits: ArrayLike, names: Sequence[str]) -> list[Answer]:
        return [Answer(f"{number:.4f}", None, {}) for number in self.check_logits(logits).tolist()]

    def wrong_probabilities(self, values: Floats) -> tuple[NDArray[np.bool_], str]:
        """None: the numbers are the answers."""
        return np.zeros(len(values), dtype=bool), ""

    def logits_of(self, probabilities: Floats) -> Floats:
        return probabilities

    def probabilities_of(self, logits: Floats) -> Floats:
        return logits

    def logits_of_labels(self, labels: NDArray[Any], count: int) -> Floats:
        return np.asarray(labels, dtype=np.float64)[:, None]

    def agreement(
        self,
        student: Floats,
        teacher: Floats,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """Pearson correlation (1.0 for equal numbers, else 0.0 where undefined) and the mean absolute difference."""
        same, why = bool(np.array_equal(student, teacher)), undefined_correlation(student, teacher)
        if why is not None and not same:
            logger.warning("agreement with the teacher is not defined: %s; reported as 0.0", why)
        agreement = 1.0 if same else correlation(student, teacher)
        return {"agreement": agreement, "mae": float(np.abs(student - teacher).mean())}

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, Floats]:
        """Their mean."""
        return {"the mean of the training rows": np.full(rows, float(np.mean(labels, dtype=np.float64)))}

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return [f"Scores {inputs}"]

    def card_code(self) -> str:
        return "print(logits.item())"


def _written_in(style: NumberStyle) -> str:
    if not style.marks:
        return ", written with a decimal point as in the training data"
    sign = "comma" if style.decimal == "," else "point"
    return f", written with a decimal {sign}{' and in percent' if style.percent else ''} as in the training data"


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
