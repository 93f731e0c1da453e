"""What the trainer's batches are made of: texts of like length, and how a stream is read."""

from collections.abc import Mapping
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import RandomSampler, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig, LengthGroupedSampler

from distilnlp.data.collate import Masks
from distilnlp.data.mixture import TaskSampler
from distilnlp.data.sampler import LengthBucketSampler, bucket_stream
from distilnlp.errors import RequestError

__all__ = ["EpochOfSampler", "by_length", "examples", "prepare_for_stream", "share_of_step"]


class EpochOfSampler(TrainerCallback):
    """Tells the sampler and the masks their epoch.

    Accelerate does not reach the sampler when several processes resume within an epoch.
    """

    sampler: LengthBucketSampler | TaskSampler | None = None
    masks: Masks | None = None
    _generator: torch.Generator | None = None
    _seed = 0

    def own_generator(self, sampler: Sampler[Any] | None, seed: int) -> None:
        """Let the order of an epoch follow from seed and epoch alone, whose sampler it is.

        Those of transformers and torch draw it from the global random numbers, which are other ones when the epoch is
        begun again in a new process.
        """
        if isinstance(sampler, LengthGroupedSampler | RandomSampler) and sampler.generator is None:
            self._generator, self._seed = torch.Generator(), seed
            sampler.generator = self._generator

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Pass the epoch on."""
        epoch = int((state.epoch or 0) + 1e-6)
        for each in (self.sampler, self.masks):
            if each is not None:
                each.set_epoch(epoch)
        if self._generator is not None:
            self._generator.manual_seed(int(np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0]))


def prepare_for_stream(args: TrainingArguments | None) -> None:
    """Set up the reading of a stream. Raises RequestError where nobody said how long to train."""
    if args is None or args.max_steps <= 0:
        raise RequestError(
            "the training data is a stream, whose length nobody knows: say with max_steps= how long to train"
        )
    config = cast("AcceleratorConfig", args.accelerator_config)  # what TrainingArguments makes of a dict or a file
    if config.dispatch_batches is None:
        config.dispatch_batches = False  # the default, one process reads for all, needs batches of one length


def by_length(data: Any, args: TrainingArguments, batch: int, seed: int) -> Any:
    """A stream whose rows come in batches of like length; any other data, or strategy, as it is."""
    random = args.train_sampling_strategy == "random"
    if random and isinstance(data, datasets.IterableDataset) and "length" in (data.column_names or ()):
        return bucket_stream(data, batch, seed)
    return data


def examples(batch: Mapping[str, Tensor]) -> int:
    """How many examples a batch holds."""
    return len(next(iter(batch.values())))


def share_of_step(in_batch: int, in_step: Tensor | int | None, micro_batches: int) -> Tensor | float:
    """What makes the mean of the micro-batches' means the mean over the examples of the optimizer step.

    Trainer divides by the accumulation steps and DistributedDataParallel by the processes, as if all micro-batches
    were equally large; the last of an epoch may be smaller.

    Args:
        in_batch: examples of this micro-batch.
        in_step: examples of the step, over all processes; None where they were not counted.
        micro_batches: of the step, over all processes.
    """
    return 1.0 if in_step is None else in_batch * micro_batches / in_step
