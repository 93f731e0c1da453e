"""The task's own loss against the labels."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.losses.base import Batch, Loss, register_loss
from distilnlp.losses.response.base import Head
from distilnlp.outputs import Needs, Outputs
from distilnlp.problems import Problem, problem_of_head, problem_of_labels

__all__ = ["HardLabel"]


@register_loss("hard_label")
@dataclass(frozen=True)
class HardLabel(Loss):
    """The task's own loss against the labels; no teacher.

    Cross-entropy for classes, mean squared error for one float target, binary cross-entropy (mean over the labels)
    for several labels at once: as the problem of the student's head has it (`Problem.row_loss`). Where that is not
    known, or the labels are of another kind, the labels tell: integers are classes, floats ``(batch,)`` a target,
    floats ``(batch, labels)`` a multi-hot row.

    Shapes:
        student.logits: ``(batch, classes)``; labels: ``(batch,)`` or ``(batch, labels)``; of a span head
            ``(batch, tokens, 2)`` and ``(batch, 2)``, the positions of start and end; returns ``()``, float32.
    Units: nats per example (squared units of the target for regression).
    Raises:
        RequestError: no labels in the batch; a label outside the classes; one logit with class labels (its softmax
            is constant and trains nothing).
    """

    uncited: ClassVar[str] = (
        "the usual task losses; as in transformers' sequence classification heads, but that one integer label with "
        "one logit is an error here and not a regression."
    )

    uses_labels: ClassVar[bool] = True
    uses_teacher: ClassVar[bool] = False

    def needs_teacher(self) -> Needs:
        return Needs()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        head = Head(self.name, student, batch)
        rows = head.rows(student)  # (batch, rows, classes)
        problem = self._problem(student, batch)
        labels = batch.get("labels")
        if labels is None or not labels.is_floating_point() or head.positions is not None:
            labels = head.labels(problem.num_classes(rows.shape[-1]))  # (batch, rows)
        return head.mean(problem.row_loss(rows, labels))

    def _problem(self, student: Outputs, batch: Batch) -> Problem:
        """That of the student's head; labels of another kind tell their own, and a head by token has no other."""
        labels, problem = batch.get("labels"), student.problem
        if problem is not None and (labels is None or problem.rows != "text" or problem.has_labels(labels)):
            return problem
        return problem_of_head(student.get_logits().shape[-1]) if labels is None else problem_of_labels(labels)
