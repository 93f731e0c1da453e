"""The time of a step of `DistillationTrainer` over that of the bare PyTorch loop which computes the same.

Both sides: a live teacher, the same student, the same batches of like length from a DataLoader, the same captured
tensors and losses (logits, hidden states, attention scores), fused AdamW, clipping, a linear schedule, float32. What
the trainer adds is its bookkeeping. In turns; a round trains on all rows once, its first step is not timed.

Goal: at most 1.05. ``--profile`` shows where a step's time goes, on both sides.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

GOAL = 1.05
QUICK: dict[str, object] = {"rows": 24, "rounds": 1, "batch_size": 8}
PARTS = ("data", "teacher forward", "student forward", "losses", "backward", "clipping", "optimizer")


class Profile:
    """Seconds of each part of the steps."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of what runs inside to the part ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added to the part ``name``."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return timed
