"""Universal logit distillation: two distributions over vocabularies that have nothing to do with one another."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Batch, Loss, register_loss
from distilnlp.losses.checks import check_positive, require_teacher
from distilnlp.losses.response.base import Head, ResponseLoss, check_exclusive, check_lists, check_spans
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["ULD"]


@register_loss("uld")
@dataclass(frozen=True)
class ULD(ResponseLoss):
    """``sum_i |p_s(i) - p_t(i)|``, ``p(i)``: the i-th largest probability, 0 beyond the smaller vocabulary.

    It compares how sure the two are and how many other words they think of, not of which words: for heads over a
    vocabulary whose numbers, and how many there are, need not agree. It is the Wasserstein distance of the two
    distributions where moving a probability from any word to any other costs the same.

    Args:
        temperature: divides the logits of both, > 0, dimensionless.
    Shapes:
        student.logits: ``(batch, tokens, words)``, teacher.logits: ``(batch, tokens, other words)``, or a row a text
        each; returns ``()``, float32.
    Units: dimensionless, 0 to 2; mean over the rows that count of an example, then over the examples.
    Raises:
        RequestError: ``temperature`` not positive and finite; classes with names, which means that it matters which
            is which; one class; a span or ranking head; unequal numbers of rows.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Boizard et al.",
            2024,
            "Towards Cross-Tokenizer Distillation: the Universal Logit Distillation Loss for LLMs",
            "arXiv:2402.12030",
            where="section 3",
            differs="With a temperature; the mean over the rows of each example. They add it to the cross-entropy.",
        ),
    )

    temperature: float = 1.0

    spans: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        teacher = require_teacher(self.name, teacher)
        check_lists(self.name, student.problem, self.lists)
        check_spans(self.name, student.problem, self.spans)
        check_exclusive(self.name, student)
        if student.problem.named_labels:
            raise RequestError(
                f"{self.name} does not look at which class is which, and those of {student.problem.name} have names:"
                f" use '{student.problem.response_loss}'"
            )
        return self

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        head = Head(self.name, student, batch, self.spans, self.class_numbers, self.lists)
        z_s, z_t = head.rows(student), head.rows(teacher).detach()  # (batch, rows, words), each its own
        if z_s.shape[:-1] != z_t.shape[:-1]:
            raise RequestError(
                f"{self.name} compares row by row: the student has {tuple(z_s.shape[:-1])} (batch, rows) and the"
                f" teacher {tuple(z_t.shape[:-1])}; both must answer for the same tokens"
            )
        return self.combine(z_s, z_t, head)

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        words = max(student.shape[-1], teacher.shape[-1])
        p_s, p_t = (self._sorted(logits, words) for logits in (student, teacher))
        return (p_s - p_t).abs().sum(dim=-1)

    def _sorted(self, logits: Tensor, words: int) -> Tensor:
        """The probabilities, the largest first, with zeros behind, ``(batch, rows, words)``."""
        probabilities = (logits / self.temperature).softmax(dim=-1)
        return F.pad(probabilities, (0, words - logits.shape[-1])).sort(descending=True).values
