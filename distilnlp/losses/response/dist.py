"""DIST: correlations of the answers between and within the classes."""

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, register_loss
from distilnlp.losses.checks import check_weights
from distilnlp.losses.response.base import ClassLoss, Head
from distilnlp.outputs import ModelInfo

__all__ = ["DIST"]

logger = logging.getLogger(__name__)


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
    Raises:
        RequestError: ``temperature`` not positive and finite; ``beta`` or ``gamma`` negative or both 0; unequal logit
            shapes; one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Huang et al.",
            2022,
            "Knowledge Distillation from A Stronger Teacher",
            "arXiv:2205.10536",
            where="equations 8 to 10",
            differs=(
                "The defaults are those of the authors' code; for classes the paper gives both parts a weight of 2 "
                "beside 1 for the labels, with temperature 1 (ImageNet) or 4 (CIFAR-100)."
            ),
        ),
    )

    temperature: float = 1.0
    beta: float = 1.0
    gamma: float = 1.0

    batch_dependent: ClassVar[bool] = True
    spans: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, ("beta", "gamma"))

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        resolved = super().resolve(student, teacher)
        if student.num_logits == 2:
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
            weights = head.row_weights(student[..., 0])
            apart = (
                1 - _correlation(q, p, dim=0, weights=None if weights is None else weights.flatten()[:, None])
            ).mean()
            # A batch counts as much as its examples do.
            share = 1.0 if head.weights is None else head.mean(torch.ones_like(student[..., 0]))
            value = value + self.gamma * share * apart
        return value * self.temperature**2


def _correlation(student: Tensor, teacher: Tensor, dim: int, weights: Tensor | None = None) -> Tensor:
    """Pearson's correlation along an axis, of numbers that count as often as their weights (broadcast to both) say."""
    centred = []
    for values in (student, teacher):
        if weights is None:
            centred.append(values - values.mean(dim=dim, keepdim=True))
        else:
            kept = values.where(weights > 0, values.new_zeros(()))
            whole = weights.sum(dim=dim, keepdim=True)
            mean = (weights * kept).sum(dim=dim, keepdim=True) / whole.where(whole > 0, 1.0)
            centred.append((kept - mean) * weights.sqrt())
    # the gradient of normalize is finite at 0, which that of a square root is not
    q, p = (F.normalize(values, dim=dim, eps=1e-8) for values in centred)
    return (q * p).sum(dim=dim)
