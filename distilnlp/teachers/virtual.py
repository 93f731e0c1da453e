"""A teacher that is no model: it knows the label, and little more."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.models.capture import model_info
from distilnlp.models.labels import label_names_of
from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.part import Part
from distilnlp.problems import IGNORED
from distilnlp.teachers.base import register_teacher
from distilnlp.typed import typed

__all__ = ["VirtualTeacher"]


@register_teacher("virtual")
class VirtualTeacher(Part):
    """A hand-made answer to each labelled row: the label is right with probability ``a``, the rest is shared equally.

    Its logits are ``p / tau`` with ``p = a`` for the label and ``(1 - a) / (C - 1)`` for each of the other classes, so
    that its softened answer is ``softmax(p / tau)``. Compare the student with it by ``soft_target: {temperature: 1}``,
    whose gradient is then that of label smoothing with ``epsilon = C * q``, ``q`` being what the softened answer gives
    to a wrong class.

    Args:
        correct: ``a``, the probability of the label, 1 / C < a <= 1, dimensionless.
        temperature: ``tau`` > 0, dimensionless. It divides probabilities and not logits: 20 is nearly uniform.
    Shapes:
        batch["labels"]: a class for each row, ``(batch,)`` or ``(batch, rows)``; the logits: ``(*labels, C)``, where a
            row that has none (a token that answers for no word) gets zeros, which the losses leave out.
    Source: Yuan et al. 2020, "Revisiting Knowledge Distillation via Label Smoothing Regularization", arXiv:1909.11723,
        section 4 (Tf-KD_reg). As in their code the student is not softened; their loss is a mean over the classes too,
        and so smaller by a factor of C.
    Raises:
        RequestError: a setting out of its range; a kind of task without classes that exclude one another.
    """

    of_others = False
    name = "virtual_teacher"
    auxiliary_modules = None

    info: ModelInfo

    @typed
    def __init__(self, correct: float = 0.99, temperature: float = 20.0) -> None:
        if not 0 < correct <= 1:
            raise RequestError(
                f"correct is the probability of the label, above 0 and at most 1; got {correct!r}", ["correct"]
            )
        if not 0 < temperature < float("inf"):
            raise RequestError(f"temperature must be above 0 and finite; got {temperature!r}", ["temperature"])
        self.correct, self.temperature = float(correct), float(temperature)
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.columns = frozenset({"labels"})
        self.label_names: tuple[str, ...] | None = None

    @staticmethod
    def info_of(student: ModelInfo, others: Sequence[ModelInfo]) -> ModelInfo:
        """As many logits as the student has, and no layers. Raises RequestError for a kind of task without classes."""
        problem = student.problem
        if not problem.exclusive_classes or problem.rows not in ("text", "token"):
            raise RequestError(
                f"a virtual teacher answers with the label's class, and {problem.name} has no classes that exclude one"
                " another: take a teacher of its own kind"
            )
        return ModelInfo("the virtual teacher", 0, 0, 0, num_logits=student.num_logits, problem=problem)

    def accept(self, student: PreTrainedModel) -> None:
        """Answer for the student's classes. Raises RequestError where the label would not be the likeliest of them."""
        self.info = self.info_of(model_info(student), ())
        self.label_names = label_names_of(student)
        if self.correct * self.info.num_logits <= 1:
            raise RequestError(
                f"correct is {self.correct:g}, and of {self.info.num_logits} classes the label has to be the"
                f" likeliest: give more than {1 / self.info.num_logits:.3g}",
                ["correct"],
            )

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """Raises RequestError where more than logits is needed."""
        if needs.layers or needs.input_gradients:
            raise RequestError("a virtual teacher has logits and nothing else: use losses between logits")

    def release(self) -> None:
        """It holds nothing."""

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """Its labels are the batch's. Raises RuntimeError."""
        raise RuntimeError("a virtual teacher counts its labels as the batch does")

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """The logits for the labels of a batch. Raises RequestError for a batch without them."""
        if "labels" not in batch:
            raise RequestError(
                "a virtual teacher knows nothing but labels, and the batch has none: add a label column"
            )
        labels, classes = batch["labels"], self.info.num_logits
        known = (labels != IGNORED)[..., None]
        rest = (1 - self.correct) / (classes - 1)
        answers = torch.full((*labels.shape, classes), rest, device=labels.device)
        answers = answers.scatter(-1, labels.where(known[..., 0], 0)[..., None], self.correct)
        logits = (answers / self.temperature).where(known, 0.0)
        return Outputs(logits=logits, attention_mask=batch.get("attention_mask"), problem=self.info.problem)
