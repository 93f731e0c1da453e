"""Learning without forgetting: what a model answered for the labels that it had, while it learns new ones."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Batch, Loss, register_loss
from distilnlp.losses.checks import require_teacher
from distilnlp.losses.response.base import (
    ClassLoss,
    Head,
    check_exclusive,
    check_lists,
    check_spans,
    kl_divergence,
    log_softmaxes,
)
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["LWF"]


@register_loss("lwf")
@dataclass(frozen=True)
class LWF(ClassLoss):
    """``T^2 * KL(softmax(z_t / T) || softmax(z_s[:old] / T))``: soft targets of the classes that the teacher knows.

    The teacher is the model as it was before the new classes, which come after the old ones in the student. The new
    classes have no part in it, and it is 0 as long as the student is what the teacher was.

    Args:
        temperature: ``T`` > 0, dimensionless; ``T^2`` keeps the gradient's size steady as it grows.
    Shapes:
        student.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; teacher.logits: the same with the first
            of the classes alone, two or more; returns ``()``, float32.
    Units: nats per example, times ``T^2``.
    Raises:
        RequestError: ``temperature`` not positive and finite; a teacher with more logits than the student, or fewer
            than two; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Li & Hoiem",
            2018,
            "Learning without Forgetting",
            "arXiv:1606.09282",
            differs=(
                "T^2 as in Hinton et al. 2015, where the paper has none; the labels' loss is over all classes, old and"
                " new, as no text says which task it is of."
            ),
        ),
    )

    temperature: float = 2.0

    spans: ClassVar[bool] = False
    teacher_knows_first: ClassVar[bool] = True

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        teacher = require_teacher(self.name, teacher)
        check_lists(self.name, student.problem, lists=False)
        check_spans(self.name, student.problem, spans=False)
        check_exclusive(self.name, student)
        self.check_classes(teacher.num_logits)
        if teacher.num_logits > student.num_logits:
            raise RequestError(
                f"{self.name} compares the classes that the teacher knows, and it has {teacher.num_logits} of them and"
                f" the student {student.num_logits}: let the stage have 'labels: grow', which keeps the old ones"
            )
        return self

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        old = teacher.get_logits().shape[-1]
        return super().__call__(
            dataclasses.replace(student, logits=student.get_logits()[..., :old]), teacher, batch, module
        )

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        log_q, log_p = log_softmaxes(student, teacher, self.temperature)  # (batch, rows, old classes)
        return kl_divergence(log_p, log_q) * self.temperature**2
