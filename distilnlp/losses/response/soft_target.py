"""Soft targets: the divergence between two softened answers, for classes and for several labels at once."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, register_loss
from distilnlp.losses.checks import check_positive
from distilnlp.losses.response.base import ClassLoss, Head, ResponseLoss, kl_divergence, log_softmaxes
from distilnlp.outputs import ModelInfo

__all__ = ["BernoulliSoftTarget", "SoftTarget"]


@register_loss("soft_target")
@dataclass(frozen=True)
class SoftTarget(ClassLoss):
    """``T^2 * KL(softmax(z_t / T) || softmax(z_s / T))``, summed over classes, averaged over examples.

    Args:
        temperature: ``T`` > 0, dimensionless; ``T^2`` keeps the gradient's size steady as it grows.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)``, any float dtype; of a ranking head ``(pairs, 1)``, with
            the batch's ``groups``: the classes are then the texts of a query; returns ``()``, float32.
    Units: nats per example, times ``T^2``.
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes; one logit only (both softmaxes
            are then constant and nothing trains: use ``logit_mse``); a multi-label head (use
            ``bernoulli_soft_target``).
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Hinton et al.",
            2015,
            "Distilling the Knowledge in a Neural Network",
            "arXiv:1503.02531",
            where="section 2",
            differs="The paper takes T = 20 to 1; 2 is DistilBERT's.",
        ),
    )

    temperature: float = 2.0

    lists: ClassVar[bool] = True

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        log_q, log_p = log_softmaxes(student, teacher, self.temperature)  # (batch, rows, classes)
        return kl_divergence(log_p, log_q) * self.temperature**2


@register_loss("bernoulli_soft_target")
@dataclass(frozen=True)
class BernoulliSoftTarget(ResponseLoss):
    """``T^2 * sum_c KL(Bernoulli(sigmoid(z_t / T)) || Bernoulli(sigmoid(z_s / T)))``, averaged over examples.

    The soft target of a multi-label head, where every label is a yes or no of its own.

    Args:
        temperature: ``T`` > 0, dimensionless.
    Shapes:
        student.logits, teacher.logits: ``(batch, labels)``; returns ``()``, float32.
    Units: nats per example (sum over labels), times ``T^2``.
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes; a head of another kind.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Hinton et al.",
            2015,
            "Distilling the Knowledge in a Neural Network",
            "arXiv:1503.02531",
            where="section 2",
            differs="The softmax is replaced by one sigmoid a label.",
        ),
    )

    temperature: float = 2.0

    spans: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        super().resolve(student, teacher)
        if student.problem.response_loss != self.name:
            raise RequestError(
                f"{self.name} is for multi-label heads and this one is {student.problem.name}: use "
                f"'{student.problem.response_loss}'"
            )
        return self

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        z_s, z_t = student / self.temperature, teacher / self.temperature  # (batch, rows, labels)
        p = torch.sigmoid(z_t)
        # log p/q = logsigmoid(z_t) - logsigmoid(z_s), and the same of the complements: finite at any logit.
        yes = p * (F.logsigmoid(z_t) - F.logsigmoid(z_s))
        no = (1 - p) * (F.logsigmoid(-z_t) - F.logsigmoid(-z_s))
        return (yes + no).sum(dim=-1) * self.temperature**2
