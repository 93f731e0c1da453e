"""What a teacher's answers hold beside the labels, and at which temperature it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError

__all__ = ["LADDER", "DarkKnowledge", "dark_knowledge", "gradient_ratios", "suggested_temperature"]

Floats = NDArray[np.float64]

LADDER = (1.0, 2.0, 4.0, 8.0)
MOST = 20.0  # of a temperature that is suggested: beyond, a softmax tells little but the logits' differences


@dataclass(frozen=True)
class DarkKnowledge:
    """A teacher's answers at several temperatures.

    Args:
        temperatures: at which the others are, in their order.
        entropy: mean over the examples as a share of that of equal probabilities, 0 to 1.
        other_mass: mean probability of all classes but the label.
        confusion: ``(classes, classes)``, the mean probabilities of the examples of each label, at the suggested
            temperature; rows of labels that no example has are NaN.
        suggested: see `suggested_temperature`.
    """

    temperatures: tuple[float, ...]
    entropy: tuple[float, ...]
    other_mass: tuple[float, ...]
    confusion: Floats
    suggested: float


def dark_knowledge(logits: ArrayLike, labels: ArrayLike, temperatures: Sequence[float] = LADDER) -> DarkKnowledge:
    """Statistics of a teacher's soft labels: what regularises (entropy), and what tells of the classes (confusion).

    Shapes:
        logits: of the teacher ``(examples, classes)``; labels: ``(examples,)`` of class ids.
    Source: Tang et al. 2020, arXiv:2002.03532, section 3, whose three levels these numbers show: universe (the
        probability that all other classes share), domain (confusion), instance (`gradient_ratios`).
    Raises:
        RequestError: other shapes, ids that are no class, fewer than two classes, a temperature that is not above 0.
    """
    values, known = _checked(logits, labels)
    if not temperatures or not all(each > 0 for each in temperatures):
        raise RequestError(f"temperatures must be above 0; got {list(temperatures)}")
    soft = [_softmax(values / each) for each in temperatures]
    places = np.arange(len(known))
    suggested = suggested_temperature(values)
    at = _softmax(values / suggested)
    classes = values.shape[1]
    confusion = np.full((classes, classes), np.nan)
    for label in np.unique(known):
        confusion[label] = at[known == label].mean(axis=0)
    return DarkKnowledge(
        temperatures=tuple(map(float, temperatures)),
        entropy=tuple(_entropy(each) for each in soft),
        other_mass=tuple(float(1 - each[places, known].mean()) for each in soft),
        confusion=confusion,
        suggested=suggested,
    )


def suggested_temperature(logits: ArrayLike) -> float:
    """The temperature at which the mean entropy of the answers is half of that of equal probabilities.

    Below, the answers are little else than the label; far above, all alike. A place to begin from, not the best one.

    Shapes:
        logits: ``(examples, classes)``.
    Ranges: 1 to 20: softer answers need none below 1.
    Raises:
        RequestError: as `dark_knowledge`.
    """
    values, _ = _checked(logits, None)
    low, high = 1.0, MOST
    for _ in range(40):  # the entropy rises with the temperature
        middle = (low + high) / 2
        if _entropy(_softmax(values / middle)) < 0.5:
            low = middle
        else:
            high = middle
    return low


def gradient_ratios(
    student_logits: ArrayLike, teacher_logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0
) -> Floats:
    """How much more each example weighs with the teacher than with its label: the ratio of both gradients.

    Of the label's logit: ``(p_s - p_t) / (p_s - 1)`` at a temperature of 1, where ``p`` is the probability of the
    label. At ``T`` the loss of the teacher has the factor ``T^2``, and so its gradient ``T``.

    Shapes:
        logits: ``(examples, classes)``, labels: ``(examples,)``; returns ``(examples,)``.
    Ranges: 1 where the teacher is sure of the label, below where it is less so, negative where the student is surer.
    Source: Tang et al. 2020, arXiv:2002.03532, equation 3.
    Raises:
        RequestError: as `dark_knowledge`, or logits of two shapes.
    """
    own, known = _checked(student_logits, labels)
    others, _ = _checked(teacher_logits, labels)
    if own.shape != others.shape or not temperature > 0:
        raise RequestError(
            f"both models' logits and a temperature above 0 are needed; got {own.shape}, {others.shape}, {temperature}"
        )
    places = np.arange(len(known))
    hard = _softmax(own)[places, known] - 1
    soft = _softmax(own / temperature)[places, known] - _softmax(others / temperature)[places, known]
    found: Floats = temperature * soft / np.minimum(hard, -1e-12)
    return found


def _checked(logits: ArrayLike, labels: ArrayLike | None) -> tuple[Floats, NDArray[np.int64]]:
    values = np.asarray(logits, dtype=np.float64)
    known = np.zeros(len(values) if values.ndim else 0, np.int64) if labels is None else np.asarray(labels)
    fits = values.ndim == 2 and values.size > 0 and values.shape[1] > 1 and known.shape == (len(values),)
    if not fits or known.dtype.kind not in "iu" or not np.isfinite(values).all():
        raise RequestError(
            "finite logits (examples, classes) of two classes or more and labels (examples,) are needed; got"
            f" {values.shape} and {known.shape}"
        )
    if known.min() < 0 or known.max() >= values.shape[1]:
        raise RequestError(f"labels from 0 to {values.shape[1] - 1} are needed; got {known.min()} to {known.max()}")
    return values, known.astype(np.int64)


def _softmax(values: Floats) -> Floats:
    made = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Floats = made / made.sum(axis=1, keepdims=True)
    return shares


def _entropy(probabilities: Floats) -> float:
    """Mean over the examples, as a share of the largest that so many classes can have."""
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return float(-(probabilities * logs).sum(axis=1).mean() / np.log(probabilities.shape[1]))
