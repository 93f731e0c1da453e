"""`TaskMetric`, the task's metrics as an `evaluate.Metric`. Importing this module imports evaluate, and so torch."""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

from distilnlp.problems import Problem, get_problem
from distilnlp.report.scores import SCORES, ByExample, check_metrics, compute_scores

__all__ = ["TaskMetric"]


class TaskMetric(evaluate.Metric):
    """A task's metrics in one `evaluate.Metric` that needs neither the Hub nor a cache folder.

    ``metric.compute(predictions=, references=)``, or ``add_batch`` for each batch and then ``compute()``. Metrics that
    are computed from logits (average precision) take those too, as ``logits=``. Examples are kept in memory: nothing
    is written, in any process.

    Args:
        metrics: names from `distilnlp.report.scores.SCORES`.
        problem: the kind of task, or its name.
        label_names: of the classes, for metrics that read them.
    Shapes:
        predictions, references: ``(examples,)`` classes or numbers; ``(examples, labels)`` of 0 and 1 for multi-label.
        logits: ``(examples, labels)``.
        examples: ``(rows,)``, the example of each row, where an example has several.
    Raises:
        RequestError: an unknown metric or one that does not fit the problem.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        problem: Problem | str = "single_label_classification",
        label_names: Sequence[str] | None = None,
    ) -> None:
        self.problem = get_problem(problem)
        self.label_names = label_names
        self.metrics = check_metrics(metrics, self.problem)
        super().__init__(config_name="-".join(self.metrics), keep_in_memory=True)

    @property
    def reads_logits(self) -> bool:
        """Whether `compute` needs ``logits=`` beside the predictions."""
        return any(SCORES[name].reads == "logits" for name in self.metrics)

    @property
    def reads_examples(self) -> bool:
        """Whether `compute` needs ``examples=`` beside the predictions."""
        return any(isinstance(SCORES[name].compute, ByExample) for name in self.metrics)

    def _info(self) -> evaluate.MetricInfo:
        # Classes are taken as floats too: as int64, a probability given by mistake would be cut to 0 without a word.
        value = datasets.Value("float64")
        column = datasets.Sequence(value) if self.problem.several_labels else value
        rows = datasets.Sequence(value) if self.problem.rows == "token" or self.problem.vectors else column
        return evaluate.MetricInfo(
            description=f"{', '.join(self.metrics)} of {self.problem.name}, computed with numpy.",
            citation="",
            inputs_description="\npredictions and references: classes, numbers, or rows of 0 and 1; not logits.\n",
            features=datasets.Features(
                {
                    "predictions": column,
                    "references": column,
                    **({"logits": rows} if self.reads_logits else {}),
                    **({"examples": datasets.Value("int64")} if self.reads_examples else {}),
                }
            ),
        )

    def _build_data_dir(self) -> str:
        """No folder: the base class makes one in the user's cache even when examples are kept in memory."""
        return ""

    def _compute(
        self,
        predictions: ArrayLike,
        references: ArrayLike,
        logits: ArrayLike | None = None,
        examples: ArrayLike | None = None,
    ) -> dict[str, float]:
        rows = None if examples is None else np.asarray(examples, dtype=np.int64)
        return compute_scores(self.metrics, predictions, references, self.problem, logits, rows, self.label_names)
