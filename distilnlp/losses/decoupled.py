"""Soft targets taken apart: the target class and the others (DKD), relations between and within classes (DIST)."""

import logging
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, register_loss
from distilnlp.losses.response import EXCLUDED, ClassLoss, Head, kl_divergence, log_softmaxes
from distilnlp.outputs import ModelInfo

__all__ = ["DIST", "DKD", "LogitStandardization"]

logger = logging.getLogger(__name__)


@register_loss("dkd")
@dataclass(frozen=True)
class DKD(ClassLoss):
    """``T^2 * (alpha * TCKD + beta * NCKD)``: how sure the label is, and how the other classes share the rest.

    TCKD is the KL between ``(p_y, 1 - p_y)`` of teacher and student, NCKD the KL between their softmaxes over the
    classes other than the label y. Hinton's KL is TCKD + (1 - p_y) NCKD: the surer the teacher, the less of NCKD is
    left in it; here its weight is free. With two classes NCKD is 0, and there is a warning.

    Args:
        temperature: ``T`` > 0, dimensionless.
        alpha: weight of TCKD; >= 0.
        beta: weight of NCKD; >= 0. The authors' settings have 0.5 to 8, more for surer teachers.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; labels: ``(batch,)`` or
            ``(batch, tokens)``; returns ``()``, float32.
    Units: nats per example, times ``T^2``.
    Source: Zhao et al. 2022 (DKD), arXiv:2203.08679, with the defaults of the authors' code (ImageNet has temperature
        1). Without the warm-up of the weight in their code.
    Raises:
        RequestError: no labels, or not one class each; ``temperature`` not positive and finite; ``alpha`` or ``beta``
            negative or both 0; unequal logit shapes; one logit; a multi-label head.
    """

    temperature: float = 4.0
    alpha: float = 1.0
    beta: float = 8.0

    uses_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weights(self.name, alpha=self.alpha, beta=self.beta)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        resolved = super().resolve(student, teacher)
        if student.outputs == 2:
            if self.alpha == 0:
                raise RequestError("dkd with alpha=0 on two classes is always 0: set alpha=1.0, or use 'soft_target'")
            logger.warning(
                "dkd on two classes has nothing but the label to decouple: it is soft_target times alpha (%g), and "
                "beta does nothing; use 'soft_target'",
                self.alpha,
            )
        return resolved

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        labels = head.labels(student.shape[-1])[..., None]  # (batch, rows, 1)
        is_label = torch.zeros_like(student, dtype=torch.bool).scatter(-1, labels, True)  # (batch, rows, classes)
        target, others = [], []
        for logits in (teacher / self.temperature, student / self.temperature):
            without = logits.masked_fill(is_label, EXCLUDED)  # (batch, rows, classes)
            # log p_y and log (1 - p_y), the latter not from the former: it would be log 0 where p_y is rounded to 1
            two = torch.stack([logits.gather(-1, labels)[..., 0], without.logsumexp(dim=-1)], dim=-1)
            target.append(two.log_softmax(dim=-1))  # (batch, rows, 2)
            others.append(without.log_softmax(dim=-1))
        tckd, nckd = kl_divergence(*target), kl_divergence(*others)  # (batch, rows)
        return (self.alpha * tckd + self.beta * nckd) * self.temperature**2


@register_loss("dist")
@dataclass(frozen=True)
class DIST(ClassLoss):
    """``T^2 * (beta * (1 - mean_i rho_i) + gamma * (1 - mean_c rho_c))``: Pearson correlations instead of KL.

    ``rho_i`` correlates the two models' probabilities of one example over the classes, ``rho_c`` those of one class
    over the examples of the batch. Only what correlates has to agree: a positive linear map of a row or a column of
    probabilities changes nothing.

    The second part is a relation over the batch: a batch cut into smaller ones gives another value, and each has to
    hold three rows or more (with two its gradient is 0, with one it is left out). With two classes the first part is
    +1 or -1 and has no gradient, and there is a warning. A row or a column without variance correlates with nothing.

    Args:
        temperature: ``T`` > 0, dimensionless.
        beta: weight of the part between classes; >= 0.
        gamma: weight of the part within classes; >= 0.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``, of which all tokens of
            the batch that count are the rows of the second part; returns ``()``, float32.
    Units: dimensionless, in 0..2 (beta + gamma) T^2.
    Source: Huang et al. 2022 (DIST), arXiv:2205.10536, equations 8 to 10. The defaults are those of the authors' code;
        for classes the paper gives both parts a weight of 2 beside 1 for the labels, with temperature 1 (ImageNet) or
        4 (CIFAR-100).
    Raises:
        RequestError: ``temperature`` not positive and finite; ``beta`` or ``gamma`` negative or both 0; unequal logit
            shapes; one logit; a multi-label head.
    """

    temperature: float = 1.0
    beta: float = 1.0
    gamma: float = 1.0

    over_batch: ClassVar[bool] = True
    spans: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weights(self.name, beta=self.beta, gamma=self.gamma)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        resolved = super().resolve(student, teacher)
        if student.outputs == 2:
            if self.gamma == 0:
                raise RequestError(
                    "dist with gamma=0 on two classes has no gradient: set gamma=1.0, or use 'soft_target'"
                )
            if self.beta != 0:
                logger.warning(
                    "dist on two classes: the correlation of two numbers is 1 or -1, so the part between classes "
                    "(beta) has no gradient and only that within classes (gamma) trains; use 'soft_target'"
                )
        return resolved

    def combine(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        q, p = ((logits / self.temperature).softmax(dim=-1) for logits in (student, teacher))
        value = self.beta * head.mean(1 - _correlation(q, p, dim=-1))
        if student.shape[:2].numel() > 1:
            q, p = q.flatten(0, 1), p.flatten(0, 1)  # (batch * rows, classes)
            mask = None if head.mask is None else head.mask.flatten()[:, None]
            value = value + self.gamma * (1 - _correlation(q, p, dim=0, mask=mask)).mean()
        return value * self.temperature**2


@register_loss("logit_standardization")
@dataclass(frozen=True)
class LogitStandardization(ClassLoss):
    """``soft_target`` of standardised logits: ``(z - mean(z)) / std(z)`` over the classes of each example.

    The student need not reach the size of the teacher's logits, only their shape. The standard deviation is that of
    the classes at hand (their squares divided by C). Of two logits the standardised values are +1 and -1 whatever they
    are, so at least three classes are needed.

    Args:
        temperature: ``T`` > 0, dimensionless.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; returns ``()``, float32.
    Units: nats per example, times ``T^2``.
    Source: Sun et al. 2024, Logit Standardization in Knowledge Distillation, arXiv:2403.01427, algorithm 1
        for the logits. The authors' code takes torch's ``std``, which divides by C - 1: ours at the temperature
        ``T * sqrt(C / (C - 1))``, its factor still ``T^2``. Its temperature of 2 goes with a weight of 9.
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes; fewer than three classes; a
            multi-label head.
    """

    temperature: float = 2.0

    spans: ClassVar[bool] = False
    fewest_classes: ClassVar[int] = 3
    why_fewest: ClassVar[str] = "standardised, two logits are +1 and -1 whatever they are: use 'soft_target'"

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        log_q, log_p = log_softmaxes(_standardised(student), _standardised(teacher), self.temperature)
        return kl_divergence(log_p, log_q) * self.temperature**2


def _standardised(logits: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the last axis; 0 where all are equal."""
    return F.normalize(logits - logits.mean(dim=-1, keepdim=True), dim=-1, eps=1e-7) * math.sqrt(logits.shape[-1])


def _correlation(student: Tensor, teacher: Tensor, dim: int, mask: Tensor | None = None) -> Tensor:
    """Pearson's correlation along an axis, over what the mask (broadcast to both) lets count."""
    centred = []
    for values in (student, teacher):
        if mask is None:
            centred.append(values - values.mean(dim=dim, keepdim=True))
        else:
            kept = values.where(mask, values.new_zeros(()))
            mean = kept.sum(dim=dim, keepdim=True) / mask.sum(dim=dim, keepdim=True)
            centred.append((kept - mean).where(mask, values.new_zeros(())))
    # the gradient of normalize is finite at 0, which that of a square root is not
    q, p = (F.normalize(values, dim=dim, eps=1e-8) for values in centred)
    return (q * p).sum(dim=dim)


def _check_weights(name: str, **weights: float) -> None:
    for key, value in weights.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise RequestError(f"{key} must be at least 0 and finite; got {value!r}")
    if not any(weights.values()):
        raise RequestError(f"{name} with {' and '.join(f'{key}=0' for key in weights)} is always 0: set one of them")
