"""Decoupled knowledge distillation: the target class and the other classes in two terms."""

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, register_loss
from distilnlp.losses.checks import check_weights
from distilnlp.losses.response.base import EXCLUDED, ClassLoss, Head, kl_divergence
from distilnlp.outputs import ModelInfo

__all__ = ["DKD"]

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
    Raises:
        RequestError: no labels, or not one class each; ``temperature`` not positive and finite; ``alpha`` or ``beta``
            negative or both 0; unequal logit shapes; one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Zhao et al.",
            2022,
            "Decoupled Knowledge Distillation",
            "arXiv:2203.08679",
            differs=(
                "With the defaults of the authors' code (ImageNet has temperature 1), without its warm-up of the "
                "weight."
            ),
        ),
    )

    temperature: float = 4.0
    alpha: float = 1.0
    beta: float = 8.0

    uses_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, ("alpha", "beta"))

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        resolved = super().resolve(student, teacher)
        if student.num_logits == 2:
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
