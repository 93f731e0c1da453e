"""Losses between the scores of candidates: how far the right one stands before the others."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss, register_loss
from distilnlp.losses.response.base import Head, ResponseLoss
from distilnlp.outputs import ModelInfo

__all__ = ["MarginMSE"]


@register_loss("margin_mse")
@dataclass(frozen=True)
class MarginMSE(ResponseLoss):
    """``mean_j ((s_0 - s_j) - (t_0 - t_j))^2``: the margins of the first candidate, the right one, over the others.

    For rankers: the logits of a row are the scores of one query's candidates. A constant added to all scores of a
    query, by either model, changes nothing; their scale matters. Where the head is one for ranking, with a logit a
    pair of query and text, every two texts of a query have a margin, and the loss is the mean over all of them: for
    two texts the same, and for more it does not depend on their order. A query with one text has the loss 0.

    Shapes:
        student.logits, teacher.logits: ``(batch, candidates)``, the right one first, as many for each query; of a
            ranking head ``(pairs, 1)``, with the batch's ``groups``; returns ``()``, float32.
    Units: squared score, mean over the other candidates (or all margins of a query) and the examples.
    Raises:
        RequestError: one candidate (it has no margin); unequal logit shapes; a span head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Hofstätter et al.",
            2020,
            "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation",
            "arXiv:2010.02666",
            differs="The paper has one wrong candidate a query; here the mean over any number of them.",
        ),
    )

    spans: ClassVar[bool] = False
    lists: ClassVar[bool] = True

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        super().resolve(student, teacher)
        if student.problem.rows != "list":
            self._check(student.num_logits)
        return self

    def _check(self, candidates: int) -> None:
        if candidates < 2:
            raise RequestError(
                f"{self.name} needs candidates >= 2 and the logits are {candidates}: one has no margin; give "
                "the scores of all candidates of a query in one row (batch, candidates), or use 'logit_mse'"
            )

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        error = student - teacher  # (batch, rows, candidates)
        if head.groups is not None:
            squares, texts = head.list_moments(error, center=True)
            return 2 * squares / (texts - 1).clamp_min(1)
        self._check(student.shape[-1])
        return (error[..., :1] - error[..., 1:]).square().mean(dim=-1)
