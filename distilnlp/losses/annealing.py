"""Losses whose target or temperature moves: from the teacher to the labels, towards its logits, or by example."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, check_positive, register_loss
from distilnlp.losses.response import ClassLoss, Head, ResponseLoss, check_exclusive, kl_divergence, log_softmaxes
from distilnlp.outputs import ModelInfo

__all__ = ["CWSM", "FLSW", "AnnealingKD", "TeacherAnnealing", "annealed_target"]


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
    Source: Clark et al. 2019 (BAM), arXiv:1907.04829 (teacher annealing), for classes; there is no temperature. Theirs
        does the same for a number, which here is ``hard_label`` and ``logit_mse`` with schedules.
    Raises:
        RequestError: ``label_share`` outside its range; no labels, or not one class each; unequal logit shapes; one
            logit; a multi-label head.
    """

    label_share: float = 0.0

    uses_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
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
    Source: Jafari et al. 2021, Annealing Knowledge Distillation, arXiv:2104.07163, stage I, whose sum over the outputs
        is a mean here. Its factor rises by epochs, ours with every step. Stage II, the labels alone, is another stage
        of the recipe.
    Raises:
        RequestError: ``factor`` not positive and finite; unequal logit shapes.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        check_positive("factor", self.factor)

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        return (student - self.factor * teacher).square().mean(dim=-1)


@dataclass(frozen=True)
class _ExampleTemperature(ClassLoss):
    """Base of soft targets with a temperature for each example: lower where the example is harder."""

    temperature: float = 8.0
    beta: float = 1.0

    over_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("beta", self.beta)

    def difficulty(self, student: Tensor, teacher: Tensor) -> Tensor:
        """How hard each row is, ``(batch, rows)``, from two detached ``(batch, rows, classes)``."""
        raise NotImplementedError

    def widest(self, classes: int) -> float:
        """How far two difficulties can lie apart."""
        raise NotImplementedError

    def check_classes(self, classes: int) -> None:
        super().check_classes(classes)
        reach = self.beta * self.widest(classes)
        if reach >= self.temperature:
            raise RequestError(
                f"temperature of {self.name} must be above {reach:g}, or that of a hard example could fall to 0; got "
                f"{self.temperature:g}: raise it, or lower beta"
            )

    def temperatures(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        """Of each row, ``(batch, rows)``; constants for the gradient."""
        hard = self.difficulty(student.detach(), teacher)
        return self.temperature + self.beta * (head.mean(hard) - hard)

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        tau = self.temperatures(student, teacher, head)
        log_q, log_p = log_softmaxes(student / tau[..., None], teacher / tau[..., None], 1.0)
        return kl_divergence(log_p, log_q) * tau.square()


@register_loss("flsw")
@dataclass(frozen=True)
class FLSW(_ExampleTemperature):
    """``soft_target`` with a temperature for each example: lower where the two models' logits point apart.

    ``T_i = T + beta (mean(w) - w_i)`` with ``w_i = (1 - cos(z_s, z_t))^gamma``, so that their mean is ``T``.
    Depends on which examples meet in a batch; one alone has ``T``. No gradient flows through the temperatures.

    Args:
        temperature: ``T``, their mean, dimensionless; above ``beta * 2^gamma``, so that none falls to 0.
        beta: > 0, how far they lie apart.
        gamma: > 0, how much the hardest examples stand out.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; returns ``()``, float32.
    Units: nats per example, times ``T_i^2``.
    Source: Wen et al. 2019, Preparing Lessons, arXiv:1911.07471 (focal loss style weights). Formula and defaults are
        those of TextBrewer and its examples, which leave out ``T_i^2``. Difficulties are averaged as the loss is, over
        each example's tokens first.
    Raises:
        RequestError: a setting not positive and finite; ``temperature`` too low for ``beta`` and ``gamma``; unequal
            logit shapes; one logit; a multi-label head.
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("gamma", self.gamma)

    def difficulty(self, student: Tensor, teacher: Tensor) -> Tensor:
        apart = 1 - F.cosine_similarity(student, teacher, dim=-1)
        return apart.clamp(min=0.0) ** self.gamma  # rounding can make it -1e-7, which has no power of 1.5

    def widest(self, classes: int) -> float:
        return float(2**self.gamma)


@register_loss("cwsm")
@dataclass(frozen=True)
class CWSM(_ExampleTemperature):
    """``soft_target`` with a temperature for each example: lower where the student is unsure.

    ``T_i = T + beta (mean(w) - w_i)`` with ``w_i = 1 / max softmax(z_s)``, so that their mean is ``T``. Depends on
    which examples meet in a batch; one alone has ``T``. No gradient flows through the temperatures.

    Args:
        temperature: ``T``, their mean, dimensionless; above ``beta * (classes - 1)``, so that none falls to 0.
        beta: > 0, how far they lie apart.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; returns ``()``, float32.
    Units: nats per example, times ``T_i^2``.
    Source: Wen et al. 2019, Preparing Lessons, arXiv:1911.07471 (confidence weighted by the student's maximum).
        Formula and defaults are those of TextBrewer and its examples, which leave out ``T_i^2`` and add 1e-3 to the
        maximum. Difficulties are averaged as the loss is, over each example's tokens first.
    Raises:
        RequestError: a setting not positive and finite; ``temperature`` too low for ``beta`` and the classes; unequal
            logit shapes; one logit; a multi-label head.
    """

    def difficulty(self, student: Tensor, teacher: Tensor) -> Tensor:
        return 1 / student.softmax(dim=-1).amax(dim=-1)  # in 1..classes

    def widest(self, classes: int) -> float:
        return float(classes - 1)
