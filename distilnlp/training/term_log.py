"""The terms of an objective while a student trains: summed on its device, looked at when they are logged."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from distilnlp.errors import RunError
from distilnlp.losses import Objective
from distilnlp.losses.schedule import Schedule
from distilnlp.part import Part

__all__ = ["TermLog"]


class _Logged(Protocol):
    """What is read of a term."""

    @property
    def name(self) -> str: ...

    @property
    def scheduled(self) -> Mapping[str, Schedule]: ...

    def weight_at(self, progress: float) -> float: ...


@dataclass(frozen=True)
class _OfPart:
    """The term of a part, whose weight stays."""

    name: str
    weight: float
    scheduled: Mapping[str, Schedule] = field(default_factory=dict)

    def weight_at(self, progress: float) -> float:
        return self.weight


class TermLog:
    """Sums each term, raw and weighted, and stops a training in which one is not a finite number.

    Args:
        objective: resolved.
        parts: of the training; those that have a weight add a term each.
    """

    def __init__(self, objective: Objective, parts: Sequence[Part] = ()) -> None:
        of_parts = [_OfPart(part.name, part.weight) for part in parts if part.weight > 0]
        self._terms: tuple[_Logged, ...] = (*objective, *of_parts)
        self.reset()

    def reset(self) -> None:
        """Forget what was noted; a training that was broken off leaves something."""
        self._sums: Tensor | None = None  # (2, terms), on the device
        self._passes = 0
        self._progress = 0.0  # at the last of them

    def note(self, raw: Tensor, progress: float, step: int) -> None:
        """Add what one pass gave.

        Args:
            raw: each term's value, ``(terms,)``.
            progress: the share of the training that is over.
            step: the optimizer steps that are done.
        Raises:
            RunError: a term is not a finite number, as far as looking costs nothing.
        """
        # By Python's numbers: a tensor of weights would have to be copied to the device, and waited for.
        terms = zip(self._terms, raw.unbind(), strict=True)
        both = torch.stack([raw, torch.stack([term.weight_at(progress) * value for term, value in terms])])
        self._sums = both if self._sums is None else self._sums + both
        self._progress = progress
        self._passes += 1
        if raw.device.type == "cpu":  # elsewhere to look would be to wait for the device: at the next log or save
            self.check(step)

    def check(self, step: int) -> None:
        """Stop at a term that is not a finite number; a sum keeps it until somebody looks.

        Raises:
            RunError: names the term.
        """
        if self._sums is None or bool(torch.isfinite(self._sums).all()):
            return
        terms = zip(self._terms, self._sums.sum(dim=0).tolist(), strict=True)
        names = [term.name for term, value in terms if not math.isfinite(value)]
        raise RunError(
            f"the loss term {', '.join(names)} is not a finite number at step {step + 1}: lower "
            "the learning rate, or train in fp32 or bf16 in place of fp16; the last checkpoint is kept"
        )

    def means(self, step: int, gather: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The mean of each term since the last call, by the names that are logged, and what is scheduled.

        Args:
            step: the optimizer steps that are done.
            gather: stacks what all processes give, ``(1, ...)`` each.
        Raises:
            RunError: as `check`.
        """
        if self._sums is None:
            return {}
        self.check(step)
        raw, weighted = gather((self._sums / self._passes)[None]).mean(dim=0).tolist()
        means: dict[str, float] = {}
        for term, mean, part in zip(self._terms, raw, weighted, strict=True):
            means[f"raw/{term.name}"] = mean
            means[f"weighted/{term.name}"] = part
            for key, schedule in term.scheduled.items():
                means[f"scheduled/{term.name}.{key}"] = schedule.at(self._progress)
        self._sums, self._passes = None, 0
        return means
