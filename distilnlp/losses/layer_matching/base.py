"""What losses without a fixed layer map share: the layers of both models, and the cost of each pair."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, example_mean
from distilnlp.losses.checks import check_same_tokens, require_teacher
from distilnlp.losses.layers import check_widths
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["AllLayersLoss", "costs", "squares"]


@dataclass(frozen=True)
class AllLayersLoss(Loss):
    """Hidden states of many layers of both models, compared without a layer map."""

    student_layers: Sequence[int] | None = None
    teacher_layers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for who, layers in (("student", self.student_layers), ("teacher", self.teacher_layers)):
            if layers is not None and (not layers or min(layers) < 0 or list(layers) != sorted(set(layers))):
                raise RequestError(
                    f"{who}_layers of {self.name} are numbers >= 0 in rising order, each once; got {list(layers)}"
                )

    def default_layers(self, layers: int, who: str) -> tuple[int, ...]:
        """The layers compared where the setting is None, of a ``who`` ("student" or "teacher") of ``layers``."""
        return tuple(range(1, layers + 1))

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> "AllLayersLoss":
        fixed = {}
        for who, info, layers in (
            ("student", student, self.student_layers),
            ("teacher", require_teacher(self.name, teacher), self.teacher_layers),
        ):
            fixed[who] = self.default_layers(info.layers, who) if layers is None else tuple(layers)
            if not fixed[who] or max(fixed[who]) > info.layers:
                raise RequestError(
                    f"{who}_layers of {self.name}: {info.name} has layers 0 to {info.layers}; got {list(fixed[who])}"
                )
        return dataclasses.replace(self, student_layers=fixed["student"], teacher_layers=fixed["teacher"])

    @property
    def layers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The student's layers and the teacher's. Raises RequestError while they depend on the two models."""
        if self.student_layers is None or self.teacher_layers is None:
            raise RequestError(
                f"the layers of {self.name} depend on the two models: give student_layers and teacher_layers, or "
                "call resolve(student_info, teacher_info) first"
            )
        return tuple(self.student_layers), tuple(self.teacher_layers)

    def needs_student(self) -> Needs:
        return Needs(hidden_states=frozenset(self.layers[0]))

    def needs_teacher(self) -> Needs:
        return Needs(hidden_states=frozenset(self.layers[1]))


def costs(loss: AllLayersLoss, student: Outputs, teacher: Outputs, module: nn.Module | None) -> Tensor:
    """``(student layers, teacher layers)``: mean squared error of each pair over real tokens, mean over examples.

    Args:
        loss: whose layers, and whose name is in a message.
        student: its outputs.
        teacher: its outputs; no gradient flows into them.
        module: maps a student's state to the teacher's width; None where they are equal.
    """
    rows = []
    for layer in loss.layers[0]:
        h_s = student.get_hidden_state(layer)  # (batch, tokens, student width)
        mapped = h_s if module is None else module(h_s)  # (batch, tokens, teacher width), once for all its pairs
        real = student.token_mask(h_s)
        distances = [squares(loss.name, mapped, teacher.get_hidden_state(other)) for other in loss.layers[1]]
        rows.append(torch.stack([example_mean(distance, real, student.weights) for distance in distances]))
    return torch.stack(rows)


def squares(name: str, student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the width of the squared difference, ``(batch, tokens)``."""
    check_widths(name, student, teacher)
    check_same_tokens(name, student.shape[:2], teacher.shape[:2])
    return (student - teacher.detach()).square().mean(dim=-1)
