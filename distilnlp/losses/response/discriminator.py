"""A discriminator that learns to tell the student's answers from the teacher's."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import Batch, register_loss
from distilnlp.losses.checks import check_count, require_module, require_teacher
from distilnlp.losses.discriminator import Discriminator
from distilnlp.losses.response.base import ResponseLoss
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["LogitDiscriminator"]


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
        z_s, z_t, head = self.rows(student, teacher, batch)
        return head.mean(require_module(self.name, module, Discriminator).both(z_s, z_t))
