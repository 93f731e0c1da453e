"""For the sides that are a Trainer."""

import time
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from benchmarks._harness import synchronize
from benchmarks.sides._work import EVALUATION_BATCH, WARM_UP_SHARE, Job


class TimeEpochs(TrainerCallback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        """The epoch starts."""
        self._start = time.perf_counter()

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """The epoch has ended."""
        synchronize()
        self.seconds.append(time.perf_counter() - self._start)


def scores_of(evaluated: Mapping[str, float]) -> dict[str, float]:
    """Of what `Trainer.evaluate` gave, the scores."""
    return {name: evaluated[f"eval_{name}"] for name in ("accuracy", "f1") if f"eval_{name}" in evaluated}


def training(job: Job) -> dict[str, Any]:
    """The job as training arguments."""
    return {
        "num_train_epochs": job.epochs,
        "per_device_train_batch_size": job.batch_size,
        "per_device_eval_batch_size": EVALUATION_BATCH,
        "learning_rate": job.learning_rate,
        "weight_decay": job.weight_decay,
        "warmup_steps": int(WARM_UP_SHARE * job.steps),
        "bf16": job.precision == "bf16",
        "seed": job.seed,
    }
