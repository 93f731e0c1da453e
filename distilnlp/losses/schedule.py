"""Weights and settings that change while the student trains, as functions of how far the training has come."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from distilnlp.errors import RequestError, nearest, unknown

__all__ = ["Schedule"]

Kind = Literal["constant", "linear", "cosine"]
KEYS = ("schedule", "start", "end", "until", "warmup")


@dataclass(frozen=True)
class Schedule:
    """A number that depends on the progress of the training, in 0..1, and on nothing else: to resume changes nothing.

    In a recipe ``{schedule: linear, start: 1.0, end: 0.0, until: 0.8}``, in Python
    ``Schedule("linear", 1.0, 0.0, until=0.8)``.

    Args:
        kind: ``constant``; ``linear`` or ``cosine`` from ``start`` to ``end``.
        start: the value when the warm-up is over; without one, at the first step.
        end: the value at ``until``; None for ``constant``, which has none.
        until: share of the training after which a weight is 0; 1 is never. 0 < until <= 1. Only for weights.
        warmup: share of the training over which a weight rises linearly from 0 to ``start``. 0 <= warmup < until.
            Only for weights.
    Source: stopping to distil early: Cho & Hariharan 2019, arXiv:1910.01348 (early-stopped knowledge distillation).
        The kinds are those of learning rates: a cosine moves slowly at both ends.
    Raises:
        RequestError: a kind, number or share that cannot be.
    """

    kind: Kind
    start: float
    end: float | None = None
    until: float = 1.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown("schedule", str(self.kind), get_args(Kind), key=["schedule"])
        for name in ("start", "end", "until", "warmup"):
            value = getattr(self, name)
            if name == "end" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise RequestError(f"{name} of a schedule must be a finite number; got {value!r}", key=[name])
        if self.kind == "constant" and self.end is not None:
            raise RequestError(
                "end has no meaning in a constant schedule: leave it out, or use linear or cosine", key=["end"]
            )
        if self.kind != "constant" and self.end is None:
            raise RequestError(f"a {self.kind} schedule needs an end")
        if not 0 < self.until <= 1:
            raise RequestError(
                f"until is a share of the training, above 0 and at most 1; got {self.until}", key=["until"]
            )
        if not 0 <= self.warmup < self.until:
            raise RequestError(
                f"warmup is a share of the training, at least 0 and below until; got {self.warmup}", key=["warmup"]
            )

    @classmethod
    def from_dict(cls, spec: Mapping[str, object]) -> "Schedule":
        """From a recipe's mapping. Raises RequestError for a key that is missing, or that there is not."""
        for key in spec:
            if key not in KEYS:
                match = nearest(key, KEYS)
                hint = f"did you mean '{match}'? " if match else ""
                raise RequestError(f"unknown key '{key}' of a schedule: {hint}it takes {', '.join(KEYS)}", key=[key])
        for key in ("schedule", "start"):
            if key not in spec:
                raise RequestError(f"a schedule needs the key '{key}'")
        values: dict[str, Any] = {"kind" if key == "schedule" else key: value for key, value in spec.items()}
        return cls(**values)

    @property
    def last(self) -> float:
        """The value that it ends with, before it stops."""
        return self.start if self.end is None else self.end

    @property
    def only_for_weights(self) -> bool:
        """Whether it is 0 somewhere, which for a setting would mean nothing."""
        return self.until < 1 or self.warmup > 0

    @property
    def touches_zero(self) -> bool:
        """Whether it is 0 at any time."""
        return self.only_for_weights or self.start == 0 or self.last == 0

    def at(self, progress: float) -> float:
        """The value after a share ``progress`` of the training."""
        if self.until < 1 and progress >= self.until:
            return 0.0
        if progress < self.warmup:
            return self.start * progress / self.warmup
        share = min((progress - self.warmup) / (self.until - self.warmup), 1.0)
        if self.kind == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        # So that the ends are met exactly.
        return (1 - share) * self.start + share * self.last

    def __str__(self) -> str:
        words = f"{self.kind} {self.start:g}" + ("" if self.end is None else f" to {self.end:g}")
        words += f", warmup {self.warmup:g}" if self.warmup else ""
        return words + (f", until {self.until:g}" if self.until < 1 else "")
