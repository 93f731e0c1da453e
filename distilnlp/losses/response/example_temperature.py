"""Soft targets with a temperature for each example."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import register_loss
from distilnlp.losses.checks import check_positive
from distilnlp.losses.response.base import ClassLoss, Head, kl_divergence, log_softmaxes

__all__ = ["CWSM", "FLSW"]


@dataclass(frozen=True)
class _ExampleTemperature(ClassLoss):
    """Base of soft targets with a temperature for each example: lower where the example is harder."""

    temperature: float = 8.0
    beta: float = 1.0

    batch_dependent: ClassVar[bool] = True

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
        return self.temperature + self.beta * (head.average(hard) - hard)

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
    Raises:
        RequestError: a setting not positive and finite; ``temperature`` too low for ``beta`` and ``gamma``; unequal
            logit shapes; one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Wen et al.",
            2019,
            "Preparing Lessons: Improve Knowledge Distillation with Better Supervision",
            "arXiv:1911.07471",
            differs=(
                "Focal loss style weights. Formula and defaults are those of TextBrewer and its examples, which leave "
                "out ``T_i^2``. Difficulties are averaged as the loss is, over each example's tokens first."
            ),
        ),
    )

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
    Raises:
        RequestError: a setting not positive and finite; ``temperature`` too low for ``beta`` and the classes; unequal
            logit shapes; one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Wen et al.",
            2019,
            "Preparing Lessons: Improve Knowledge Distillation with Better Supervision",
            "arXiv:1911.07471",
            differs=(
                "Confidence weighted by the student's maximum. Formula and defaults are those of TextBrewer and its "
                "examples, which leave out ``T_i^2`` and add 1e-3 to the maximum. Difficulties are averaged as the "
                "loss is, over each example's tokens first."
            ),
        ),
    )

    def difficulty(self, student: Tensor, teacher: Tensor) -> Tensor:
        return 1 / student.softmax(dim=-1).amax(dim=-1)  # in 1..classes

    def widest(self, classes: int) -> float:
        return float(classes - 1)
