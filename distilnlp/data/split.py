"""Held-out splits and subsets: seeded, and stratified by the label."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distilnlp.errors import RequestError

__all__ = ["hold_out", "subset"]

Key = Any  # int, float or tuple: what sorts, one type within a data set
HELD_OUT_SHARE = 0.1
HELD_OUT_LEAST = 50  # rows: below that a score says little; of small data never more than a fifth


def hold_out(keys: Sequence[Key], seed: int, where: str) -> tuple[list[int], list[int]]:
    """Split row numbers into (train, held out), both in the data's order.

    A tenth is held out, at least 50 rows, but of small data no more than a fifth. Every class keeps its share to one
    row; a class with a single row stays in train. Numeric targets are spread over their whole range in the same way.

    Args:
        keys: what to stratify by, one a row: a class id, a float target, or a tuple (multi-hot).
        seed: fixes the choice.
        where: the file or data set, for the error.

    Raises:
        RequestError: too few rows to hold one out.
    """
    counts: dict[Key, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    classes = all(isinstance(key, int) for key in keys)  # a target, or a set of labels, that occurs once is no class
    free = [row for row, key in enumerate(keys) if not classes or counts[key] > 1]
    rows = len(keys)
    wanted = max(round(rows * HELD_OUT_SHARE), min(HELD_OUT_LEAST, rows // 5))
    # At most every second free row, so that no class of two or more loses its last row to the held-out side
    wanted = min(wanted, len(free) // 2)
    if wanted < 1:
        raise RequestError(
            f"{where}: {rows} rows are too few to hold some out for validation: give a validation file, or more rows"
        )
    chosen = {free[position] for position in _spread([keys[row] for row in free], wanted, seed)}
    return [row for row in range(rows) if row not in chosen], sorted(chosen)


def subset(keys: Sequence[Key], count: int, seed: int) -> list[int]:
    """``count`` row numbers in the data's order, each class with its share; all rows if there are no more."""
    return sorted(_spread(keys, count, seed)) if count < len(keys) else list(range(len(keys)))


def _spread(keys: Sequence[Key], count: int, seed: int) -> list[int]:
    """Shuffle, sort by key, take rows at equal steps: every key gets its share to within one row."""
    shuffled = np.random.default_rng(seed).permutation(len(keys)).tolist()
    by_key = sorted(shuffled, key=lambda row: keys[row])
    return [by_key[(2 * i + 1) * len(keys) // (2 * count)] for i in range(count)]
