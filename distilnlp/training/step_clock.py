"""A clock that is asked at the borders of what an optimizer step consists of, and adds up where its time goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distilnlp.report.step_time import PHASES, StepTime

__all__ = ["EVERY", "FIRST", "StepClock"]

# On an accelerator one step in so many is measured, and not the first ones, which take longer than all others.
EVERY, FIRST = 50, 5
_NOTHING: AbstractContextManager[None] = nullcontext()


class StepClock(TrainerCallback):
    """Measures the optimizer steps of a training, by what they do.

    At each border the time since the last one goes to what was being done, so that the parts add up to the whole.
    A step is from fetching its batches to the end of its callbacks: with gradient accumulation all of its passes. What
    lies between two steps (evaluations, logs, checkpoints) is in none.

    On a CPU every step is measured. An accelerator works on after a call has returned: there one step in `EVERY` is
    measured, in which each border waits for the device, and the other steps are left as they are.

    Args:
        device: that the student is trained on.
        clock: seconds.
        wait: waits for the device; default: as PyTorch does.
    """

    def __init__(
        self,
        device: torch.device,
        clock: Callable[[], float] = time.perf_counter,
        wait: Callable[[torch.device], object] = torch.accelerator.synchronize,
    ) -> None:
        self.device, self._clock, self._wait = device, clock, wait
        self._restart(0)

    def _restart(self, step: int) -> None:
        self._begun_at, self._steps, self._measured = step, 0, 0
        self._total = dict.fromkeys(PHASES, 0.0)
        self._step: dict[str, float] = {}
        self._doing: list[str] = []  # the innermost last; empty: this step is not measured
        self._since = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Forget an earlier training."""
        self._restart(state.global_step)

    def begin(self) -> None:
        """A step begins. One that was begun before and has not ended is forgotten: its data were at an end."""
        self._doing = []
        if self.device.type == "cpu" or self._steps % EVERY == FIRST:
            self._doing, self._step = ["rest"], dict.fromkeys(PHASES, 0.0)
            self._since = self._now()

    def phase(self, name: str) -> AbstractContextManager[None]:
        """The time within goes to a part of the step.

        Args:
            name: of `PHASES`. One may lie within another, whose time it then is not.
        """
        return self._within(name) if self._doing else _NOTHING

    def then(self, name: str) -> None:
        """What follows goes to a part of the step, outside of those that begin and end within it.

        Args:
            name: of `PHASES`; until another follows, or the step is over.
        """
        if self._doing:
            self._border(self._doing[-1])
            self._doing[0] = name

    @contextmanager
    def _within(self, name: str) -> Iterator[None]:
        self._border(self._doing[-1])
        self._doing.append(name)
        try:
            yield
        finally:
            self._border(name)
            self._doing.pop()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The gradients are there, and clipped."""
        self.then("optimizer")

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The weights are changed."""
        self.then("rest")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The step is over, once those that were added before have heard of it."""
        self._steps += 1
        if self._doing:
            self._border(self._doing[-1])
            self._doing = []
            self._measured += 1
            self._total = {name: value + self._step[name] for name, value in self._total.items()}

    def _border(self, doing: str) -> None:
        now = self._now()
        self._step[doing] += now - self._since
        self._since = now

    def _now(self) -> float:
        if self.device.type != "cpu":
            self._wait(self.device)
        return self._clock()

    @property
    def taken(self) -> StepTime | None:
        """Where the time of the last training went; None where no step of it was measured."""
        if not self._measured:
            return None
        return StepTime(
            device=self.device.type,
            begun_at=self._begun_at,
            steps=self._steps,
            measured=self._measured,
            seconds={name: round(value, 6) for name, value in self._total.items()},
        )
