"""Where a probability becomes a yes: the decision thresholds of several labels, chosen on labelled examples."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SHARED_EXAMPLES", "choose_thresholds", "logit", "sigmoid"]

Floats = NDArray[np.float64]

# How many examples of a label its own best threshold has to outweigh, as if so many had spoken for that of all labels.
# The best one for a few examples is mostly luck.
SHARED_EXAMPLES = 10
LOWEST, HIGHEST = 1e-6, 0.9999  # what is chosen stays a probability that a reader of the config can tell from 0 and 1


def choose_thresholds(logits: ArrayLike, labels: ArrayLike, *, one: bool = False) -> tuple[float, ...]:
    """For each label the threshold with the highest F1 on examples, drawn towards the one that all labels share.

    With ``n`` examples that have the label, its own best cut counts ``n / (n + SHARED_EXAMPLES)`` and the cut with the
    highest micro-F1 of all labels the rest, between logits. So a label that no example has takes the shared one.

    Args:
        logits, labels: ``(examples, labels)``, of examples that the model should not have been trained on; labels are
            0 and 1.
        one: the same threshold for every label, with the highest micro-F1.
    Returns:
        A probability each, in the order of the logits, with 4 significant digits.
    Source: Yang 2001, doi:10.1145/383952.383975 (the best threshold of a rare label is overfitted); Lipton et al.
        2014, arXiv:1402.1892 (why the threshold of the best F1 lies at half of that F1, and so below 0.5). That they
        are drawn together is ours.
    """
    scores, present = np.asarray(logits, dtype=np.float64), np.asarray(labels) > 0
    shared = _best_cut(scores.ravel(), present.ravel())
    if one:
        return tuple([_probability(shared)] * scores.shape[1])
    cuts = []
    for values, holds in zip(scores.T, present.T, strict=True):
        own = holds.sum() / (holds.sum() + SHARED_EXAMPLES)
        cuts.append(own * _best_cut(values, holds) + (1.0 - own) * shared)
    return tuple(map(_probability, cuts))


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
