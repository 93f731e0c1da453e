"""Held-out splits and subsets: seeded, and stratified by the label."""

from collections.abc import Sequence

import numpy as np

from distilnlp.errors import RequestError

__all__ = ["hold_out", "subset"]

Keys = np.ndarray | Sequence[object]  # (rows,) ids or targets, or (rows, labels) multi-hot
HELD_OUT_SHARE = 0.1
HELD_OUT_LEAST = 50  # rows: below that a score says little; of small data never more than a fifth


def hold_out(keys: Keys, seed: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers into (train, held out), both in the data's order.

    A tenth is held out, at least 50 rows, but of small data no more than a fifth. Every class keeps its share to one
    row; a class with a single row stays in train. Numeric targets are spread over their whole range in the same way.

    Args:
        keys: what to stratify by: class ids or float targets ``(rows,)``, or multi-hot rows ``(rows, labels)``.
        seed: fixes the choice.
        where: the file or data set, for the error.

    Raises:
        RequestError: too few rows to hold one out.
    """
    ranks, classes = _ranks(keys)
    rows = len(ranks)
    # A target, or a set of labels, that occurs once is no class
    free = np.flatnonzero(np.bincount(ranks)[ranks] > 1) if classes else np.arange(rows)
    wanted = max(round(rows * HELD_OUT_SHARE), min(HELD_OUT_LEAST, rows // 5))
    # At most every second free row, so that no class of two or more loses its last row to the held-out side
    wanted = min(wanted, len(free) // 2)
    if wanted < 1:
        raise RequestError(
            f"{where}: {rows} rows are too few to hold some out for validation: give a validation file, or more rows"
        )
    chosen = np.zeros(rows, dtype=bool)
    chosen[free[_spread(ranks[free], wanted, seed)]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def subset(keys: Keys, count: int, seed: int) -> np.ndarray:
    """``count`` row numbers in the data's order, each class with its share; all rows if there are no more."""
    return np.sort(_spread(_ranks(keys)[0], count, seed)) if count < len(keys) else np.arange(len(keys))


def _ranks(keys: Keys) -> tuple[np.ndarray, bool]:
    """Each row's place among the distinct keys in their order, and whether the keys are class ids."""
    values = np.asarray(keys)
    ranks = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
    return ranks, values.ndim == 1 and values.dtype.kind == "i"


def _spread(ranks: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Shuffle, sort by key, take rows at equal steps: every key gets its share to within one row."""
    shuffled = np.random.default_rng(seed).permutation(len(ranks))
    by_key = shuffled[np.argsort(ranks[shuffled], kind="stable")]
    return by_key[(2 * np.arange(count) + 1) * len(ranks) // (2 * count)]
