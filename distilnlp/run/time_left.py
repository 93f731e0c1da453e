"""How long a stage still takes, told from what it took so far."""

import time
from collections.abc import Callable

__all__ = ["TimeLeft", "as_time"]

# A measurement passes forward through the student alone; a step goes back too, and asks the teacher.
PASS_SHARE = 0.25
RECENT = 40  # from so many steps on only the later half counts, as a machine does not stay as busy as it was


class TimeLeft:
    """Steps and measurements are timed apart: there are few measurements, and none in the first tenth, perhaps.

    Args:
        steps: optimizer steps of the stage.
        measurements: how many measurements are still to come after so many steps, that of its end included.
        guess: what a measurement takes, in steps, until one was timed.
        clock: seconds.
    """

    def __init__(
        self,
        steps: int,
        measurements: Callable[[int], int],
        guess: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.steps, self.measurements, self.guess, self.clock = steps, measurements, guess, clock
        self._last = clock()
        self._done = 0
        self._training = 0.0
        self._times: list[float] = []  # of training, at the end of each step
        self._measured: list[float] = []

    def begin(self, done: int) -> None:
        """The training begins after so many steps of an earlier one."""
        self._last, self._done = self.clock(), done

    def step(self, done: int) -> None:
        """A step is over."""
        now = self.clock()
        self._training += now - self._last
        self._last, self._done = now, done
        self._times.append(self._training)

    def measured(self, *, more: bool = False) -> None:
        """A measurement is over; or, of several sets, ``more`` of the one before it."""
        now = self.clock()
        took = now - self._last
        self._last = now
        if more and self._measured:
            self._measured[-1] += took
        else:
            self._measured.append(took)

    @property
    def step_seconds(self) -> float | None:
        """Of a step; the first is left out as soon as there are others, since much is done once in it."""
        count = len(self._times)
        if count < 2:
            return self._times[0] if self._times else None
        first = count // 2 if count >= RECENT else 1
        return (self._times[-1] - self._times[first - 1]) / (count - first)

    def seconds(self) -> float | None:
        """How many are left; None before the first step."""
        step = self.step_seconds
        if step is None:
            return None
        one = sum(self._measured) / len(self._measured) if self._measured else self.guess * step
        since = self.clock() - self._last  # of what has been begun
        left = (self.steps - self._done) * step + self.measurements(self._done) * one
        return max(0.0, left - min(since, max(step, one)))


def as_time(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"
