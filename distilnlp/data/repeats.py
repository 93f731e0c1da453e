"""Texts that stand in the data several times: found by a hash of each, so that memory and time grow with the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from distilnlp.data.arrow import column_values
from distilnlp.data.split import ranks_of

__all__ = ["Repeats", "overlap_note", "text_hashes"]

_MIX = np.uint64(0x9E3779B97F4A7C15)


def text_hashes(dataset: Dataset) -> NDArray[np.uint64]:
    """A number for each row that is the same for equal texts, ``(rows,)``; of pairs, where both texts are equal.

    Texts are equal where they are after the white space around them is cut off. The numbers hold for this process
    only. Two different texts of two million meet in one number once in ten million times.
    """
    hashes = np.zeros(len(dataset), dtype=np.uint64)
    for column in ("text", "text_pair"):
        if column in dataset.column_names:
            own = np.fromiter(
                (
                    hash(tuple(text) if isinstance(text, list) else (text or "").strip())
                    for text in column_values(dataset, column)
                ),
                dtype=np.int64,
                count=len(dataset),
            )
            hashes = hashes * _MIX + own.view(np.uint64)
    return hashes


def overlap_note(train: NDArray[np.uint64], held_out: NDArray[np.uint64]) -> str | None:
    """How many held-out texts are in the training data too, in words; None where none is.

    Args:
        train, held_out: the hashes of both.
    """
    overlap = int(np.isin(held_out, train).sum())
    return f"{overlap} of the {len(held_out)} held-out texts are trained on too" if overlap else None


@dataclass(frozen=True)
class Repeats:
    """Which rows have equal texts.

    Args:
        groups: ``(rows,)``, the same number for equal texts, counted from 0 in the order of the data.
        sizes: ``(groups,)``, rows of each.
    """

    groups: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, hashes: NDArray[np.uint64]) -> Repeats:
        """Of the hash of each row; the groups do not depend on what the hashes are."""
        _, first, groups, sizes = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(place[groups], sizes[order])

    def note(self) -> str | None:
        """How many texts stand there more than once, in words; None where none does."""
        repeated = self.sizes > 1
        if not repeated.any():
            return None
        return f"{int(repeated.sum())} texts stand in {int(self.sizes[repeated].sum())} of the {len(self.groups)} rows"

    def contradictions(self, labels: NDArray[np.generic]) -> str | None:
        """How many of them have rows with other labels, in words; None where none has.

        Args:
            labels: ``(rows,)`` or ``(rows, labels)``.
        """
        repeated = np.flatnonzero(self.sizes[self.groups] > 1)
        if not len(repeated):
            return None
        ranks = ranks_of(np.asarray(labels)[repeated])
        groups = self.groups[repeated]
        lowest, highest = np.full(len(self.sizes), len(ranks)), np.full(len(self.sizes), -1)
        np.minimum.at(lowest, groups, ranks)
        np.maximum.at(highest, groups, ranks)
        count = int((highest > lowest).sum())
        return f"{count} of them with labels that contradict each other" if count else None
