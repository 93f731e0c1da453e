"""Where a probability becomes a yes: the decision thresholds of several labels, chosen on labelled examples."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FEWEST_POSITIVES", "choose_thresholds", "logit", "sigmoid"]

Floats = NDArray[np.float64]

# A label with fewer examples shares its threshold: the best one for so few is mostly luck.
FEWEST_POSITIVES = 10
LOWEST, HIGHEST = 1e-6, 0.9999  # what is chosen stays a probability that a reader of the config can tell from 0 and 1


def choose_thresholds(logits: ArrayLike, labels: ArrayLike, *, one: bool = False) -> tuple[float, ...]:
    """For each label the threshold with the highest F1 on examples, which no model should have been trained on.

    A label that fewer than `FEWEST_POSITIVES` of the examples have shares one threshold with all others of that kind,
    the one with the highest F1 of their pooled decisions; where even those together are fewer, the one of all labels.

    Args:
        logits, labels: ``(examples, labels)``; labels are 0 and 1.
        one: the same threshold for every label, with the highest micro-F1.
    Returns:
        A probability each, in the order of the logits, with 4 significant digits.
    Source: Yang 2001, doi:10.1145/383952.383975 (SCut, and that it overfits rare labels); Lipton et al. 2014,
        arXiv:1402.1892 (why the threshold of the best F1 lies at half of that F1, and so far below 0.5).
    """
    scores, present = np.asarray(logits, dtype=np.float64), np.asarray(labels) > 0
    together = _best_cut(scores.ravel(), present.ravel())
    if one:
        return tuple([_probability(together)] * scores.shape[1])
    counts = present.sum(axis=0)
    rare = counts < FEWEST_POSITIVES
    shared = together
    if counts[rare].sum() >= FEWEST_POSITIVES:
        shared = _best_cut(scores[:, rare].ravel(), present[:, rare].ravel())
    return tuple(
        _probability(shared if rare[label] else _best_cut(scores[:, label], present[:, label]))
        for label in range(scores.shape[1])
    )


def logit(probabilities: Floats | float) -> Floats:
    """``log(p / (1 - p))``."""
    return np.asarray(np.log(probabilities) - np.log1p(-np.asarray(probabilities)))


def sigmoid(logits: Floats | float) -> Floats:
    """``1 / (1 + exp(-z))``, without an overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(logits))))


def _best_cut(scores: Floats, present: NDArray[np.bool_]) -> float:
    """The logit above which "yes" has the highest F1, half way between two of the ``scores``; 0 without a positive."""
    if not present.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(present[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # equal scores are all above a cut, or none
    best = last[np.argmax(2 * hits[last] / (last + 1 + hits[-1]))]
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best] - 1.0
    return float((ranked[best] + below) / 2)


def _probability(cut: float) -> float:
    return min(max(float(f"{float(sigmoid(cut)):.4g}"), LOWEST), HIGHEST)
