"""What a born-again network learns of its teacher: how sure it is of each example, or its answer in disorder."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.losses.base import Loss, register_loss
from distilnlp.losses.response.base import (
    ClassLoss,
    Head,
    ResponseLoss,
    check_exclusive,
    cross_entropy,
    kl_divergence,
    log_softmaxes,
)
from distilnlp.outputs import ModelInfo

__all__ = ["CWTM", "DKPP", "permuted"]

_PRIME = 2**31 - 1


@register_loss("cwtm")
@dataclass(frozen=True)
class CWTM(ResponseLoss):
    """Cross-entropy with the labels, each example weighted by how sure the teacher is of its own answer.

    ``sum_i w_i CE_i`` with ``w_i = max p_t,i / sum_j max p_t,j`` over the batch: of the teacher's answer nothing is
    left but its largest probability. Depends on which examples meet in a batch; one alone has the weight 1.

    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; labels: ``(batch,)`` or
            ``(batch, tokens)``; returns ``()``, float32.
    Units: nats per example.
    Raises:
        RequestError: no labels, or not one class each; unequal logit shapes; one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Furlanello et al.",
            2018,
            "Born-Again Neural Networks",
            "arXiv:1805.04770",
            where="section 3.2",
            differs="Of tokens the weights are averaged over each text first.",
        ),
    )

    uses_labels: ClassVar[bool] = True
    batch_dependent: ClassVar[bool] = True
    spans: ClassVar[bool] = False

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        resolved = super().resolve(student, teacher)
        check_exclusive(self.name, student)
        return resolved

    def combine(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        labels = head.labels(student.shape[-1])  # (batch, rows), which first says which rows count
        sure = teacher.softmax(dim=-1).amax(dim=-1)  # (batch, rows)
        middle = head.average(sure)
        return head.mean(sure / middle.where(middle > 0, 1.0) * cross_entropy(student, labels))  # 0: nothing counts


@register_loss("dkpp")
@dataclass(frozen=True)
class DKPP(ClassLoss):
    """``soft_target`` with the teacher's probabilities in disorder: all but the largest change their places.

    What the other classes are to each other is gone, and how sure the teacher is stays: the control for what is
    learned from the likeness of classes. An example always has the same order, which its answer decides.

    Args:
        temperature: ``T`` > 0, dimensionless; the loss is multiplied by ``T^2``.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; returns ``()``, float32.
    Units: nats per example, times ``T^2``.
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes; fewer than three classes; a
            multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Furlanello et al.",
            2018,
            "Born-Again Neural Networks",
            "arXiv:1805.04770",
            where="section 3.2",
            differs="The divergence, where the paper has the cross-entropy.",
        ),
    )

    spans: ClassVar[bool] = False
    fewest_classes: ClassVar[int] = 3
    why_fewest: ClassVar[str] = "of two there is only one other to put in disorder: use 'soft_target'"

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        log_q, log_p = log_softmaxes(student, permuted(teacher), self.temperature)  # (batch, rows, classes)
        return kl_divergence(log_p, log_q) * self.temperature**2


def permuted(logits: Tensor) -> Tensor:
    """Logits ``(..., classes)`` in another order: the largest stays, the others change places as if by chance.

    The order follows from the logits, rounded to 1/16, so that a teacher that is asked again gives the same one.
    """
    classes = torch.arange(1, logits.shape[-1] + 1, device=logits.device)
    factors = (classes * 1_103_515_245) % _PRIME
    rounded = (logits - logits.amax(dim=-1, keepdim=True)).clamp(min=-1e4).mul(16).round().long()
    seeds = (rounded % _PRIME * (factors % 65_521) % _PRIME).sum(dim=-1, keepdim=True) % _PRIME  # (..., 1)
    keys = (seeds * factors % _PRIME * 48_271 + factors) % _PRIME  # (..., classes), below 2^31
    places = logits.argsort(dim=-1, descending=True, stable=True)
    keys = keys.scatter(-1, places[..., :1], -1)  # the largest is the first of both orders
    return torch.empty_like(logits).scatter(-1, keys.argsort(dim=-1), logits.gather(-1, places))
