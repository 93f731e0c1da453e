"""What the trainer's batches are made of: texts of like length, and how a stream is read."""

from collections.abc import Mapping
from typing import Any, cast

import datasets
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig

from distilnlp.data.sampler import LengthBucketSampler, bucket_stream
from distilnlp.errors import RequestError

__all__ = ["EpochOfSampler", "by_length", "examples", "prepare_for_stream", "share_of_step"]


class EpochOfSampler(TrainerCallback):
    """Tells the sampler its epoch. Accelerate does not reach it when several processes resume within an epoch."""

    sampler: LengthBucketSampler | None = None

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Pass the epoch on."""
        if self.sampler is not None and state.epoch is not None:
            self.sampler.set_epoch(int(state.epoch + 1e-6))


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
