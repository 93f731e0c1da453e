"""Held-out splits and subsets: seeded, and stratified by the label."""

from collections.abc import Sequence

import numpy as np

from distilnlp.errors import RequestError

__all__ = ["hold_out", "ranks_of", "subset"]

Keys = np.ndarray | Sequence[object]  # (rows,) ids, targets or label sets, or (rows, labels) multi-hot
HELD_OUT_SHARE = 0.1
HELD_OUT_LEAST = 50  # rows: below that a score says little; of small data never more than a fifth


def hold_out(keys: Keys, seed: int, where: str, groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers into (train, held out), both in the data's order.

    A tenth is held out, at least 50 rows, but of small data no more than a fifth. Every class keeps its share to one
    row; a class with a single row stays in train. Numeric targets are spread over their whole range in the same way.
    Groups of rows are held out whole or not at all, so that they meet numbers and shares only roughly; one that is
    larger than what is to be held out stays in train. Where too few groups are left for that, or only such of one
    class, the split goes through the groups: rows are chosen as if each were a group of its own.

    Args:
        keys: what to stratify by: class ids or float targets ``(rows,)``, label sets ``(rows,)`` of
            tuples, or multi-hot rows ``(rows, labels)``.
        seed: fixes the choice.
        where: the file or data set, for the error.
        groups: ``(rows,)``, the number of each row's group, counted from 0; None where each row is one.

    Raises:
        RequestError: too few rows to hold one out, or all of them in one group.
    """
    ranks, classes = _ranks(keys)
    rows = len(ranks)
    each = np.arange(rows)
    groups = each if groups is None else groups
    count = int(groups.max(initial=-1)) + 1
    held_out, kinds = _held_out(ranks, classes, seed, groups)
    if 1 < count < rows and (not held_out.any() or (classes and kinds < 2)):
        by_rows, _ = _held_out(ranks, classes, seed, each)
        if len(np.unique(ranks[by_rows])) > len(np.unique(ranks[held_out])):
            held_out = by_rows
    if not held_out.any():
        repeated = "" if count == rows else f" with {count} different texts"
        raise RequestError(
            f"{where}: {rows} rows{repeated} are too few to hold some out for validation: give a validation file, or"
            " more rows"
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _held_out(ranks: np.ndarray, classes: bool, seed: int, groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Which rows are held out, ``(rows,)`` of bool, maybe none; and how many keys the groups had to choose from."""
    rows = len(ranks)
    sizes = np.bincount(groups)
    of_group = np.empty(len(sizes), dtype=ranks.dtype)
    of_group[groups[::-1]] = ranks[::-1]  # that of its first row
    wanted = max(round(rows * HELD_OUT_SHARE), min(HELD_OUT_LEAST, rows // 5))
    # A target, or a set of labels, that occurs once is no class
    free = np.bincount(of_group)[of_group] > 1 if classes else np.ones(len(sizes), dtype=bool)
    free = np.flatnonzero(free & (sizes <= wanted))
    kinds = len(np.unique(of_group[free]))
    # At most every second free group, so that no class of two or more loses its last one to the held-out side
    count = min(round(len(free) * wanted / max(int(sizes[free].sum()), 1)), len(free) // 2)
    if count < 1:
        return np.zeros(rows, dtype=bool), kinds
    # By size within a class: so many small and large groups are held out that the rows are about as many as wanted
    order = np.lexsort((sizes[free], of_group[free]))
    by_size = np.empty(len(free), dtype=np.int64)
    changes = (np.diff(of_group[free][order]) != 0) | (np.diff(sizes[free][order]) != 0)
    by_size[order] = np.cumsum(np.r_[0, changes])
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[free[_spread(by_size, count, seed)]] = True
    held_out = chosen[groups]
    if classes:  # rows of other classes may stand in a group
        lost = np.setdiff1d(ranks[held_out], ranks[~held_out])
        chosen[groups[held_out & np.isin(ranks, lost)]] = False
        held_out = chosen[groups]
    return held_out, kinds


def subset(keys: Keys, count: int, seed: int) -> np.ndarray:
    """``count`` row numbers in the data's order, each class with its share; all rows if there are no more."""
    return np.sort(_spread(_ranks(keys)[0], count, seed)) if count < len(keys) else np.arange(len(keys))


def _ranks(keys: Keys) -> tuple[np.ndarray, bool]:
    """Each row's place among the distinct keys in their order, and whether the keys are class ids."""
    values = np.asarray(keys)
    return ranks_of(values), values.ndim == 1 and values.dtype.kind == "i"


def ranks_of(values: np.ndarray) -> np.ndarray:
    """Each row's place among the distinct values in their order, ``(rows,)``; label sets as rows of zeros and ones."""
    if values.dtype == object:  # label sets: so the ids come in the order of their rows of zeros and ones
        distinct = sorted(set(values), key=lambda ids: tuple(-each for each in ids))
        places = {ids: place for place, ids in enumerate(distinct)}
        return np.fromiter((places[ids] for ids in values), dtype=np.int64, count=len(values))
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)


def _spread(ranks: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Shuffle, sort by key, take rows at equal steps: every key gets its share to within one row."""
    shuffled = np.random.default_rng(seed).permutation(len(ranks))
    by_key = shuffled[np.argsort(ranks[shuffled], kind="stable")]
    return by_key[(2 * np.arange(count) + 1) * len(ranks) // (2 * count)]
