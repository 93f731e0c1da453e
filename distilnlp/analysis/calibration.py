"""Whether a model is as sure of its answers as it is right, and the temperature that would mend it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError

__all__ = ["TEMPERATURES", "Bin", "Calibration", "best_temperature", "calibration_of", "expected_error"]

Floats = NDArray[np.float64]

TEMPERATURES = (0.01, 100.0)  # between which the best one is looked for


@dataclass(frozen=True)
class Bin:
    """The decisions whose probability lies in one range.

    Args:
        low, high: the range, from 0 to 1.
        confidence: mean probability of the decisions; accuracy: the share of right ones.
        count: how many decisions.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """How far a model's probabilities are from how often it is right.

    Args:
        ece: expected calibration error, the mean over the decisions of the distance between confidence and accuracy
            in their bin; bins of equal width.
        adaptive_ece: the same with bins of equally many decisions.
        mce: the largest distance of a bin that has decisions.
        brier: squared distance between probabilities and labels, summed over classes (0 to 2), mean over the examples;
            of labels that hold or do not it is of each label's own probability (0 to 1), mean over the decisions.
        nll: of the labels, nats, mean over the examples (of several labels: over the decisions).
        bins: of equal width, those that have decisions.
        decisions: how many there are.
    """

    ece: float
    adaptive_ece: float
    mce: float
    brier: float
    nll: float
    bins: tuple[Bin, ...]
    decisions: int


def calibration_of(logits: ArrayLike, labels: ArrayLike, bins: int = 15, temperature: float = 1.0) -> Calibration:
    """Calibration of a model's answers.

    Args:
        bins: how many; 15 as Guo et al. take.
        temperature: by which the logits are divided, above 0.
    Shapes:
        logits: ``(examples, classes)`` with ``labels`` ``(examples,)`` of class ids, or ``(examples, labels)`` with
            ``labels`` ``(examples, labels)`` of 0 and 1, whose probabilities are sigmoids: each of them is a decision.
    Source: Guo et al. 2017, arXiv:1706.04599, section 2 (ECE, MCE); Nguyen & O'Connor 2015, arXiv:1508.05154, section
        3 (bins of equal count); Brier 1950. A multi-label decision's confidence is that of the answer given, which is
        ours.
    Raises:
        RequestError: other shapes, no examples, ids that are no class, a number of bins below 1, a temperature that is
            not above 0.
    """
    if not temperature > 0:
        raise RequestError(f"temperature is {temperature}: it must be above 0")
    values, known = _checked(logits, labels)
    if known.ndim == 2:
        holds = 1 / (1 + np.exp(-values / temperature))
        confidence, right = np.maximum(holds, 1 - holds).ravel(), ((holds > 0.5) == (known > 0.5)).ravel()
        brier, nll = float(((holds - known) ** 2).mean()), _sigmoid_nll(values / temperature, known)
    else:
        log = _log_softmax(values / temperature)
        places = np.arange(len(known))
        probabilities = np.exp(log)
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == known
        given = np.zeros_like(probabilities)
        given[places, known] = 1
        brier, nll = float(((probabilities - given) ** 2).sum(axis=1).mean()), float(-log[places, known].mean())
    made = _bins(confidence, right, np.linspace(0, 1, _count(bins) + 1))
    return Calibration(
        ece=expected_error(made),
        adaptive_ece=expected_error(_equal_bins(confidence, right, bins)),
        mce=max(abs(each.confidence - each.accuracy) for each in made),
        brier=brier,
        nll=nll,
        bins=tuple(made),
        decisions=len(confidence),
    )


def expected_error(bins: list[Bin] | tuple[Bin, ...]) -> float:
    """The mean distance between confidence and accuracy, each bin weighted by its decisions."""
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / total


def best_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature whose probabilities fit the labels best: the logits divided by it have the least NLL.

    The answers stay the same, as a temperature changes no order. It is fitted on held-out examples; measured on these
    too it flatters, by little, as it is one number. NLL is convex in ``1 / T``, so its slope has one zero.

    Shapes: as `calibration_of`.
    Ranges: 0.01 to 100; an end where the fit would go beyond, as for a model that is right everywhere.
    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    Raises:
        RequestError: as `calibration_of`.
    """
    values, known = _checked(logits, labels)
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(60):
        middle = (low * high) ** 0.5
        if _slope(values, known, middle) > 0:
            high = middle
        else:
            low = middle
    return float(1 / (low * high) ** 0.5)


def _slope(logits: Floats, labels: NDArray[np.int64], inverse: float) -> float:
    """The derivative of the NLL by ``1 / T``."""
    if labels.ndim == 2:
        return float(((1 / (1 + np.exp(-np.clip(inverse * logits, -700, 700))) - labels) * logits).mean())
    probabilities = np.exp(_log_softmax(inverse * logits))
    return float(((probabilities * logits).sum(axis=1) - logits[np.arange(len(labels)), labels]).mean())


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    values, given = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    fits = values.ndim == 2 and values.size > 0 and given.shape in ((len(values),), values.shape)
    if not fits or given.dtype.kind not in "iubf" or not np.isfinite(values).all():
        raise RequestError(
            "calibration needs finite logits (examples, classes) and labels (examples,), or (examples, labels) of 0"
            f" and 1; got {values.shape} and {given.shape}"
        )
    known = given.astype(np.int64)
    classes = 2 if known.ndim == 2 else values.shape[1]
    if not np.array_equal(known, given) or known.min() < 0 or known.max() >= classes:
        raise RequestError(f"calibration needs labels from 0 to {classes - 1}; got {given.min()} to {given.max()}")
    return values, known


def _count(bins: int) -> int:
    if bins < 1:
        raise RequestError(f"bins is {bins}: at least one is needed")
    return bins


def _bins(confidence: Floats, right: NDArray[np.bool_], edges: Floats) -> list[Bin]:
    """The bins between edges, each with its upper end; a bin without decisions is left out."""
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)
    made = []
    for number in np.unique(place):
        here = place == number
        ends = float(edges[number]), float(edges[number + 1])
        made.append(Bin(*ends, float(confidence[here].mean()), float(right[here].mean()), int(here.sum())))
    return made


def _equal_bins(confidence: Floats, right: NDArray[np.bool_], bins: int) -> list[Bin]:
    """Bins of equally many decisions, but for one."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, _count(bins)) if len(part)]
    return [
        Bin(
            float(confidence[part[0]]),
            float(confidence[part[-1]]),
            float(confidence[part].mean()),
            float(right[part].mean()),
            len(part),
        )
        for part in parts
    ]


def _log_softmax(values: Floats) -> Floats:
    shifted = values - values.max(axis=1, keepdims=True)
    made: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return made


def _sigmoid_nll(values: Floats, labels: NDArray[np.int64]) -> float:
    return float((np.logaddexp(0, values) - labels * values).mean())
