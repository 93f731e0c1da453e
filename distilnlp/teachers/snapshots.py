"""A teacher that is the student at the end of the last cycle of its learning rate."""

import dataclasses
import math
from collections.abc import Mapping

from torch import Tensor
from transformers import SchedulerType

from distilnlp.errors import RequestError
from distilnlp.outputs import Answers, Outputs
from distilnlp.part import Training
from distilnlp.teachers.base import register_teacher
from distilnlp.teachers.student_copy import StudentCopy, check_teaches
from distilnlp.typed import typed

__all__ = ["SnapshotTeacher"]


@register_teacher("snapshots")
class SnapshotTeacher(StudentCopy):
    """The student at the end of the cycle before: it teaches the next cycle, and has no answer in the first.

    The cycles are those of the learning rate, which falls to 0 and begins anew: Trainer's
    ``lr_scheduler_type="cosine_with_restarts"`` with ``lr_scheduler_kwargs={"num_cycles": 3}``, without warm-up.

    Args:
        temperature: by which the teacher's logits are divided, > 0: a loss of temperature 1 then compares softened
            answers with the student's own.
    Source: Yang et al. 2019, "Snapshot Distillation: Teacher-Student Optimization in One Generation",
        arXiv:1812.00123; a temperature on the teacher's side alone is theirs.
    Raises:
        RequestError: ``temperature`` not positive and finite; when a training begins whose learning rate has no
            cycles, one, or a warm-up.
    """

    one_answer = False
    name = "snapshot_teacher"
    called = "snapshot"

    @typed
    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise RequestError(f"temperature must be positive and finite; got {temperature!r}", key=["temperature"])
        self.temperature = float(temperature)
        self.cycles = 0

    @property
    def teaches(self) -> bool:
        """Whether a cycle is over."""
        return self.notes.get("cycle", 0) > 0

    def begin(self) -> dict[str, float]:
        """The ``cycle`` that the training is in, from 0."""
        return {"cycle": 0}

    def attach(self, training: Training) -> None:
        """Read the cycles from the training's arguments. Raises RequestError where there are none or few steps."""
        arguments = training.arguments
        kind = None if arguments is None else SchedulerType(arguments.lr_scheduler_type).value
        settings = None if arguments is None else arguments.lr_scheduler_kwargs
        cycles = settings.get("num_cycles", 1) if isinstance(settings, Mapping) else 1
        if kind != "cosine_with_restarts" or not isinstance(cycles, int) or cycles < 2:
            raise RequestError(
                f"snapshots are taken where the learning rate begins anew; got lr_scheduler_type={kind} with "
                f"num_cycles={cycles}: set cosine_with_restarts, and lr_scheduler_kwargs to num_cycles: 2 or more"
            )
        if arguments is not None and arguments.warmup_steps:
            raise RequestError(
                f"snapshots need cycles of one length, and warmup_steps={arguments.warmup_steps} moves their ends: "
                "set warmup_steps to 0"
            )
        check_teaches(f"num_cycles={cycles}", math.ceil(training.steps / cycles), training.steps)
        self.cycles = cycles
        super().attach(training)

    def on_step(self, progress: float) -> None:
        """At the end of a cycle become the student."""
        cycle = int(progress * self.cycles + 1e-9)  # a third of three cycles is one, whatever a float says
        if cycle > self.notes["cycle"] and progress < 1:
            self.notes["cycle"] = cycle
            self.become_student()

    def __call__(self, batch: Mapping[str, Tensor]) -> Answers:
        """As any copy's, with softened logits."""
        answer = super().__call__(batch)
        if self.temperature == 1 or not isinstance(answer, Outputs) or answer.logits is None:
            return answer
        return dataclasses.replace(answer, logits=answer.get_logits() / self.temperature)
