"""Batches of like length, in an order that a seed and an epoch fix, whatever the number of processes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import IterableDataset
from torch.utils.data import Sampler

from distilnlp.errors import RequestError

__all__ = ["LengthBucketSampler", "bucket_stream"]

MEGA_BATCH = 50  # global batches that are sorted together: enough for little padding, few enough to keep epochs random


class LengthBucketSampler(Sampler[int]):
    """Yields the indices of a data set so that every run of ``batch_size`` of them has like lengths.

    An epoch's order: a seeded shuffle, cut into mega-batches of 50 batches; each sorted by length and cut into
    batches; the batches shuffled. The batch with the longest example comes first, so that a lack of memory shows at
    once. What is left over when the rows do not fill whole batches is a random choice and comes last.

    ``batch_size`` is the *global* batch: per-device batch x processes x accumulation steps. A `DataLoader` cuts the
    same order into smaller batches, and accelerate hands batch ``i`` to process ``i``, so that the rows of an
    optimizer step are the same for 1 x 32, 2 processes x 16 and 4 x 8 accumulated (the last, partial batch of an epoch
    apart: accelerate fills it up with rows of the first one when there are several processes, unless ``drop_last``).

    Args:
        lengths: tokens of each example, in the data set's order (its column ``length``).
        batch_size: examples of one optimizer step, over all processes and accumulation steps.
        seed: with the epoch it fixes the order; the global random state is neither read nor changed.

    Raises:
        RequestError: no lengths, or ``batch_size`` below 1.
    """

    # There is no attribute `generator` on purpose: accelerate would take it for a torch generator to synchronise.

    def __init__(self, lengths: Iterable[int], batch_size: int, seed: int = 0) -> None:
        self.lengths = np.fromiter(lengths, dtype=np.int32)
        if not len(self.lengths):
            raise RequestError("the data set to sample from has no rows: at least one is needed")
        if batch_size < 1:
            raise RequestError(f"batch_size is {batch_size}: it must be 1 or more")
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next ``iter()`` gives; accelerate and Trainer call it."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return map(int, self._order())  # not a list: of many rows it would be larger than their numbers

    def _order(self) -> np.ndarray:
        rng = np.random.default_rng([self.seed, self.epoch])
        size, rows = self.batch_size, len(self.lengths)
        order = rng.permutation(rows)
        whole = rows - rows % size
        self._move_longest_into(order, whole)
        mega = size * MEGA_BATCH
        buckets = [self._longest_first(order[start : min(start + mega, whole)]) for start in range(0, whole, mega)]
        batches = [bucket[start : start + size] for bucket in buckets for start in range(0, len(bucket), size)]
        batches = [batches[position] for position in rng.permutation(len(batches))]
        if batches:  # max() keeps the first of equals, so this stays a function of seed and epoch
            longest = max(range(len(batches)), key=lambda i: self.lengths[batches[i]].max())
            batches.insert(0, batches.pop(longest))
        return np.concatenate([*batches, self._longest_first(order[whole:])])

    def _move_longest_into(self, order: np.ndarray, whole: int) -> None:
        """A batch that is not full would not show a lack of memory: keep the longest example out of the rest."""
        place = int(np.argmax(self.lengths[order]))
        if 0 < whole <= place:
            order[[0, place]] = order[[place, 0]]

    def _longest_first(self, indices: np.ndarray) -> np.ndarray:
        return indices[np.argsort(-self.lengths[indices], kind="stable")]


def bucket_stream(stream: IterableDataset, batch_size: int, seed: int = 0) -> IterableDataset:
    """A stream in the order of `LengthBucketSampler`, within windows of 50 batches: that many rows are in memory.

    Batches are shuffled within a window only; for more give a stream that is shuffled (``stream.shuffle``).

    Args:
        stream: tokenised, with the column ``length``.
        batch_size, seed: as for `LengthBucketSampler`.
    """
    order = _OrderOfWindow(batch_size, seed)
    rows = batch_size * MEGA_BATCH
    return stream.map(order, batched=True, batch_size=rows, with_indices=True, features=stream.features)


@dataclass(frozen=True)
class _OrderOfWindow:
    """A class, not a closure: workers that are spawned have to pickle it."""

    batch_size: int
    seed: int

    def __call__(self, rows: dict[str, list[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        sampler = LengthBucketSampler(rows["length"], self.batch_size, self.seed)
        sampler.set_epoch(indices[0])  # another order for each window
        order = list(sampler)
        return {name: [values[row] for row in order] for name, values in rows.items()}
