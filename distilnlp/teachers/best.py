"""A teacher that is the student at its best: the checkpoint of the highest score so far."""

import logging
import math
from collections.abc import Mapping

from distilnlp.errors import RequestError, RunError
from distilnlp.part import Training
from distilnlp.teachers.base import register_teacher
from distilnlp.teachers.student_copy import StudentCopy
from distilnlp.typed import typed

__all__ = ["BestTeacher"]

logger = logging.getLogger(__name__)


@register_teacher("best")
class BestTeacher(StudentCopy):
    """The student as it was at its best evaluation so far; it teaches while the student is worse than that.

    After each evaluation the student is compared with the best so far by ``metric_for_best_model`` of the training
    arguments (default: the loss). A better one takes the teacher's place; a worse one is taught until the next
    evaluation. Where neither is better, and before the first evaluation, there is no answer.

    Attributes:
        score: of the teacher, None before the first evaluation; it never gets worse.
    Source: Wei et al. 2019, "Online Distilling from Checkpoints for Neural Machine Translation", NAACL 2019,
        https://aclanthology.org/N19-1192.
    Raises:
        RequestError: when a training begins without evaluations (``eval_strategy``).
        RunError: no evaluation measured the metric.
    """

    one_answer = False
    name = "best_teacher"
    called = "best checkpoint"

    @typed
    def __init__(self) -> None:
        super().__init__()
        self._metric = "eval_loss"
        self._greater_is_better = False
        self._heard: set[str] = set()

    @property
    def score(self) -> float | None:
        """The metric of the teacher, as the evaluations gave it."""
        score = self.notes.get("score", math.nan)
        return None if math.isnan(score) else score

    @property
    def teaches(self) -> bool:
        """Whether the student was worse at its last evaluation."""
        return self.notes.get("student_is_worse", 0) > 0

    def begin(self) -> dict[str, float]:
        """The best ``score`` (NaN: none), whether the ``student_is_worse``, ``steps``, and those ``taught``."""
        return {"score": math.nan, "student_is_worse": 0, "steps": 0, "taught": 0}

    def attach(self, training: Training) -> None:
        """Start with no score. Raises RequestError for a training that is not evaluated."""
        arguments = training.arguments
        if arguments is None or arguments.eval_strategy == "no" or not training.evaluates:
            raise RequestError(
                "the best checkpoint is found by evaluating while the student learns, and this training does not: set "
                "eval_strategy to steps or epoch, and give data to evaluate on"
            )
        named = arguments.metric_for_best_model or "loss"
        self._metric = named if named.startswith("eval_") else f"eval_{named}"
        greater = arguments.greater_is_better
        self._greater_is_better = not named.endswith("loss") if greater is None else greater
        self._heard = set()
        super().attach(training)

    def on_evaluate(self, metrics: Mapping[str, float]) -> None:
        """Take the student's place in the comparison, or let it be taught."""
        if self._metric not in metrics:  # several sets are evaluated one by one
            self._heard |= metrics.keys()
            return
        self._heard = set()
        score, best = float(metrics[self._metric]), self.score
        better = best is None or (score > best if self._greater_is_better else score < best)
        if better and not math.isnan(score):
            self.become_student()
            self.notes["score"] = score
        self.notes["student_is_worse"] = float(not better and score != best)

    def on_step(self, progress: float) -> None:
        """Count. Raises RunError where evaluations came and went without the metric."""
        self.notes["steps"] += 1
        self.notes["taught"] += self.teaches
        if self._heard and self.score is None:
            raise RunError(
                f"no evaluation gave {self._metric}, by which the best checkpoint is to be found: set "
                f"metric_for_best_model to one of {', '.join(sorted(self._heard))}"
            )

    def finish(self) -> None:
        """Let go of the student, and say how often it was taught: one that only gets better never is."""
        if self._student is not None:
            taught, steps = (int(self.notes[name]) for name in ("taught", "steps"))
            logger.info("the best checkpoint so far taught in %d of %d steps", taught, steps)
        super().finish()
