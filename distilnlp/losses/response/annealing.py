"""Losses whose target moves while the student trains: from the teacher to the labels, towards its logits."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, register_loss
from distilnlp.losses.checks import check_positive
from distilnlp.losses.response.base import Head, ResponseLoss, check_exclusive, log_softmaxes
from distilnlp.outputs import ModelInfo

__all__ = ["AnnealingKD", "TeacherAnnealing", "annealed_target"]


@register_loss("teacher_annealing")
@dataclass(frozen=True)
class TeacherAnnealing(ResponseLoss):
    """Cross-entropy with ``l y + (1 - l) softmax(z_t)``: the label and the teacher's answer in one target.

    Args:
        label_share: ``l``, 0 <= l <= 1. The paper's moves from 0 to 1 while the student trains: in a recipe
            ``label_share: {schedule: linear, start: 0.0, end: 1.0}``. Fixed at 0 no label counts.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; labels: ``(batch,)`` or
            ``(batch, tokens)``; returns ``()``, float32.
    Units: nats per example; its lowest value is the entropy of the target, not 0.
    Raises:
        RequestError: ``label_share`` outside its range; no labels, or not one class each; unequal logit shapes; one
            logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Clark et al.",
            2019,
            "BAM! Born-Again Multi-Task Networks for Natural Language Understanding",
            "arXiv:1907.04829",
            differs=(
                "Teacher annealing, for classes; there is no temperature. Theirs does the same for a number, which "
                "here is ``hard_label`` and ``logit_mse`` with schedules."
            ),
        ),
    )

    label_share: float = 0.0

    uses_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        value = self.label_share
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise RequestError(f"label_share must lie in 0..1; got {value!r}")

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        super().resolve(student, teacher)
        check_exclusive(self.name, student)
        return self

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        log_q, log_p = log_softmaxes(student, teacher, 1.0)  # (batch, rows, classes)
        target = annealed_target(log_p.exp(), head.labels(student.shape[-1]), self.label_share)
        return -(target * log_q).sum(dim=-1)


def annealed_target(probabilities: Tensor, labels: Tensor, label_share: float) -> Tensor:
    """``l y + (1 - l) p``, with ``y`` the label's class as probabilities; ``(..., classes)``.

    Args:
        probabilities: ``(..., classes)``, the teacher's.
        labels: ``(...)``, integers.
        label_share: ``l``.
    """
    one_hot = F.one_hot(labels, probabilities.shape[-1]).to(probabilities.dtype)
    return label_share * one_hot + (1 - label_share) * probabilities


@register_loss("annealing_kd")
@dataclass(frozen=True)
class AnnealingKD(ResponseLoss):
    """``mean((z_s - f z_t)^2)``: regression onto the teacher's logits, which grow from small ones to their full size.

    Args:
        factor: ``f`` > 0. The paper's rises to 1 while the student trains: in a recipe
            ``factor: {schedule: linear, start: 0.1, end: 1.0}``. At 1 it is ``logit_mse``.
    Shapes:
        student.logits, teacher.logits: ``(batch, outputs)`` or ``(batch, tokens, outputs)``; returns ``()``, float32.
    Units: squared logits, mean over examples and outputs.
    Raises:
        RequestError: ``factor`` not positive and finite; unequal logit shapes; a span head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Jafari et al.",
            2021,
            "Annealing Knowledge Distillation",
            "arXiv:2104.07163",
            where="stage I",
            differs=(
                "Its sum over the outputs is a mean here. Its factor rises by epochs, ours with every step. Stage II, "
                "the labels alone, is another stage of the recipe."
            ),
        ),
    )

    factor: float = 1.0

    spans: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("factor", self.factor)

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        return (student - self.factor * teacher).square().mean(dim=-1)
