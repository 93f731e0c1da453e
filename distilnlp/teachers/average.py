"""A teacher that is an average of the student: it learns as the student does, and is steadier."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.part import Training
from distilnlp.teachers.base import register_teacher
from distilnlp.teachers.student_copy import StudentCopy, check_count, check_teaches, tensors_of
from distilnlp.typed import typed

__all__ = ["AverageTeacher", "EMATeacher"]

DECAY = 0.999
START = 0.75
_KEPT = "kept."  # before the name of a weight in the state: its values after the last steps


@register_teacher("average")
class AverageTeacher(StudentCopy):
    """An average of the student's weights over its training, in evaluation mode and without gradients.

    One of three, which the settings choose; each starts as a copy of the student, and is floating buffers too (other
    buffers are copied):

    - ``decay`` (the default): an exponential moving average. After each optimizer step ``w <- d w + (1 - d) s`` for
      every weight ``w`` of the average and its counterpart ``s`` in the student.
    - ``last``: the plain mean of the student after each of the ``last`` steps before this one. It keeps ``last``
      copies of the student in memory and in every checkpoint.
    - ``every``: the plain mean of the student at every so many steps, from a share of the training on (as stochastic
      weight averaging takes it). Until the first of them it has no answer.

    Args:
        decay: ``d``, 0 <= d < 1, dimensionless: it averages over about ``1 / (1 - d)`` steps; default: 0.999. 0 is the
            student itself, a step old at most.
        decay_warmup: the decay is at most ``(1 + t) / (10 + t)`` after ``t`` steps, so that the average forgets the
            first weights soon.
        last: steps, 1 or more.
        every: steps, 1 or more.
        start: the share of the training after which ``every`` counts, 0 <= start < 1; default: 0.75.
        saved: ``student``, or ``best``: the student ends with the average where that scores better on the evaluation
            data, by ``metric_for_best_model``.
    Source: Tarvainen & Valpola 2017, "Mean teachers are better role models", arXiv:1703.01780, equation 2 (they raise
        the decay from 0.99 to 0.999 after the first phase of a training). Xu et al. 2020, "Improving BERT Fine-Tuning
        via Self-Ensemble and Self-Distillation", arXiv:2002.10345, for ``last``. Izmailov et al. 2018, "Averaging
        Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407, for ``every``; they average for
        the model that is kept, not for a teacher, and at the ends of cycles of the learning rate.
    Raises:
        RequestError: a number out of its range (at a decay of 1 the average would never move), or settings of two of
            the three.
    """

    name = "average"
    called = "moving average"

    @typed
    def __init__(
        self,
        decay: float | None = None,
        decay_warmup: bool = False,
        last: int | None = None,
        every: int | None = None,
        start: float | None = None,
        saved: Literal["student", "best"] = "student",
    ) -> None:
        super().__init__()
        moving = decay is not None or decay_warmup
        if moving + (last is not None) + (every is not None) > 1:
            raise RequestError(
                "an average is over the last steps (last), over every so many (every), or a moving one (decay): give "
                "settings of one of the three",
                key=["last" if last is not None else "every"],
            )
        if start is not None and (every is None or not 0 <= start < 1):
            raise RequestError(
                f"start is {start!r}: it is the share of the training, in [0, 1), from which every n-th step counts: "
                "give it with every",
                key=["start"],
            )
        if decay is not None and not 0 <= decay < 1:
            raise RequestError(
                f"the decay of an EMA teacher lies in [0, 1), as 0.99 or 0.999; got {decay!r}", key=["decay"]
            )
        for name, value in (("last", last), ("every", every)):
            if value is not None:
                check_count(name, value)
        self.decay = DECAY if decay is None else float(decay)
        self.decay_warmup = decay_warmup
        self.last = last
        self.every = every
        self.start = START if start is None else float(start)
        self.saved = saved
        self.one_answer = every is None
        self._kept: dict[str, Tensor] = {}  # of each floating weight, (last, *its shape)

    @property
    def teaches(self) -> bool:
        """Whether it is the mean of anything yet."""
        return self.every is None or self.notes.get("taken", 0) > 0

    def begin(self) -> dict[str, float]:
        """``steps`` that were counted, and how many of them were ``taken`` into a mean; none of a constant decay."""
        if self.every is not None:
            return {"steps": 0, "taken": 0}
        return {"steps": 0} if self.decay_warmup or self.last is not None else {}

    def attach(self, training: Training) -> None:
        """Start as a copy of the student, which is the first that ``last`` knows.

        Raises:
            RequestError: the training ends before the mean of ``every`` begins; ``saved: best`` without data to
                evaluate on; or as a copy.
        """
        if self.every is not None:
            late = max(1, math.ceil(self.start * training.steps - 1e-9))  # the first step that counts
            check_teaches(f"every={self.every} from start={self.start:g} on", late + self.every - 1, training.steps)
        if self.saved == "best" and not training.evaluates:
            raise RequestError("saved is best, and there are no data to find the best by: give an evaluation set")
        super().attach(training)
        self._kept = {}
        if self.last is not None:
            own = {name: tensor for name, tensor in tensors_of(self._model).items() if tensor.is_floating_point()}
            self._kept = {name: tensor.new_zeros((self.last, *tensor.shape)) for name, tensor in own.items()}
            self._keep()

    def on_step(self, progress: float) -> None:
        """Move on with the student."""
        if self.last is not None:
            self.notes["steps"] += 1
            self._take_mean(self.last)
            self._keep()
        elif self.every is not None:
            if progress < self.start:
                return
            self.notes["steps"] += 1
            if self.notes["steps"] % self.every == 0:
                self.notes["taken"] += 1
                self.move(1 / self.notes["taken"])
        else:
            self.move(1 - self._decay_now())
            if self.decay_warmup:
                self.notes["steps"] += 1

    def _decay_now(self) -> float:
        if not self.decay_warmup:
            return self.decay
        steps = self.notes["steps"]
        return min(self.decay, (1 + steps) / (10 + steps))

    @torch.no_grad()
    def _keep(self) -> None:
        """Note the student in the place of the oldest that is kept."""
        student = tensors_of(self._student)
        for name, kept in self._kept.items():
            kept[int(self.notes["steps"]) % len(kept)] = student[name].to(kept.dtype)

    @torch.no_grad()
    def _take_mean(self, last: int) -> None:
        """Be the mean of those that are kept: the students before the last step, which is not kept yet."""
        student, count = tensors_of(self._student), min(int(self.notes["steps"]), last)
        for name, tensor in tensors_of(self._model).items():
            tensor.copy_(self._kept[name][:count].mean(dim=0) if name in self._kept else student[name])

    def candidates(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The average, where the best is to be saved and there is one."""
        return {"average": tensors_of(self.model)} if self.saved == "best" and self.teaches else {}

    def state(self) -> Mapping[str, Tensor]:
        """That of the copy, and the students that are kept."""
        return {**super().state(), **{f"{_KEPT}{name}": kept for name, kept in self._kept.items()}}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the average and the students of a checkpoint."""
        super().load_state(state)
        for name, kept in self._kept.items():
            kept.copy_(state[f"{_KEPT}{name}"])

    def finish(self) -> None:
        """Let go of the student and of what was kept of it; the average stays."""
        super().finish()
        self._kept = {}


class EMATeacher(AverageTeacher):
    """The exponential moving average of the student's weights: `AverageTeacher` with a ``decay``.

    Args:
        decay: 0 <= decay < 1.
        decay_warmup: as there.
    Raises:
        RequestError: ``decay`` outside [0, 1): at 1 the average would never move.
    """

    name = "ema_teacher"

    @typed
    def __init__(self, decay: float = DECAY, decay_warmup: bool = False) -> None:
        super().__init__(decay=decay, decay_warmup=decay_warmup)
