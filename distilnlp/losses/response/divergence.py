"""Other distances between two softmaxes than Hinton's: cross-entropy, reverse KL, Jensen-Shannon, variation."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.errors import RequestError, unknown
from distilnlp.losses.base import register_loss
from distilnlp.losses.response.base import ClassLoss, Head, kl_divergence, log_softmaxes

__all__ = ["Divergence", "SoftCrossEntropy"]

Kind = Literal["reverse_kl", "jsd", "tvd", "jeffreys"]


@register_loss("soft_cross_entropy")
@dataclass(frozen=True)
class SoftCrossEntropy(ClassLoss):
    """``-sum_c p_t log p_s`` at temperature ``T``: the teacher's softmax as the label, averaged over examples.

    The gradient is that of ``soft_target`` divided by ``T^2``. At equality it is not 0 but the teacher's entropy,
    below which it cannot fall: the same model logged as ``soft_target`` shows how far there is to go.

    Args:
        temperature: ``T`` > 0, dimensionless; there is no factor ``T^2``, so a large one needs a larger weight.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; returns ``()``, float32.
    Units: nats per example, sum over classes.
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes; one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Hinton et al.",
            2015,
            "Distilling the Knowledge in a Neural Network",
            "arXiv:1503.02531",
            where="section 2",
        ),
        Citation(
            "Jiao et al.",
            2020,
            "TinyBERT: Distilling BERT for Natural Language Understanding",
            "arXiv:1909.10351",
            where="equation 10",
            differs="Their code divides by the number of classes too; ours does not.",
        ),
    )

    temperature: float = 1.0

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        log_q, log_p = log_softmaxes(student, teacher, self.temperature)  # (batch, rows, classes)
        return -(log_p.exp() * log_q).sum(dim=-1)


@register_loss("divergence")
@dataclass(frozen=True)
class Divergence(ClassLoss):
    """Another divergence of the student's softmax q from the teacher's p, at temperature ``T``.

    - ``reverse_kl``: ``KL(q || p)``; the student may leave out classes that the teacher finds possible.
    - ``jsd``: ``b KL(p || m) + (1 - b) KL(q || m)`` with ``m = b p + (1 - b) q``; for ``b`` = 1/2 the Jensen-Shannon
      divergence, symmetric and at most ln 2.
    - ``tvd``: ``1/2 sum_c |p - q|``, symmetric and in 0..1; its gradient does not fade near equality.
    - ``jeffreys``: ``KL(p || q) + KL(q || p)``, symmetric.

    Times ``T^2``, which keeps the size of the gradient steady as ``T`` grows; for ``tvd``, whose gradient falls as
    ``1 / T``, times ``T``.

    Args:
        temperature: ``T`` > 0, dimensionless.
        kind: ``reverse_kl``, ``jsd``, ``tvd`` or ``jeffreys``.
        beta: ``b`` of ``jsd``, in 0..1 without the ends; the generalised divergence where it is not 1/2.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)`` or ``(batch, tokens, classes)``; returns ``()``, float32.
    Units: nats per example (``tvd``: a probability), times ``T^2`` (``tvd``: ``T``).
    Raises:
        RequestError: an unknown ``kind``; ``beta`` outside its range, or given for a kind that has none;
            ``temperature`` not positive and finite; unequal logit shapes; one logit; a multi-label head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation("Lin", 1991, "Divergence Measures Based on the Shannon Entropy", "doi:10.1109/18.61115"),
        Citation(
            "Agarwal et al.",
            2024,
            "On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes",
            "arXiv:2306.13649",
            where="equation 1",
            differs=(
                "The generalised and the reversed divergence, for distillation; theirs have no factor of the "
                "temperature."
            ),
        ),
    )

    kind: Kind = "jsd"
    beta: float = 0.5

    lists: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in get_args(Kind):
            raise unknown("kind", self.kind, get_args(Kind))
        if isinstance(self.beta, bool) or not isinstance(self.beta, int | float) or not 0 < self.beta < 1:
            raise RequestError(f"beta must lie between 0 and 1, without them; got {self.beta!r}")
        if self.kind != "jsd" and self.beta != 0.5:
            raise RequestError(f"beta mixes the two distributions of kind 'jsd'; kind '{self.kind}' has no beta")

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        log_q, log_p = log_softmaxes(student, teacher, self.temperature)  # (batch, rows, classes)
        if self.kind == "tvd":
            return (log_p.exp() - log_q.exp()).abs().sum(dim=-1) * (self.temperature / 2)
        if self.kind == "jsd":
            log_m = torch.logaddexp(log_p + math.log(self.beta), log_q + math.log(1 - self.beta))
            value = self.beta * kl_divergence(log_p, log_m) + (1 - self.beta) * kl_divergence(log_q, log_m)
        else:
            value = kl_divergence(log_q, log_p)
            if self.kind == "jeffreys":
                value = value + kl_divergence(log_p, log_q)
        return value * self.temperature**2
