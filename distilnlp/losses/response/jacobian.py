"""Losses on the gradient of a logit with respect to the embeddings: on what each model's answer depends."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError, unknown
from distilnlp.losses.base import Batch, Loss, batch_mean, register_loss, valid_counts, without_padding
from distilnlp.losses.checks import check_same_tokens, require_teacher
from distilnlp.losses.pooling import unit
from distilnlp.losses.response.base import check_num_logits
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["Jacobian"]

Compare = Literal["vectors", "norms"]


@register_loss("jacobian")
@dataclass(frozen=True)
class Jacobian(Loss):
    """``|| g_s / ||g_s|| - g_t / ||g_t|| ||^2``, ``g`` the gradient of the label's logit by hidden state 0.

    The label's logit, of both models, is that of the example's label; in a regression it is the only one. Both models
    are run with an attention that can be differentiated twice, which takes more time and memory than the usual one.

    Args:
        compare: ``vectors`` compares the gradients number by number, for embeddings of one width that mean the same
            (a student made from the teacher); ``norms`` their length at each token, for any two.
    Shapes:
        input_gradients: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless, in 0..4, unchanged when either gradient is scaled; mean over examples.
    Raises:
        RequestError: unequal widths with ``vectors``; unequal numbers of tokens; no labels, or several an example; an
            unknown word for ``compare``; a label outside the logits.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Srinivas & Fleuret",
            2018,
            "Knowledge Transfer with Jacobian Matching",
            "arXiv:1803.00443",
            differs=(
                "On hidden state 0, as token ids have no gradient. Padding is left out before a gradient is scaled to "
                "length 1."
            ),
        ),
    )

    compare: Compare = "vectors"

    uses_labels: ClassVar[bool] = True
    weighs_examples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.compare not in get_args(Compare):
            raise unknown(f"value of compare for {self.name}:", str(self.compare), get_args(Compare))

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        check_num_logits(self.name, student, teacher)
        if student.problem.several_labels:
            raise RequestError(f"{self.name} takes one label an example and the task has several: leave it out")
        if student.problem.rows != "text":
            raise RequestError(
                f"{self.name} is of one logit a text, and {student.problem.name} has several rows: leave it out"
            )
        self._check_widths(student.width, require_teacher(self.name, teacher).width)
        return self

    def needs_student(self) -> Needs:
        return Needs(logits=True, input_gradients=True)

    def needs_teacher(self) -> Needs:
        return Needs(logits=True, input_gradients=True)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        g_s, g_t = student.get_input_gradients(), teacher.get_input_gradients().detach()
        self._check_widths(g_s.shape[-1], g_t.shape[-1])
        check_same_tokens(self.name, g_s.shape[:2], g_t.shape[:2])
        real = student.token_mask(g_s)
        valid_counts(real)  # refuses a text without any real token
        return batch_mean(
            (self._direction(g_s, real) - self._direction(g_t, real)).square().sum(dim=1), student.weights
        )

    def _direction(self, gradients: Tensor, real: Tensor) -> Tensor:
        kept = without_padding(gradients, real)  # (batch, tokens, width)
        if self.compare == "vectors":
            return unit(kept.flatten(1))
        lengths: Tensor = kept.norm(dim=-1)  # (batch, tokens)
        return unit(lengths)

    def _check_widths(self, student: int, teacher: int) -> None:
        if self.compare == "vectors" and student != teacher:
            raise RequestError(
                f"{self.name} compares gradients number by number: the student is {student} wide and the teacher "
                f"{teacher}; use compare: norms"
            )
