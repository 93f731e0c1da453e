"""Soft targets of standardised logits."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.losses.base import register_loss
from distilnlp.losses.response.base import ClassLoss, Head, kl_divergence, log_softmaxes

__all__ = ["LogitStandardization"]


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
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes; fewer than three classes; a
            multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Sun et al.",
            2024,
            "Logit Standardization in Knowledge Distillation",
            "arXiv:2403.01427",
            where="algorithm 1",
            differs=(
                "For the logits. The authors' code takes torch's ``std``, which divides by C - 1: ours at the "
                "temperature ``T * sqrt(C / (C - 1))``, its factor still ``T^2``. Its temperature of 2 goes with a "
                "weight of 9."
            ),
        ),
    )

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
