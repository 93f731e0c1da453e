"""The angle between the vectors that the two models give a text."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, register_loss
from distilnlp.losses.pooling import unit
from distilnlp.losses.response.base import Head, ResponseLoss
from distilnlp.outputs import ModelInfo

__all__ = ["Cosine"]


@register_loss("cosine")
@dataclass(frozen=True)
class Cosine(ResponseLoss):
    """``1 - cos(z_s, z_t)``. For sentence vectors, which are compared by their angle and not by their length.

    Of vectors of length 1 it is half their squared distance, and so ``width / 2`` times ``logit_mse``.

    Shapes:
        student.logits, teacher.logits: ``(batch, width)``; returns ``()``, float32.
    Units: dimensionless, 0 to 2, mean over examples; unchanged when a model's vectors are scaled. 1 for a vector of
        zeros, whose gradient is 0.
    Raises:
        RequestError: unequal logit shapes; vectors of one number, whose cosine is 1 or -1.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Sanh et al.",
            2019,
            "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter",
            "arXiv:1910.01108",
            where="section 3",
            differs="On the vector of a text in place of the hidden state of each token.",
        ),
    )

    spans: ClassVar[bool] = False

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        super().resolve(student, teacher)
        self._check(student.num_logits)
        return self

    def _check(self, width: int) -> None:
        if width < 2:
            raise RequestError(f"{self.name} on one logit has no angle to learn: use 'logit_mse'")

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        self._check(student.shape[-1])
        # Half the squared distance of unit vectors, which near 0 keeps the digits that 1 - s t loses.
        s, t = unit(student), unit(teacher)  # (batch, rows, width)
        lost = 2 - (s.square().sum(dim=-1) + t.square().sum(dim=-1)).detach()  # 1 or 2 for vectors of zeros, else 0
        return ((s - t).square().sum(dim=-1) + lost) / 2
