"""Examples of several tasks together: rows that say whose they are, and which task each optimizer step is of."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler
from transformers import TrainingArguments

from distilnlp.data.inspect import token_lengths
from distilnlp.data.sampler import LengthBucketSampler
from distilnlp.errors import RequestError
from distilnlp.problems.several_tasks import TASK_ID

__all__ = ["SIZE_POWER", "TaskRows", "TaskSampler", "most_steps", "steps_of_tasks", "with_task_id"]

# Of the size of a task, by which it is drawn: Clark et al. 2019, arXiv:1907.04829.
SIZE_POWER = 0.75


def with_task_id(dataset: Dataset, place: int) -> Dataset:
    """A tokenised data set with the column that says which of several tasks it is of."""
    return dataset.add_column(TASK_ID, np.full(len(dataset), place, dtype=np.int64))


class TaskRows(TorchDataset[dict[str, Any]]):
    """The tokenised rows of several tasks, one task after the other. Each keeps the columns that it has.

    Args:
        parts: of each task, by name, with the column ``task_id``.
    """

    def __init__(self, parts: Mapping[str, Dataset]) -> None:
        self.parts = dict(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts.values())])
        self._list = list(self.parts.values())

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> dict[str, Any]:
        place = int(np.searchsorted(self._starts, row, side="right")) - 1
        return dict(self._list[place][int(row - self._starts[place])])

    @property
    def lengths(self) -> dict[str, NDArray[np.int32]]:
        """Tokens of each row, by task. Raises RequestError for rows whose length nobody tells."""
        found: dict[str, NDArray[np.int32]] = {}
        for name, part in self.parts.items():
            lengths = token_lengths(part)
            if lengths is None:
                raise RequestError(f"the data of the task {name} are not tokenised: give texts, or input_ids")
            found[name] = lengths
        return found


def steps_of_tasks(
    sizes: Mapping[str, int], batch_size: int, power: float = SIZE_POWER, most: int | None = None
) -> dict[str, int]:
    """How many optimizer steps of an epoch are of each task: by its size to a power, to the next whole number.

    An epoch has as many steps as the rows of all tasks fill, unless the training ends before.

    Args:
        sizes: training rows of each task, 1 or more.
        batch_size: examples of one optimizer step.
        power: 1 takes tasks as often as they are large, 0 all alike.
        most: steps of the whole training.
    Raises:
        RequestError: fewer rows in all than a step has; a task gets no step.
    """
    rows = sum(sizes.values())
    if rows < batch_size:
        raise RequestError(
            f"a step has {batch_size} examples and the tasks have {rows} together: take smaller batches"
        )
    steps = rows // batch_size if most is None else min(rows // batch_size, most)
    shares = np.array([float(size) for size in sizes.values()]) ** power
    exact = steps * shares / shares.sum()
    counts = np.floor(exact).astype(int)
    largest_rests = np.argsort(counts - exact, kind="stable")[: steps - int(counts.sum())]
    counts[largest_rests] += 1
    never = next((name for name, count in zip(sizes, counts, strict=True) if count == 0), None)
    if never is not None:
        raise RequestError(
            f"none of the {steps} steps of an epoch is of the task {never}, which has {sizes[never]} of"
            f" {rows} rows: take smaller batches, a lower size_power, more of its rows or more steps"
        )
    return dict(zip(sizes, counts.tolist(), strict=True))


def most_steps(arguments: TrainingArguments, rows: int, batch_size: int) -> int:
    """How many optimizer steps a training takes on so many rows, the last batch of an epoch left out."""
    if arguments.max_steps > 0:
        return int(arguments.max_steps)
    return math.ceil(float(arguments.num_train_epochs) * (rows // batch_size))


class TaskSampler(Sampler[int]):
    """Yields the rows of `TaskRows` so that every run of ``batch_size`` is of one task, and of like length.

    An epoch has as many steps as the rows of all tasks fill. How many of them are of each task is decided by its size
    to a power (`steps_of_tasks`), which task a step is of by seed and epoch. A task goes through its rows in a new
    random order each time, and goes on in the next epoch where it stopped; its batches are made as those of
    `LengthBucketSampler`. So a small task is seen more often than its size, a large one less, and no row is left out
    for good.

    ``batch_size`` is that of an optimizer step, over all processes and accumulation steps: see `LengthBucketSampler`.

    Args:
        lengths: tokens of each row, by task, in the order of `TaskRows`.
        batch_size: examples of one optimizer step.
        seed: with the epoch it fixes the order.
        power: of the sizes.
        most: steps of the whole training, where that is less than an epoch: then each task has its share of those.
    Raises:
        RequestError: as `steps_of_tasks`.
    """

    # No attribute `generator`, as in `LengthBucketSampler`.

    def __init__(
        self,
        lengths: Mapping[str, Sequence[int] | NDArray[np.int32]],
        batch_size: int,
        seed: int = 0,
        power: float = SIZE_POWER,
        most: int | None = None,
    ) -> None:
        self._lengths = {name: np.asarray(each, dtype=np.int32) for name, each in lengths.items()}
        sizes = {name: len(each) for name, each in self._lengths.items()}
        self.batch_size, self.seed = batch_size, seed
        self.steps = steps_of_tasks(sizes, batch_size, power, most)
        self._starts = dict(zip(sizes, np.cumsum([0, *sizes.values()])[:-1].tolist(), strict=True))
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next ``iter()`` gives; accelerate and Trainer call it."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        return sum(self.steps.values()) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        batches = {name: iter(self._batches(name)) for name in self.steps}
        order = np.repeat(np.array(list(self.steps)), list(self.steps.values()))
        np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        for name in order.tolist():
            yield from map(int, next(batches[name]))

    def _batches(self, name: str) -> NDArray[np.int64]:
        """The rows of a task in this epoch, ``(its steps, batch_size)``."""
        lengths, count = self._lengths[name], self.steps[name] * self.batch_size
        first = self.epoch * count
        passes = range(first // len(lengths), (first + count - 1) // len(lengths) + 1)
        place = self._starts[name]
        # Its place among the tasks: two of one size are not to be read alike.
        orders = [np.random.default_rng([self.seed, each, place]).permutation(len(lengths)) for each in passes]
        skipped = first - passes.start * len(lengths)
        rows = np.concatenate(orders)[skipped : skipped + count]
        sampler = LengthBucketSampler(lengths[rows], self.batch_size, self.seed)
        sampler.set_epoch(self.epoch)
        chosen: NDArray[np.int64] = rows[list(sampler)] + place
        return chosen.reshape(-1, self.batch_size)
