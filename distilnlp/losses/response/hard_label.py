"""The task's own loss against the labels."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses.base import Batch, Loss, register_loss
from distilnlp.losses.checks import check_positive
from distilnlp.losses.response.base import Head
from distilnlp.losses.response.class_weights import BALANCED, WeighsClasses
from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.problems import IGNORED, Problem, problem_of_head, problem_of_labels

__all__ = ["HardLabel"]

# The highest weight that `balanced` gives: that of a label which one row in a thousand has would drown all others.
BALANCED_MOST = 10.0


@register_loss("hard_label")
@dataclass(frozen=True)
class HardLabel(WeighsClasses):
    """The task's own loss against the labels; no teacher.

    Cross-entropy for classes, mean squared error for one float target, binary cross-entropy (mean over the labels)
    for several labels at once: as the problem of the student's head has it (`Problem.row_loss`). Where that is not
    known, or the labels are of another kind, the labels tell: integers are classes, floats ``(batch,)`` a target,
    floats ``(batch, labels)`` a multi-hot row. Of a ranking head it is the cross-entropy of the softmax over a query's
    texts with their relevance as shares.

    Args:
        pos_weight: several labels only: how much more a label that holds weighs than one that does not. A number for
            all labels, a list with one for each in the order of the logits, or ``balanced``: of each label, the rows
            without it divided by those with it in the training data, at most 10. It raises the probabilities, so that
            more labels are found and more wrongly; what it moves, decision thresholds that are chosen after the
            training move back.

    A text without a label (-100 for a class, or for the tag of each word; NaN for a target or a row of several labels)
    adds 0 to the mean over the examples, so that the loss weighs as much as there are labels.

    Shapes:
        student.logits: ``(batch, classes)``; labels: ``(batch,)`` or ``(batch, labels)``; of a span head
            ``(batch, tokens, 2)`` and ``(batch, 2)``, the positions of start and end; of a ranking head ``(pairs, 1)``
            and ``(queries, texts)``, with the batch's ``groups``; returns ``()``, float32.
    Units: nats per example (squared units of the target for regression).
    Raises:
        RequestError: no labels in the batch; a label outside the classes; one logit with class labels (its softmax
            is constant and trains nothing). ``pos_weight`` that is not positive and finite, not one for each label, or
            for a head that is not of several labels.
    """

    pos_weight: float | list[float] | Literal["balanced"] | None = None

    read_once: ClassVar[frozenset[str]] = frozenset({"pos_weight", "class_weights"})

    uncited: ClassVar[str] = (
        "the usual task losses; as in transformers' sequence classification heads, but that one integer label with "
        "one logit is an error here and not a regression."
    )

    uses_labels: ClassVar[bool] = True
    uses_teacher: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pos_weight is None or self.pos_weight == BALANCED:
            return
        if isinstance(self.pos_weight, str) or self.pos_weight == []:
            raise RequestError(
                f"pos_weight is {self.pos_weight!r}: give a number, a list of one for each label, or {BALANCED}",
                key=["pos_weight"],
            )
        for weight in self.pos_weight if isinstance(self.pos_weight, list) else [self.pos_weight]:
            check_positive("pos_weight", weight)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        super().resolve(student, teacher)
        if self.pos_weight is None:
            return self
        if not student.problem.several_labels:
            raise RequestError(
                f"pos_weight weighs labels that hold against those that do not, and a {student.problem.name} has no "
                "such: leave it out",
                key=["pos_weight"],
            )
        if isinstance(self.pos_weight, list) and len(self.pos_weight) != student.num_logits:
            raise RequestError(
                f"pos_weight has {len(self.pos_weight)} numbers and the student {student.num_logits} labels: one for "
                "each is needed, in the order of the logits",
                key=["pos_weight"],
            )
        return self

    @property
    def counts_labels(self) -> bool:
        return self.pos_weight == BALANCED or super().counts_labels

    def with_label_counts(self, positives: Sequence[int], rows: int) -> Loss:
        if self.pos_weight != BALANCED:
            return super().with_label_counts(positives, rows)
        weights = [min((rows - count) / count, BALANCED_MOST) if count else BALANCED_MOST for count in positives]
        # A label that every row has teaches nothing at any weight; 0 is no weight.
        return dataclasses.replace(self, pos_weight=[weight or 1.0 for weight in weights])

    def needs_teacher(self) -> Needs:
        return Needs()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        known = _known(batch)
        if known is not None:  # what stands in for no label does not count: a class, or a relevance, that can be
            stand_in = batch["labels"].new_full((), 1 if "groups" in batch else 0)
            batch = {**batch, "labels": batch["labels"].where(known, stand_in)}
        head = Head(self.name, student, batch, class_weights=self.class_numbers, lists=True)
        rows = head.rows(student)  # (batch, rows, classes)
        problem = self._problem(student, batch)
        labels = batch.get("labels")
        if labels is None or not labels.is_floating_point() or head.positions is not None:
            labels = head.labels(problem.num_classes(rows.shape[-1]))  # (batch, rows)
        if self.pos_weight is None:
            losses = problem.row_loss(rows, labels)  # (batch, rows)
        else:
            losses = problem.weighted_row_loss(rows, labels, self._weights(rows))
        return head.mean(losses if known is None else losses.where(known.reshape(len(rows), -1)[:, :1], 0.0))

    def _weights(self, rows: Tensor) -> Tensor:
        if isinstance(self.pos_weight, str):
            raise RequestError(
                f"pos_weight={BALANCED} is counted in the training data by the trainer: outside of it give numbers"
            )
        return torch.tensor(self.pos_weight, dtype=rows.dtype, device=rows.device)

    def _problem(self, student: Outputs, batch: Batch) -> Problem:
        """That of the student's head; labels of another kind tell their own, and a head by token has no other."""
        labels, problem = batch.get("labels"), student.problem
        if problem is not None and (labels is None or problem.rows != "text" or problem.has_labels(labels)):
            return problem
        return problem_of_head(student.get_logits().shape[-1]) if labels is None else problem_of_labels(labels)


def _known(batch: Batch) -> Tensor | None:
    """Which texts have a label, in the labels' shape with 1 in place of what comes after the first axis.

    None where there are no labels.
    """
    labels = batch.get("labels")
    if labels is None:
        return None
    if labels.is_floating_point():
        known = ~labels.isnan()
        return known if labels.ndim == 1 else known.all(dim=-1, keepdim=True)
    known = labels != IGNORED
    return known if labels.ndim == 1 else known.any(dim=-1, keepdim=True)
