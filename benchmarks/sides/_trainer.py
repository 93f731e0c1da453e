"""For the sides that are a Trainer."""

import time
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback


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
        self.seconds.append(time.perf_counter() - self._start)


def scores_of(evaluated: Mapping[str, float]) -> dict[str, float]:
    """Of what `Trainer.evaluate` gave, the scores."""
    return {name: evaluated[f"eval_{name}"] for name in ("accuracy", "f1") if f"eval_{name}" in evaluated}
