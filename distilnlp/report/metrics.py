"""From a Trainer's predictions to the task's metrics."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from distilnlp.problems import Problem, get_problem
from distilnlp.report.scores import check_metrics

if TYPE_CHECKING:
    from transformers import EvalPrediction

    from distilnlp.report.task_metric import TaskMetric

__all__ = ["TaskMetric", "make_compute_metrics"]


def __getattr__(name: str) -> object:
    """`TaskMetric` on first use (PEP 562): evaluate imports torch and transformers, which ``--help`` must not."""
    if name == "TaskMetric":
        from distilnlp.report.task_metric import TaskMetric

        return TaskMetric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def make_compute_metrics(
    metrics: Sequence[str],
    problem: Problem | str,
    config: Callable[[], Any] | None = None,
    label_names: Callable[[], Sequence[str] | None] = lambda: None,
) -> Callable[["EvalPrediction"], dict[str, float]] | None:
    """A ``compute_metrics`` for `transformers.Trainer`.

    The names are checked now, before any training; `TaskMetric` is made at the first evaluation.

    Args:
        metrics: names from `distilnlp.report.scores.SCORES`.
        problem: the kind of task (``task.problem``), or its name.
        config: gives the config of the model that is evaluated, whose decision thresholds are then used; None decides
            as ``problem`` does.
        label_names: gives the names of the classes, for metrics that read them.
    Returns:
        None for a kind whose metrics need the texts: its evaluations while training tell the loss alone.
    Raises:
        RequestError: an unknown metric or one that does not fit the problem.
    """
    kind = get_problem(problem)
    names = check_metrics(metrics, kind)
    if not kind.metrics_in_training:
        return None

    def compute_metrics(prediction: "EvalPrediction") -> dict[str, float]:
        from distilnlp.report.task_metric import TaskMetric

        logits, labels = (
            values[0] if isinstance(values, tuple) else values
            for values in (prediction.predictions, prediction.label_ids)
        )
        own = kind if config is None else kind.of_config(config())
        logits, labels, examples = own.answered_rows(np.asarray(logits), np.asarray(labels))
        decisions = own.decide(logits)
        metric = TaskMetric(names, kind, label_names())
        scores = metric.compute(
            predictions=decisions,
            references=np.asarray(labels).reshape(-1) if decisions.ndim == 1 else labels,
            **({"logits": logits} if metric.reads_logits else {}),
            **({"examples": examples} if metric.reads_examples else {}),
        )
        return {name: float(score) for name, score in scores.items()}

    return compute_metrics
