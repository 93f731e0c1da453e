"""A discriminator that learns to tell the student's answers from the teacher's, whom the student learns to deceive."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from distilnlp.citation import Citation
from distilnlp.losses.base import Batch, register_loss
from distilnlp.losses.checks import check_count, check_same_shape, require_module, require_teacher
from distilnlp.losses.response.base import Head, ResponseLoss
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["Discriminator", "LogitDiscriminator"]


class Discriminator(nn.Module):
    """Two linear maps that give a logit for "this is the teacher's".

    Args:
        width: numbers that are judged.
        hidden: numbers in between, 1 or more.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, vectors: Tensor) -> Tensor:
        """``(...)``, of ``(..., width)``."""
        judged: Tensor = self.layers(vectors)[..., 0]
        return judged

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``BCE(D(t), 1) + BCE(D(s), 0)``, ``(...)``, of two ``(..., width)``: only the discriminator learns from it.

        ``2 ln 2`` where it cannot tell.
        """
        return F.softplus(-self(teacher.detach())) + F.softplus(self(student.detach()))

    def deceived(self, student: Tensor) -> Tensor:
        """``BCE(D(s), 1)``, ``(...)``: only the student learns from it. ``ln 2`` where it cannot tell."""
        fixed = {name: weight.detach() for name, weight in self.named_parameters()}
        return F.softplus(-functional_call(self, fixed, (student,)))

    def both(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The number is that of `deceived`; the gradients are those of `deceived` and `loss`, each for its own."""
        own = self.loss(student, teacher)
        return self.deceived(student) + (own - own.detach())


@register_loss("discriminator")
@dataclass(frozen=True)
class LogitDiscriminator(ResponseLoss):
    """``BCE(D(z_s), 1)``: the student's logits are to pass for the teacher's before a discriminator ``D``.

    ``D`` is the auxiliary module, two linear maps. It learns ``BCE(D(z_t), 1) + BCE(D(z_s), 0)`` in the same step and
    by the same optimizer, and neither gets a gradient of the other's. ``D`` sees logits and no text, so that answers
    need only look like the teacher's: give a loss that compares them text by text beside it.

    Args:
        hidden: numbers between the two maps of ``D``, 1 or more.
    Shapes:
        student.logits, teacher.logits: ``(batch, classes)``; returns ``()``, float32.
    Units: nats per example: ``ln 2`` where ``D`` cannot tell them apart, near 0 where it takes the student for the
        teacher. It is not 0 at equality.
    Raises:
        RequestError: ``hidden`` below 1; unequal logit shapes; a span or ranking head; no module.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Xu et al.",
            2018,
            "Training Shallow and Thin Networks for Acceleration via Knowledge Distillation with Conditional"
            " Adversarial Networks",
            "arXiv:1709.00513",
            differs="D does not see the labels and predicts none.",
        ),
        Citation(
            "Goodfellow et al.",
            2014,
            "Generative Adversarial Networks",
            "arXiv:1406.2661",
            where="section 3",
            differs="Both learn in one step.",
        ),
    )

    hidden: int = 64

    spans: ClassVar[bool] = False
    read_once: ClassVar[frozenset[str]] = frozenset({"hidden"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("hidden", self.hidden)

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return Discriminator(require_teacher(self.name, teacher).num_logits, self.hidden)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        head = Head(self.name, student, batch, self.spans, self.class_numbers, self.lists)
        z_s, z_t = head.rows(student), head.rows(teacher).detach()  # (batch, rows, classes)
        check_same_shape("logits", z_s, z_t)
        return head.mean(require_module(self.name, module, Discriminator).both(z_s, z_t))
