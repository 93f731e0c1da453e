"""The loss between logits that fits the problem."""

import dataclasses
import logging
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import Batch, Loss, get_loss, loss_class, register_loss
from distilnlp.losses.checks import check_positive
from distilnlp.losses.response.base import ResponseLoss
from distilnlp.outputs import ModelInfo, Outputs
from distilnlp.problems import Problem, problem_of_head

__all__ = ["Response"]

logger = logging.getLogger(__name__)


@register_loss("response")
@dataclass(frozen=True)
class Response(ResponseLoss):
    """The loss between logits that fits the head, so that one recipe serves every task.

    ``soft_target`` for exclusive classes, ``bernoulli_soft_target`` for several labels, ``logit_mse`` for a number:
    the loss that the problem names (`Problem.response_loss`). It becomes that loss when it is resolved, before the
    first step, and is logged under its name.

    Args:
        temperature: of the soft targets, > 0; None is their own default, 2. One number has none.
    Shapes:
        student.logits, teacher.logits: ``(batch, outputs)``; returns ``()``, float32. Unresolved, it takes the
            problem of the student's outputs; where they name none, one logit is a number and more are classes.
    Units: those of the loss that it becomes.
    Raises:
        RequestError: ``temperature`` not positive and finite; unequal logit shapes. A temperature for one number is
            named in a warning and not used.
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
            "Ba & Caruana",
            2014,
            "Do Deep Nets Really Need to be Deep?",
            "arXiv:1312.6184",
        ),
    )

    temperature: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature is not None:
            check_positive("temperature", self.temperature)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        return self._fitting(student.problem).resolve(student, teacher)

    def _fitting(self, problem: Problem) -> Loss:
        name = problem.response_loss
        if self.temperature is None:
            return get_loss(name, class_weights=self.class_weights)
        if any(field.name == "temperature" for field in dataclasses.fields(loss_class(name))):
            return get_loss(name, temperature=self.temperature, class_weights=self.class_weights)
        logger.warning("response: temperature=%g is not used: %s has none", self.temperature, name)
        return get_loss(name, class_weights=self.class_weights)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        problem = student.problem or problem_of_head(student.get_logits().shape[-1])
        return self._fitting(problem)(student, teacher, batch)
