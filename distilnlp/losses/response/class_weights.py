"""Weights of the classes: how much the rows of each count in a loss between logits or against the labels."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from distilnlp.errors import RequestError, unknown
from distilnlp.label_names import find_name
from distilnlp.losses.base import Loss
from distilnlp.losses.checks import check_positive
from distilnlp.outputs import ModelInfo

__all__ = ["BALANCED", "ClassWeights", "WeighsClasses"]

BALANCED = "balanced"
KEY = ["class_weights"]

ClassWeights = Literal["balanced"] | list[float] | Mapping[str, float]


@dataclass(frozen=True)
class WeighsClasses(Loss):
    """Base of losses whose rows may count by the class of their label, which the losses between logits read for it.

    Args:
        class_weights: exclusive classes only: how much a row counts by the class of its label: a list of a number for
            each class in the order of the logits, a mapping of labels to numbers (a label that is left out has 1), or
            ``balanced``: the rows of every class together count alike. Numbers above 0, scaled so that their mean over
            the rows of the training data is 1 (as they stand where the data are a stream).
    """

    class_weights: ClassWeights | None = field(default=None, kw_only=True)

    weighs_examples: ClassVar[bool] = True
    read_once: ClassVar[frozenset[str]] = frozenset({"class_weights"})

    def __post_init__(self) -> None:
        given = self.class_weights
        if given is None or given == BALANCED:
            return
        if not isinstance(given, list | tuple | Mapping) or not given:
            raise RequestError(
                f"class_weights is {given!r}: give a list of one number for each class, a mapping of labels to "
                f"numbers, or {BALANCED}",
                key=KEY,
            )
        numbers: Iterable[float] = given.values() if isinstance(given, Mapping) else given
        for number in numbers:
            check_positive("class_weights", number)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        self._check_head(student)
        return self

    def _check_head(self, student: ModelInfo) -> None:
        """Raise RequestError for class weights that the head has no classes for."""
        given, problem = self.class_weights, student.problem
        if given is None:
            return
        if not problem.exclusive_classes or problem.rows == "span":
            instead = "use pos_weight of hard_label" if problem.several_labels else "leave them out"
            raise RequestError(
                f"class_weights of {self.name} weigh rows by their one class, and a {problem.name} has no such: "
                f"{instead}",
                key=KEY,
            )
        if isinstance(given, list | tuple) and len(given) != student.num_logits:
            raise RequestError(
                f"class_weights has {len(given)} numbers and the student {student.num_logits} classes: one for each "
                "is needed, in the order of the logits",
                key=KEY,
            )

    @property
    def reads_labels(self) -> bool:
        return self.uses_labels or self.class_weights is not None

    @property
    def names_labels(self) -> bool:
        return isinstance(self.class_weights, Mapping)

    def with_label_names(self, names: Sequence[str]) -> Loss:
        if not isinstance(self.class_weights, Mapping):
            return self
        weights = [1.0] * len(names)
        said: dict[str, str] = {}
        for given, number in self.class_weights.items():
            name = find_name(str(given), names)
            if name is None:
                raise unknown("label in class_weights", str(given), names)
            if name in said:
                raise RequestError(f"class_weights names the label '{name}' twice: {said[name]} and {given}", key=KEY)
            said[name] = str(given)
            weights[list(names).index(name)] = float(number)
        return dataclasses.replace(self, class_weights=weights)

    @property
    def counts_labels(self) -> bool:
        return self.class_weights == BALANCED

    @property
    def scales_by_counts(self) -> bool:
        return self.class_weights is not None

    def with_label_counts(self, positives: Sequence[int], rows: int) -> Loss:
        given = self.class_weights
        if given is None:
            return self
        total, present = sum(positives), sum(count > 0 for count in positives)
        if given == BALANCED:
            weights = [total / (present * count) if count else 1.0 for count in positives]
            return dataclasses.replace(self, class_weights=weights)
        numbers = _numbers(self.name, given)
        weighed = sum(count * number for count, number in zip(positives, numbers, strict=False))
        return dataclasses.replace(self, class_weights=[number * total / weighed for number in numbers])

    @property
    def class_numbers(self) -> list[float] | None:
        """A number for each class, in the order of the logits; None where every class counts alike.

        Raises:
            RequestError: they depend on the names or the numbers of the labels, which the trainer knows.
        """
        return None if self.class_weights is None else _numbers(self.name, self.class_weights)


def _numbers(name: str, given: ClassWeights) -> list[float]:
    if isinstance(given, str | Mapping):
        what = "is counted in the training data" if isinstance(given, str) else "by label is put in order"
        raise RequestError(
            f"class_weights={given!r} of {name} {what} by the trainer: outside of it give a list of numbers", key=KEY
        )
    return [float(number) for number in given]
