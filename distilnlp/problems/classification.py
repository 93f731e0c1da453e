"""One class a text."""

from __future__ import annotations

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
    check_classes,
    check_finite,
    class_name,
    register_problem,
    sorted_names,
    to_number,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Classification"]

# More distinct integers than this are hardly classes; more distinct names only if they seldom repeat.
MANY_CLASSES = 50


@register_problem("single_label_classification")
@dataclass(frozen=True)
class Classification(Problem):
    """One class a text, out of two or more: a softmax, cross-entropy, the largest logit.

    Units: cross-entropy and KL in nats a text.
    """

    exclusive_classes: ClassVar[bool] = True
    response_loss: ClassVar[str] = "soft_target"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    accepted_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "macro_f1", "micro_f1", "matthews_correlation")

    def recognises(self, column: LabelColumn) -> bool:
        """True: whatever is nothing else is taken for classes, unless there are too many of them."""
        if column.declared:
            return True
        numbers = [to_number(value) for value in column.distinct]
        distinct, where = len(numbers), column.where
        if None not in numbers:
            if distinct > MANY_CLASSES:
                raise RequestError(
                    f"{where}: {distinct} distinct whole numbers: say problem_type=regression or {self.name}"
                    " (--problem-type)"
                )
        elif numbers.count(None) < distinct / 2 and any(
            not number.is_integer() for number in numbers if number is not None
        ):
            position = numbers.index(None)
            raise RequestError(
                f"{where}: row {column.row(position)} has '{column.distinct[position]}' among numbers with a fraction:"
                f" correct or remove it, or say problem_type={self.name}"
            )
        elif distinct > max(MANY_CLASSES, len(column) // 2):
            raise RequestError(
                f"{where}: {distinct} distinct labels in {len(column)} rows are hardly classes: name another column"
                f" with label=, or say problem_type={self.name}"
            )
        return True

    def encode(self, column: LabelColumn, train: Labels | None) -> Labels:
        if isinstance(column.distinct[0], list):
            raise RequestError(f"{column.where}: labels are lists: {self.name} needs one name or number a row")
        keys = [class_name(value) for value in column.distinct]
        if train is None and len(set(keys)) < 2:
            raise RequestError(
                f"{column.where}: one class only ('{keys[0]}') in {len(column)} rows: at least two are needed"
            )
        names = (train.names if train else column.declared) or sorted_names(set(keys))
        ids = {name: position for position, name in enumerate(names)}
        column.check_known([[key] for key in keys], names)
        return Labels(np.array([ids[key] for key in keys])[column.codes], names, self)

    def feature(self, names: Sequence[str] | None) -> Any:
        from datasets import ClassLabel

        return ClassLabel(names=list(names or ()))

    def has_feature(self, feature: Any) -> bool:
        from datasets import ClassLabel, Value

        return isinstance(feature, ClassLabel) or (isinstance(feature, Value) and "float" not in feature.dtype)

    def num_classes(self, num_logits: int) -> int:
        """As many as logits. Raises RequestError for one."""
        if num_logits < 2:
            raise RequestError(
                "class labels need at least two logits; the student has one, whose softmax is constant: "
                "set num_labels, or give float labels for a regression"
            )
        return num_logits

    def has_labels(self, labels: Tensor) -> bool:
        return not labels.is_floating_point()

    def row_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy."""
        import torch.nn.functional as F

        return F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")

    def check_logits(self, logits: ArrayLike) -> NDArray[Any]:
        values = np.asarray(logits)
        if values.ndim != 2 or values.shape[1] < 2:
            raise RequestError(f"{self.name} needs logits of shape (examples, 2 or more); got {np.shape(logits)}")
        check_finite(values)
        return values

    def decide(self, logits: ArrayLike) -> NDArray[Any]:
        """The class of the largest logit, ``(examples,)``."""
        return np.asarray(self.check_logits(logits).argmax(axis=1))

    def answers(self, logits: ArrayLike, names: Sequence[str]) -> list[Answer]:
        values = self.check_logits(logits)
        probabilities = np.exp(_log_softmax(values.astype(np.float64)))
        return [
            Answer(names[best], float(row[best]), dict(zip(names, row.tolist(), strict=True)))
            for best, row in zip(values.argmax(axis=1).tolist(), probabilities, strict=True)
        ]

    def check_decisions(self, values: Floats, which: str) -> None:
        check_classes(values, which, "class numbers from 0")

    def agreement(self, student: Floats, teacher: Floats, teachers: Problem | None = None) -> dict[str, float]:
        """The share of texts with the same largest logit, and the mean of ``KL(teacher || student)``."""
        log_q, log_p = _log_softmax(student), _log_softmax(teacher)  # (examples, classes)
        divergence = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)  # (examples,)
        same = student.argmax(axis=1) == teacher.argmax(axis=1)
        # A KL is >= 0; rounding alone can take it just under.
        return {"agreement": float(np.mean(same)), "kl": max(0.0, float(divergence.mean()))}

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return [f"Classifies {inputs}", *([f"The answer is one of: {', '.join(names)}."] if names else [])]

    def card_code(self) -> str:
        return "print(model.config.id2label[logits.argmax(-1).item()])"


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
