"""Any number of labels a text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.base import (
    DECISION_THRESHOLDS,
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
    to_number,
)
from distilnlp.problems.thresholds import choose_thresholds, logit, sigmoid

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MultiLabel"]


@register_problem("multi_label_classification")
@dataclass(frozen=True)
class MultiLabel(Problem):
    """Any number of labels a text, each a yes or no of its own: a sigmoid, binary cross-entropy, a threshold a label.

    Args:
        thresholds: the probability above which each label holds, in the order of the logits, each between 0 and 1
            without them; None is 0.5 for all. A model keeps its own in ``config.decision_thresholds``, a list. Two
            kinds that differ in them alone are the same kind.
    Units: binary cross-entropy in nats a label; KL in nats a text, summed over the labels.
    Raises:
        RequestError: thresholds that are no such numbers.
    """

    thresholds: tuple[float, ...] | None = field(default=None, compare=False)

    several_labels: ClassVar[bool] = True
    recipe: ClassVar[str] = "_several-labels.yaml"
    response_loss: ClassVar[str] = "bernoulli_soft_target"
    distance_meaning: ClassVar[str] = "KL, nats"
    # The main one needs no threshold: with one that fits badly, a model that has learned much can have an F1 of 0.
    no_label: ClassVar[float | None] = None
    metrics: ClassVar[tuple[str, ...]] = ("micro_average_precision", "macro_average_precision", "micro_f1", "macro_f1")
    accepted_metrics: ClassVar[tuple[str, ...]] = ("accuracy", *metrics)

    def __post_init__(self) -> None:
        if self.thresholds is not None and not (self.thresholds and all(map(_is_threshold, self.thresholds))):
            wrong = next((value for value in self.thresholds if not _is_threshold(value)), "none at all")
            raise RequestError(
                f"{DECISION_THRESHOLDS} needs a probability between 0 and 1, without them, for each label; got "
                f"{wrong!r:.40}: correct it in the model's config, or remove it, and 0.5 is used"
            )

    def recognises(self, column: LabelColumn) -> bool:
        """Lists of names, or of zeros and ones."""
        return isinstance(column.distinct[0], list)

    def encode(self, column: LabelColumn, train: Labels | None) -> Labels:
        where, distinct = column.where, column.distinct
        for position, value in enumerate(distinct):
            if not isinstance(value, list) or not all(isinstance(each, (str, int, float)) for each in value):
                raise RequestError(
                    f"{where}: row {column.row(position)} has '{value}': {self.name} needs a list of"
                    " names, or of zeros and ones, in each row"
                )
        width = None if column.declared is not None else _multi_hot_width(column)
        if width is not None:
            if train and len(train.names or ()) != width:
                raise RequestError(
                    f"{where}: rows of {width} zeros and ones where the training data have"
                    f" {len(train.names or ())} labels: as many are needed"
                )
            names = (train and train.names) or tuple(str(position) for position in range(width))
            sets = [tuple(place for place, each in enumerate(value) if to_number(each)) for value in distinct]
        else:
            keys = [[class_name(each) for each in value] for value in distinct]
            names = (train.names if train else column.declared) or sorted_names(
                {key for value in keys for key in value}
            )
            known = column.known(keys, names)
            places = {name: place for place, name in enumerate(names)}
            sets = [tuple(sorted({places[name] for name in value})) for value in known]
        if train is None and len(set(sets)) < 2:
            raise RequestError(
                f"{where}: every row has the same labels: there is nothing to learn; name another column"
            )
        values = np.empty(len(sets), dtype=object)
        for position, ids in enumerate(sets):
            values[position] = ids
        return Labels(values[column.codes], names, self)

    def feature(self, names: Sequence[str] | None) -> Any:
        """The ids of the labels that hold: of many labels few do, and rows of zeros and ones would fill the memory."""
        from datasets import ClassLabel, List

        return List(ClassLabel(names=list(names or ())))

    def has_feature(self, feature: Any) -> bool:
        from datasets import ClassLabel, Value

        return not isinstance(feature, (ClassLabel, Value))

    def has_labels(self, labels: Tensor) -> bool:
        return labels.is_floating_point() and labels.ndim == 2

    def row_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy, the mean over the labels."""
        return self._cross_entropy(logits, labels, None)

    def weighted_row_loss(self, logits: Tensor, labels: Tensor, pos_weight: Tensor) -> Tensor:
        return self._cross_entropy(logits, labels, pos_weight)

    def _cross_entropy(self, logits: Tensor, labels: Tensor, pos_weight: Tensor | None) -> Tensor:
        import torch.nn.functional as F

        targets = labels.to(logits.dtype)[:, None]  # (batch, 1, labels)
        if targets.shape != logits.shape:
            raise RequestError(
                f"{self.name} needs a 0 or 1 for each of the {logits.shape[-1]} logits; the labels are "
                f"{tuple(labels.shape)}"
            )
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=pos_weight).mean(-1)

    def of_config(self, config: Any) -> MultiLabel:
        thresholds = getattr(config, DECISION_THRESHOLDS, None)
        if thresholds is None:
            return self
        if not isinstance(thresholds, (list, tuple)):
            raise RequestError(
                f"{DECISION_THRESHOLDS} in the model's config is {thresholds!r:.40}: a list of probabilities is needed"
            )
        if len(thresholds) != config.num_labels:
            raise RequestError(
                f"{DECISION_THRESHOLDS} in the model's config has {len(thresholds)} numbers and the head "
                f"{config.num_labels} labels: one for each is needed; remove it, and 0.5 is used"
            )
        return self.decided_by(thresholds)

    def decided_by(self, thresholds: Sequence[float] | None) -> MultiLabel:
        return replace(self, thresholds=None if thresholds is None else tuple(thresholds))

    def check_logits(self, logits: ArrayLike) -> NDArray[Any]:
        values = np.asarray(logits)
        if values.ndim != 2 or values.shape[1] < 1:
            raise RequestError(f"{self.name} needs logits of shape (examples, labels); got {np.shape(logits)}")
        if self.thresholds is not None and values.shape[1] != len(self.thresholds):
            raise RequestError(
                f"{len(self.thresholds)} decision thresholds do not fit logits of shape {np.shape(logits)}: one for"
                " each label is needed"
            )
        check_finite(values)
        return values

    def decide(self, logits: ArrayLike) -> NDArray[Any]:
        """1 where a label's probability is above its threshold, ``(examples, labels)``."""
        return (self.check_logits(logits) > self._cuts()).astype(np.int64)

    def _cuts(self) -> NDArray[np.float64]:
        """The thresholds as logits, which tell apart what rounds to one probability; 0 is 0.5."""
        return np.zeros(1) if self.thresholds is None else logit(np.array(self.thresholds))

    def choose_thresholds(self, logits: ArrayLike, labels: ArrayLike, *, one: bool = False) -> tuple[float, ...]:
        values, present = self.check_logits(logits), np.asarray(labels, dtype=np.float64)
        if present.shape != values.shape or not len(values):
            raise RequestError(
                f"thresholds are chosen on logits and labels of one shape; got {values.shape} and {present.shape}"
            )
        self.check_decisions(present, "labels")
        return choose_thresholds(values, present, one=one)

    def answers(self, logits: ArrayLike, names: Sequence[str]) -> list[Answer]:
        values = self.check_logits(logits).astype(np.float64)
        return [
            Answer(
                ",".join(name for name, holds in zip(names, row, strict=True) if holds),
                None,
                dict(zip(names, shares.tolist(), strict=True)),
            )
            for row, shares in zip(self.decide(values).tolist(), sigmoid(values), strict=True)
        ]

    def check_decisions(self, values: Floats, which: str) -> None:
        check_classes(values, which, "0 and 1", highest=1)

    def wrong_probabilities(self, values: Floats) -> tuple[NDArray[np.bool_], str]:
        return np.asarray(((values < 0) | (values > 1)).any(axis=1)), (
            "a probability from 0 to 1 for each label is needed; for logits say --teacher-values logits (in a recipe,"
            " values: logits)"
        )

    def logits_of(self, probabilities: Floats) -> Floats:
        """Their log-odds."""
        within = np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        return np.asarray(np.log(within) - np.log1p(-within))

    def probabilities_of(self, logits: Floats) -> Floats:
        return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))

    def logits_of_labels(self, labels: NDArray[Any], count: int) -> Floats:
        holds = np.zeros((len(labels), count))
        for row, ids in enumerate(labels):
            holds[row, list(ids)] = 1
        return self.logits_of(holds)

    def agreement(
        self,
        student: Floats,
        teacher: Floats,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """The share of equal decisions over texts and labels, its kappa, and the mean ``KL(teacher || student)``.

        Chance keeps the rate of each label, so that two models which give a frequent label to every text do not seem
        to agree on anything.
        """
        own, theirs = self.decide(student), (teachers or self).decide(teacher)
        rates = own.mean(axis=0), theirs.mean(axis=0)  # (labels,)
        by_chance = rates[0] * rates[1] + (1.0 - rates[0]) * (1.0 - rates[1])
        same = float(np.mean(own == theirs))
        return {
            "agreement": same,
            "kappa": beyond_chance(same, float(by_chance.mean())),
            "kl": max(0.0, float(_bernoulli_kl(student, teacher).mean())),
        }

    def distances(self, student: Floats, teacher: Floats, examples: NDArray[np.int64]) -> Floats:
        """The Bernoulli ``KL(teacher || student)`` of each row, summed over the labels, in nats."""
        return np.maximum(0.0, _bernoulli_kl(student, teacher))

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, Floats]:
        """The labels by how often they hold: above 0 are those that give the best F1 on the training rows, or none.

        Both rank the labels alike, so that a metric that needs no threshold has the same score for both.
        """
        counts = np.asarray(labels.sum(axis=0), dtype=np.float64)
        order = np.argsort(-counts, kind="stable")
        given = np.arange(1, len(counts) + 1)  # how many labels every text is given, the most frequent first
        f1 = 2 * np.cumsum(counts[order]) / (given * len(labels) + counts.sum())
        lowest = counts[order[int(np.argmax(f1))]]  # labels that are as frequent are given too
        scores = np.log1p(counts)
        return {
            "the most frequent labels of the training rows": np.tile(scores - np.log(lowest + 0.5), (rows, 1)),
            "no label": np.tile(scores - scores.max() - 1.0, (rows, 1)),
        }

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return [f"Classifies {inputs}", *([f"The answer is any of: {', '.join(names)}."] if names else [])]

    def card_code(self) -> str:
        return f"""# Each label holds above the probability that the config has for it; without one, above 0.5.
thresholds = getattr(model.config, "{DECISION_THRESHOLDS}", None) or [0.5] * model.config.num_labels
probabilities = logits.sigmoid()[0].tolist()
print([model.config.id2label[i] for i, p in enumerate(probabilities) if p > thresholds[i]])"""


def _is_threshold(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1


_NO_SHARES = (
    "shares of the classes are not learned from as labels: give the class of each text, and the model that such shares"
    " come from as the teacher"
)


def _multi_hot_width(column: LabelColumn) -> int | None:
    """How many labels there are where each row has a 0 or 1 for each; None where rows list their labels.

    ``[0, 1]`` may be both. It is a row of zeros and ones unless rows are of several lengths and no number stands twice
    in any of them, as in a list of labels.

    Raises:
        RequestError: numbers with a fraction; zeros and ones of several lengths, or among other numbers.
    """
    binary = listed = True
    lengths: dict[int, int] = {}  # of a row -> how many rows
    weights = np.bincount(column.codes, minlength=len(column.distinct)).tolist()
    for position, value in enumerate(column.distinct):
        numbers = {to_number(each) for each in set(value)}
        if any(number is not None and math.isfinite(number) and not number.is_integer() for number in numbers):
            raise _wrong_row(column, position, _NO_SHARES)
        if None in numbers:
            return None
        binary = binary and numbers <= {0.0, 1.0}
        finite = all(number is not None and math.isfinite(number) for number in numbers)
        listed = listed and finite and len(set(value)) == len(value)  # who lists labels names each once
        lengths[len(value)] = lengths.get(len(value), 0) + weights[position]
    width = max(lengths, key=lambda length: lengths[length])
    same_length = len(lengths) == 1 and width > 1
    # Who lists labels keeps to one order, too
    both_ways = len({tuple(map(to_number, value)) for value in column.distinct if len(value) == 2}) > 1
    if not any(lengths) or (listed and not (binary and (same_length or both_ways))):
        return None
    for position, value in enumerate(column.distinct):
        if len(value) != width or not {to_number(each) for each in set(value)} <= {0.0, 1.0}:
            raise _wrong_row(column, position, f"{width} zeros and ones are needed, as in the other rows")
    return width


def _wrong_row(column: LabelColumn, position: int, needed: str) -> RequestError:
    return RequestError(f"{column.where}: row {column.row(position)} has {column.distinct[position]!s:.60}: {needed}")


def _bernoulli_kl(student: Floats, teacher: Floats) -> Floats:
    total = np.zeros(len(student))
    for sign in (1.0, -1.0):  # log sigmoid(z) for "has the label", log sigmoid(-z) for "has it not"
        log_q, log_p = -np.logaddexp(0.0, -sign * student), -np.logaddexp(0.0, -sign * teacher)
        total += (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return total  # (examples,)
