"""A number for each text."""

from __future__ import annotations

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
    register_problem,
)
from distilnlp.problems.numbers import number_agreement, one_number, read_numbers

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Regression"]


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
        targets, style = read_numbers(column, train, self.name)
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
        return one_number(logits, f"{self.name} needs logits of shape (examples, 1)")

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
        return number_agreement(student, teacher)

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, Floats]:
        """Their mean."""
        return {"the mean of the training rows": np.full(rows, float(np.mean(labels, dtype=np.float64)))}

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return [f"Scores {inputs}"]

    def card_code(self) -> str:
        return "print(logits.item())"
