"""Losses on logits: hard label, soft target, logit regression."""

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses.base import Batch, Loss, check_positive, register_loss
from distilnlp.losses.response import ClassLoss, Head, ResponseLoss, cross_entropy, kl_divergence, log_softmaxes
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["BernoulliSoftTarget", "HardLabel", "LogitMSE", "Response", "SoftTarget"]

logger = logging.getLogger(__name__)


@register_loss("hard_label")
@dataclass(frozen=True)
class HardLabel(Loss):
    """The task's own loss against the labels; no teacher.

    Cross-entropy for classes, mean squared error for one float target, binary cross-entropy (mean over the labels)
    for several labels at once. Which of the three follows from the labels themselves: integers are classes, floats
    ``(batch,)`` a target, floats ``(batch, labels)`` a multi-hot row.

    Shapes:
        student.logits: ``(batch, classes)``; labels: ``(batch,)`` or ``(batch, labels)``; of a span head
            ``(batch, tokens, 2)`` and ``(batch, 2)``, the positions of start and end; returns ``()``, float32.
    Units: nats per example (squared units of the target for regression).
    Source: the usual task losses; as in transformers' sequence classification heads, but that one integer label
        with one logit is an error here and not a regression.
    Raises:
        RequestError: no labels in the batch; a label outside the classes; one logit with class labels (its softmax
            is constant and trains nothing).
    """

    uses_labels: ClassVar[bool] = True
    uses_teacher: ClassVar[bool] = False

    def needs_teacher(self) -> Needs:
        return Needs()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        logits, head = student.get_logits(), Head(self.name, student, batch)
        labels = batch.get("labels")
        if labels is not None and labels.is_floating_point() and not student.span:
            if labels.shape == logits.shape and labels.ndim == 2:
                return (
                    F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
                    .mean(-1)
                    .mean()
                )
            if logits.shape[-1] != 1:
                raise RequestError(f"a float target needs one logit; the student has {logits.shape[-1]}")
            return F.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).reshape(-1))
        if labels is not None and logits.shape[-1] < 2:
            raise RequestError(
                "class labels need at least two logits; the student has one, whose softmax is constant: "
                "set num_labels, or give float labels for a regression"
            )
        rows = head.rows(student)  # (batch, rows, classes)
        return head.mean(cross_entropy(rows, head.labels(rows.shape[-1])))


@register_loss("soft_target")
@dataclass(frozen=True)
class SoftTarget(ClassLoss):
    """``T^2 * KL(softmax(z_t / T) || softmax(z_s / T))``, summed over classes, averaged over examples.

    Args:
        temperature: ``T`` > 0, dimensionless; ``T^2`` keeps the gradient's size steady as it grows.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)``, any float dtype; returns ``()``, float32.
    Units: nats per example, times ``T^2``.
    Source: Hinton et al. 2015, arXiv:1503.02531, section 2 (which takes T = 20 to 1; 2 is DistilBERT's).
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes; one logit only (both softmaxes
            are then constant and nothing trains: use ``logit_mse``); a multi-label head (use
            ``bernoulli_soft_target``).
    """

    temperature: float = 2.0

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
    Source: Hinton et al. 2015, arXiv:1503.02531, section 2, with the softmax replaced by one sigmoid a label.
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes; a head of another kind.
    """

    temperature: float = 2.0

    spans: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        super().resolve(student, teacher)
        if student.problem_type != "multi_label_classification":
            other = "logit_mse" if student.problem_type == "regression" else "soft_target"
            raise RequestError(
                f"bernoulli_soft_target is for multi-label heads and this one is {student.problem_type}: use '{other}'"
            )
        return self

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        z_s, z_t = student / self.temperature, teacher / self.temperature  # (batch, rows, labels)
        p = torch.sigmoid(z_t)
        # log p/q = logsigmoid(z_t) - logsigmoid(z_s), and the same of the complements: finite at any logit.
        yes = p * (F.logsigmoid(z_t) - F.logsigmoid(z_s))
        no = (1 - p) * (F.logsigmoid(-z_t) - F.logsigmoid(-z_s))
        return (yes + no).sum(dim=-1) * self.temperature**2


@register_loss("logit_mse")
@dataclass(frozen=True)
class LogitMSE(ResponseLoss):
    """``mean((z_s - z_t)^2)``: regression of the student's logits onto the teacher's. The loss for one-logit heads.

    Args:
        center: subtract each example's mean logit first, so that a constant added to all logits changes nothing (as
            it changes no softmax). Not for one logit, which it would make 0.
    Shapes:
        student.logits, teacher.logits: ``(batch, outputs)``; returns ``()``, float32.
    Units: squared logits, mean over examples and outputs. Centred it is twice the limit of ``soft_target`` for
        ``T`` to infinity (that one divides by 2C).
    Source: Ba & Caruana 2014, arXiv:1312.6184 (regression on logits, without its factor 1/2).
    Raises:
        RequestError: unequal logit shapes; ``center`` with one logit.
    """

    center: bool = False

    spans: ClassVar[bool] = False

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        super().resolve(student, teacher)
        if self.center and student.outputs < 2:
            raise RequestError("logit_mse with center=True on one logit is always 0: set center=False")
        return self

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        difference = student - teacher  # (batch, rows, outputs)
        if self.center:
            if difference.shape[-1] < 2:
                raise RequestError("logit_mse with center=True on one logit is always 0: set center=False")
            difference = difference - difference.mean(dim=-1, keepdim=True)
        return difference.square().mean(dim=-1)


@register_loss("response")
@dataclass(frozen=True)
class Response(ResponseLoss):
    """The loss between logits that fits the head, so that one recipe serves every task.

    ``soft_target`` for exclusive classes, ``bernoulli_soft_target`` for several labels, ``logit_mse`` for a number. It
    becomes that loss when it is resolved, before the first step, and is logged under its name.

    Args:
        temperature: of the soft targets, > 0; None is their own default, 2. One number has none.
    Shapes:
        student.logits, teacher.logits: ``(batch, outputs)``; returns ``()``, float32. Unresolved, it takes one logit
            for a number and more for exclusive classes.
    Units: those of the loss that it becomes.
    Source: Hinton et al. 2015, arXiv:1503.02531, section 2; Ba & Caruana 2014, arXiv:1312.6184.
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes. A temperature for one number is
            named in a warning and not used.
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.temperature is not None:
            check_positive("temperature", self.temperature)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        return self._fitting(student.problem_type).resolve(student, teacher)

    def _fitting(self, problem_type: str) -> Loss:
        if problem_type == "regression":
            if self.temperature is not None:
                logger.warning("response: temperature=%g is not used: one number has none", self.temperature)
            return LogitMSE()
        kind = BernoulliSoftTarget if problem_type == "multi_label_classification" else SoftTarget
        return kind() if self.temperature is None else kind(self.temperature)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        number = student.logits is not None and student.logits.shape[-1] == 1
        return self._fitting("regression" if number else "single_label_classification")(student, teacher, batch)
