"""A network that learns to tell the student from the teacher, and whom the student learns to deceive."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["Discriminator"]


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
