"""Regression of the student's logits onto the teacher's."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, register_loss
from distilnlp.losses.response.base import Head, ResponseLoss
from distilnlp.outputs import ModelInfo

__all__ = ["LogitMSE"]


@register_loss("logit_mse")
@dataclass(frozen=True)
class LogitMSE(ResponseLoss):
    """``mean((z_s - z_t)^2)``: regression of the student's logits onto the teacher's. The loss for one-logit heads.

    Args:
        center: subtract each example's mean logit first, so that a constant added to all logits changes nothing (as
            it changes no softmax). Not for one logit, which it would make 0. Of a ranking head, each query's mean.
    Shapes:
        student.logits, teacher.logits: ``(batch, outputs)``; of a ranking head ``(pairs, 1)``, with the batch's
            ``groups``: the mean over the texts of each query, then over the queries; returns ``()``, float32.
    Units: squared logits, mean over examples and outputs. Centred it is twice the limit of ``soft_target`` for
        ``T`` to infinity (that one divides by 2C).
    Raises:
        RequestError: unequal logit shapes; ``center`` with one logit.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Ba & Caruana",
            2014,
            "Do Deep Nets Really Need to be Deep?",
            "arXiv:1312.6184",
            differs="Without its factor 1/2.",
        ),
    )

    center: bool = False

    spans: ClassVar[bool] = False
    lists: ClassVar[bool] = True

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        super().resolve(student, teacher)
        if self.center and student.num_logits < 2 and student.problem.rows != "list":
            raise RequestError("logit_mse with center=True on one logit is always 0: set center=False")
        return self

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        difference = student - teacher  # (batch, rows, outputs)
        if head.groups is not None:
            squares, texts = head.list_moments(difference, self.center)
            return squares / texts
        if self.center:
            if difference.shape[-1] < 2:
                raise RequestError("logit_mse with center=True on one logit is always 0: set center=False")
            difference = difference - difference.mean(dim=-1, keepdim=True)
        return difference.square().mean(dim=-1)
