"""One class a text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.base import (
    LEAST_PROBABILITY,
    Answer,
    Floats,
    LabelColumn,
    Labels,
    Problem,
    beyond_chance,
    check_classes,
    check_finite,
    class_name,
    register_problem,
    sorted_names,
)
from distilnlp.problems.written import any_reading, looks_like_list

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Classification"]

# More distinct integers than this are hardly classes; more distinct names only if they seldom repeat.
MANY_CLASSES = 50

# By which the sum of probabilities that somebody rounded may differ from 1.
SUM_TOLERANCE = 0.02

_JOINS = ",;|"  # between labels that somebody has written into one

logger = logging.getLogger(__name__)


@register_problem("single_label_classification")
@dataclass(frozen=True)
class Classification(Problem):
    """One class a text, out of two or more: a softmax, cross-entropy, the largest logit.

    Units: cross-entropy and KL in nats a text.
    """

    exclusive_classes: ClassVar[bool] = True
    response_loss: ClassVar[str] = "soft_target"
    distance_meaning: ClassVar[str] = "KL, nats"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    accepted_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "macro_f1", "micro_f1", "matthews_correlation")

    def recognises(self, column: LabelColumn) -> bool:
        """True: whatever is nothing else is taken for classes, unless there are too many of them."""
        if column.declared:
            return True
        numbers = [any_reading(value) for value in column.distinct]
        distinct, where = len(numbers), column.where
        _check_single(column)
        if column.style is not None:
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
        if train is None:
            _tell_alike(names, column.where)
        ids = {name: position for position, name in enumerate(names)}
        known = column.known([[key] for key in keys], names)
        return Labels(np.array([ids[key] for (key,) in known])[column.codes], names, self)

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
        return not labels.is_floating_point() and labels.ndim == 1

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

    def wrong_probabilities(self, values: Floats) -> tuple[NDArray[np.bool_], str]:
        outside = (values < 0) | (values > 1)
        wrong = outside.any(axis=1) | (np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE)
        return wrong, (
            "probabilities from 0 to 1 whose sum is 1 are needed; for logits say --teacher-values logits (in a recipe,"
            " values: logits), for several labels a text problem_type=multi_label_classification"
        )

    def logits_of(self, probabilities: Floats) -> Floats:
        """Their logarithms; a sum that is not quite 1 does not matter to a softmax."""
        return np.asarray(np.log(np.maximum(probabilities, LEAST_PROBABILITY)))

    def probabilities_of(self, logits: Floats) -> Floats:
        return np.asarray(np.exp(_log_softmax(logits)))

    def logits_of_labels(self, labels: NDArray[Any], count: int) -> Floats:
        return self.logits_of(np.eye(count)[labels])

    def agreement(
        self,
        student: Floats,
        teacher: Floats,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """The share of texts with the same largest logit, its kappa, and the mean of ``KL(teacher || student)``."""
        divergence = _divergence(student, teacher)
        own, theirs = student.argmax(axis=1), teacher.argmax(axis=1)
        rates = [np.bincount(each, minlength=student.shape[1]) / len(each) for each in (own, theirs)]
        same = float(np.mean(own == theirs))
        return {
            "agreement": same,
            "kappa": beyond_chance(same, float(rates[0] @ rates[1])),
            "kl": max(0.0, float(divergence.mean())),  # >= 0; rounding alone can take it just under
        }

    def distances(self, student: Floats, teacher: Floats, examples: NDArray[np.int64]) -> Floats:
        """``KL(teacher || student)`` of each row, in nats."""
        return np.maximum(0.0, _divergence(student, teacher))

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, Floats]:
        """The shares of the classes, the largest of which is the decision."""
        known, counts = np.unique(labels, return_counts=True)
        logits = np.zeros(max(2, int(known[-1]) + 1))
        logits[known.astype(np.int64)] = np.log1p(counts)
        return {"the largest class of the training rows": np.tile(logits, (rows, 1))}

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return [f"Classifies {inputs}", *([f"The answer is one of: {', '.join(names)}."] if names else [])]

    def card_code(self) -> str:
        return "print(model.config.id2label[logits.argmax(-1).item()])"


def _check_single(column: LabelColumn) -> None:
    """Raise RequestError where names look like several labels that are joined, or like lists and mappings."""
    texts = [value for value in column.distinct if isinstance(value, str)]
    if texts and len(texts) == len(column.distinct) and all(map(looks_like_list, texts)):
        raise RequestError(
            f"{column.where}: row {column.row(0)} has {texts[0]!r:.60}, which looks like a list or a mapping and"
            " cannot be read: write ['a', 'b'] for several labels and a name for one, or say problem_type="
            " (--problem-type)"
        )
    names = set(texts)
    for position, value in enumerate(column.distinct):
        for sign in _JOINS if isinstance(value, str) else ():
            parts = [part.strip() for part in value.split(sign)]
            if len(parts) > 1 and names.issuperset(parts):
                raise RequestError(
                    f"{column.where}: row {column.row(position)} has {value!r:.60}, which are {len(parts)} labels of"
                    " other rows: for several labels a text write lists (['a', 'b']) in each row, or say"
                    " problem_type= (--problem-type) where it is a name"
                )


def _tell_alike(names: Sequence[str], where: str) -> None:
    """Warn where two classes differ in upper case alone, which may be a slip and may be meant."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            logger.warning("%s: '%s' and '%s' are two classes: write them alike if they are one", where, other, name)
            return


def _divergence(student: Floats, teacher: Floats) -> Floats:
    """``KL(teacher || student)`` of each row; rounding alone can take it just under 0."""
    log_q, log_p = _log_softmax(student), _log_softmax(teacher)  # (rows, classes)
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=1))


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
