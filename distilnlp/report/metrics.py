"""From a Trainer's predictions to the task's metrics."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError, RunError, unknown
from distilnlp.report.scores import MULTI_LABEL, PROBLEM_TYPES, REGRESSION, SINGLE_LABEL, check_metrics

if TYPE_CHECKING:
    from transformers import EvalPrediction

    from distilnlp.report.task_metric import TaskMetric

__all__ = ["TaskMetric", "decide", "make_compute_metrics"]


def __getattr__(name: str) -> object:
    """`TaskMetric` on first use (PEP 562): evaluate imports torch and transformers, which ``--help`` must not."""
    if name == "TaskMetric":
        from distilnlp.report.task_metric import TaskMetric

        return TaskMetric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def decide(logits: ArrayLike, problem_type: str) -> NDArray[np.generic]:
    """The answers that logits stand for: the class of the largest, the number itself, or 1 where a logit is > 0.

    Shapes:
        logits: ``(examples, classes)``, ``(examples, 1)`` or ``(examples,)`` for regression, ``(examples, labels)``.
    Raises:
        RequestError: an unknown problem type, or logits of another shape.
        RunError: logits that are not finite numbers.
    """
    values = np.asarray(logits)
    if problem_type not in PROBLEM_TYPES:
        raise unknown("problem type", problem_type, PROBLEM_TYPES)
    if problem_type == REGRESSION and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    least = {SINGLE_LABEL: 2, MULTI_LABEL: 1, REGRESSION: 0}[problem_type]
    if values.ndim != (1 if problem_type == REGRESSION else 2) or (values.ndim == 2 and values.shape[1] < least):
        needed = {
            SINGLE_LABEL: "(examples, 2 or more)",
            MULTI_LABEL: "(examples, labels)",
            REGRESSION: "(examples, 1)",
        }
        raise RequestError(f"{problem_type} needs logits of shape {needed[problem_type]}; got {np.shape(logits)}")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
        raise RunError(f"{bad} of {len(values)} examples have logits that are not finite: the model has diverged")
    if problem_type == SINGLE_LABEL:
        return np.asarray(values.argmax(axis=1))
    return (values > 0).astype(np.int64) if problem_type == MULTI_LABEL else values


def make_compute_metrics(metrics: Sequence[str], problem_type: str) -> Callable[["EvalPrediction"], dict[str, float]]:
    """A ``compute_metrics`` for `transformers.Trainer`.

    The names are checked now, before any training; `TaskMetric` is made at the first evaluation.

    Raises:
        RequestError: an unknown metric or one that does not fit the problem type.
    """
    names = check_metrics(metrics, problem_type)

    def compute_metrics(prediction: "EvalPrediction") -> dict[str, float]:
        from distilnlp.report.task_metric import TaskMetric

        logits, labels = (
            values[0] if isinstance(values, tuple) else values
            for values in (prediction.predictions, prediction.label_ids)
        )
        if problem_type == REGRESSION:
            labels = np.asarray(labels).reshape(-1)
        answers = decide(logits, problem_type)
        scores = TaskMetric(names, problem_type).compute(predictions=answers, references=labels)
        return {name: float(score) for name, score in scores.items()}

    return compute_metrics
