"""Losses between soft targets and labels: smoothed labels, the teacher's answer as the label, wrong teachers."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Batch, Loss, register_loss
from distilnlp.losses.response.base import (
    ClassLoss,
    Head,
    ResponseLoss,
    check_exclusive,
    check_spans,
    cross_entropy,
    kl_divergence,
    log_softmaxes,
)
from distilnlp.losses.response.class_weights import WeighsClasses
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["ConditionalTeacherStudent", "LabelSmoothing", "ProbabilityShift", "PseudoLabel", "shift_to_label"]


@register_loss("label_smoothing")
@dataclass(frozen=True)
class LabelSmoothing(WeighsClasses):
    """Cross-entropy with ``(1 - e) y + e / C``: the label, and a little of every class; no teacher.

    The same as distilling at ``T`` = 1 from a teacher that finds all classes equally likely, with the label weighing
    ``1 - e`` and that teacher ``e``. So it is the control for what a real teacher adds.

    Args:
        epsilon: ``e``, the part of the target that is spread over the classes; 0 < e < 1.
    Shapes:
        student.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; labels: ``(batch,)`` or
            ``(batch, tokens)``; returns ``()``, float32.
    Units: nats per example.
    Raises:
        RequestError: ``epsilon`` outside its range; no labels, or not one class each; one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Szegedy et al.",
            2016,
            "Rethinking the Inception Architecture for Computer Vision",
            "arXiv:1512.00567",
            where="section 7",
        ),
        Citation(
            "Yuan et al.",
            2020,
            "Revisiting Knowledge Distillation via Label Smoothing Regularization",
            "arXiv:1909.11723",
            differs="As distillation.",
        ),
    )

    epsilon: float = 0.1

    uses_labels: ClassVar[bool] = True
    uses_teacher: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.epsilon, bool) or not isinstance(self.epsilon, int | float) or not 0 < self.epsilon < 1:
            raise RequestError(
                f"epsilon must lie between 0 and 1, without them (0 is 'hard_label'); got {self.epsilon!r}"
            )

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        check_exclusive(self.name, student)
        check_spans(self.name, student.problem, spans=False)
        return super().resolve(student, teacher)

    def needs_teacher(self) -> Needs:
        return Needs()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        head = Head(self.name, student, batch, spans=False, class_weights=self.class_numbers)
        log_q = F.log_softmax(head.rows(student), dim=-1)  # (batch, rows, classes)
        labels = head.labels(log_q.shape[-1])  # (batch, rows)
        return head.mean((1 - self.epsilon) * cross_entropy(log_q, labels) - self.epsilon * log_q.mean(dim=-1))


@register_loss("pseudo_label")
@dataclass(frozen=True)
class PseudoLabel(ResponseLoss):
    """Cross-entropy with the class that the teacher finds likeliest; for text without labels, and for teachers of
    which only the answer is known.

    Args:
        confidence: an example counts where the teacher's largest probability (at temperature 1) is at least this;
            0 keeps all. 0 <= confidence <= 1. The others count as 0, so the mean is over all examples.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; returns ``()``, float32.
    Units: nats per example.
    Raises:
        RequestError: ``confidence`` outside its range; unequal logit shapes; one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Lee",
            2013,
            "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks",
            "ICML 2013 workshop",
            differs="There the model is its own teacher.",
        ),
        Citation(
            "Sohn et al.",
            2020,
            "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence",
            "arXiv:2001.07685",
            where="equation 4",
            differs="The threshold, without its augmentation.",
        ),
    )

    confidence: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        value = self.confidence
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise RequestError(f"confidence must lie in 0..1; got {value!r}")

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        super().resolve(student, teacher)
        check_exclusive(self.name, student)
        return self

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        value = cross_entropy(student, teacher.argmax(dim=-1))  # (batch, rows)
        if self.confidence == 0:
            return value
        certain = teacher.softmax(dim=-1).amax(dim=-1) >= self.confidence  # (batch, rows)
        return value.where(certain, value.new_zeros(()))


@register_loss("conditional_teacher_student")
@dataclass(frozen=True)
class ConditionalTeacherStudent(ClassLoss):
    """The teacher's soft target where its likeliest class is the label, else the label itself.

    ``T^2 * KL(p_t || p_s)`` for the examples that the teacher gets right, cross-entropy with the label for the rest.

    Args:
        temperature: ``T`` > 0 of the soft target, dimensionless.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; labels: ``(batch,)`` or
            ``(batch, tokens)``; returns ``()``, float32.
    Units: nats per example (times ``T^2`` where the teacher is right).
    Raises:
        RequestError: no labels, or not one class each; ``temperature`` not positive and finite; unequal logit shapes;
            one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Meng et al.",
            2019,
            "Conditional Teacher-Student Learning",
            "arXiv:1904.12399",
            differs=(
                "With KL for cross-entropy, which has the same gradient and is 0 at equality, and with a temperature."
            ),
        ),
    )

    temperature: float = 1.0

    uses_labels: ClassVar[bool] = True

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        labels = head.labels(student.shape[-1])  # (batch, rows)
        log_q, log_p = log_softmaxes(student, teacher, self.temperature)  # (batch, rows, classes)
        soft = kl_divergence(log_p, log_q) * self.temperature**2  # (batch, rows)
        return soft.where(teacher.argmax(dim=-1) == labels, cross_entropy(student, labels))


@register_loss("probability_shift")
@dataclass(frozen=True)
class ProbabilityShift(ClassLoss):
    """``soft_target`` from a teacher that is put right: where it is wrong, its largest probability and that of the
    label change places.

    Args:
        temperature: ``T`` > 0, dimensionless.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; labels: ``(batch,)`` or
            ``(batch, tokens)``; returns ``()``, float32.
    Units: nats per example, times ``T^2``.
    Raises:
        RequestError: no labels, or not one class each; ``temperature`` not positive and finite; unequal logit shapes;
            one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Wen et al.",
            2019,
            "Preparing Lessons: Improve Knowledge Distillation with Better Supervision",
            "arXiv:1911.07471",
            differs=(
                "Knowledge adjustment by probability shift. The teacher's logits stay as they are; TextBrewer's are "
                "changed in place."
            ),
        ),
    )

    temperature: float = 2.0

    uses_labels: ClassVar[bool] = True

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        shifted = shift_to_label(teacher, head.labels(teacher.shape[-1]))
        log_q, log_p = log_softmaxes(student, shifted, self.temperature)  # (batch, rows, classes)
        return kl_divergence(log_p, log_q) * self.temperature**2


def shift_to_label(logits: Tensor, labels: Tensor) -> Tensor:
    """A copy of the logits in which the largest and the label's have changed places; the same where it is the largest.

    Args:
        logits: ``(..., classes)``, or probabilities; not changed.
        labels: ``(...)``, integers.
    """
    label = labels[..., None]
    top = logits.argmax(dim=-1, keepdim=True)
    at_label, at_top = logits.gather(-1, label), logits.gather(-1, top)
    return logits.scatter(-1, top, at_label).scatter(-1, label, at_top)
