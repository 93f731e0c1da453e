"""What the losses on logits share: which rows of classes a head gives, which of them count, and their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses.base import Batch, Loss, batch_mean, token_mean, valid_counts
from distilnlp.losses.checks import check_positive, check_same_shape, require_teacher
from distilnlp.losses.response.class_weights import WeighsClasses
from distilnlp.outputs import ModelInfo, Outputs
from distilnlp.problems import IGNORED, Problem

__all__ = [
    "EXCLUDED",
    "ClassLoss",
    "Head",
    "ResponseLoss",
    "check_exclusive",
    "check_lists",
    "check_num_logits",
    "check_spans",
    "cross_entropy",
    "kl_divergence",
    "log_softmaxes",
]

# A logit that no softmax sees; finite, so that no product with a probability of 0 is NaN, at any temperature.
EXCLUDED = -1e30


class Head:
    """The rows of classes that a batch's logits consist of, and the mean over them.

    A row is one choice among classes: one a text for a sequence classification head, one a token for a token
    classification or masked-LM head. A span head has two a text, start and end of the answer; their classes are the
    tokens, of which padding is none: there both models get the same very negative logit. A ranking head gives a logit
    for each pair of a query and a text; there a row is a query, and its classes are its texts, which the batch's
    ``groups`` tell: ``(queries, texts)``, the place of each text of a query in the batch, -1 where it has no more.
    What is no text gets that very negative logit too.

    Args:
        name: of the loss, for messages.
        student: whose mask says which tokens are padding, and whose weights how much each example counts.
        batch: whose ``label_mask`` says which tokens count, or, without one, whose labels: those that have one. With
            neither every real token counts. With ``head_tokens`` the rows are those of these tokens alone, and
            ``label_mask`` says which rows count.
        spans: whether the loss takes a span head.
        class_weights: how much a row counts by the class of its label, in the order of the logits; None: all alike.
        lists: whether it takes a ranking head.
    Raises:
        RequestError: a span or ranking head where the loss takes none, with other logits than two a token or one a
            pair, or a ranking head without ``groups``.
    """

    def __init__(
        self,
        name: str,
        student: Outputs,
        batch: Batch,
        spans: bool = True,
        class_weights: Sequence[float] | None = None,
        lists: bool = False,
    ) -> None:
        self.name = name
        self.batch = batch
        logits = student.get_logits()
        self.mask: Tensor | None = None  # bool, (batch, tokens): which rows count; None means all
        self.positions: Tensor | None = None  # bool, (batch, 1, tokens): the classes of a span or ranking head
        self.groups: Tensor | None = None  # (queries, texts): the places of the texts, of a ranking head
        if student.problem is not None and student.problem.rows == "list":
            check_lists(name, student.problem, lists)
            if logits.ndim != 2 or logits.shape[-1] != 1 or "groups" not in batch:
                raise RequestError(
                    f"{name} on a ranking head needs logits (pairs, 1) and the batch's groups (queries, texts), the"
                    f" place of each query's texts; got logits {tuple(logits.shape)} and"
                    f" {'no groups' if 'groups' not in batch else 'groups'}"
                )
            self.groups = batch["groups"].to(logits.device)
            self.positions = (self.groups >= 0)[:, None]
        elif student.problem is not None and student.problem.rows == "span":
            check_spans(name, student.problem, spans)
            if logits.ndim != 3 or logits.shape[-1] != 2:
                raise RequestError(
                    f"a span head gives logits (batch, tokens, 2), start and end; got {tuple(logits.shape)}"
                )
            real = student.token_mask(logits)  # (batch, tokens)
            valid_counts(real)  # refuses a text without any
            self.positions = real[:, None]
        elif logits.ndim == 3 and "head_tokens" in batch:  # the rows are of some tokens, of which none is padding
            self.mask = batch["label_mask"].bool()
        elif logits.ndim == 3:
            self.mask = student.token_mask(logits)
            if "label_mask" in batch:
                self.mask = self.mask & batch["label_mask"].bool()
            elif "labels" in batch and batch["labels"].shape == self.mask.shape:
                self.mask = self.mask & (batch["labels"] != IGNORED)
        # (batch, 1 or rows); those of a ranking head make a mean over texts one over queries, which its rows are
        weights = None if self.groups is not None else student.weights
        self.weights = None if weights is None else weights.to(logits)[:, None]
        if class_weights is not None:
            by_class = torch.tensor(class_weights, dtype=logits.dtype, device=logits.device)
            own = by_class[self.labels(len(class_weights))]  # (batch, rows)
            self.weights = own if self.weights is None else own * self.weights

    def rows(self, outputs: Outputs) -> Tensor:
        """A model's logits, ``(batch, rows, classes)``."""
        logits = outputs.get_logits()
        if self.groups is not None and self.positions is not None:
            scores = logits[:, 0][self.groups.clamp_min(0)]  # (queries, texts)
            return scores[:, None].masked_fill(~self.positions, EXCLUDED)
        if self.positions is not None:
            by_position = logits.transpose(1, -1)  # (batch, 2, tokens)
            if by_position.shape[-1] != self.positions.shape[-1]:
                raise RequestError(
                    f"{self.name} compares positions: the student has {self.positions.shape[-1]} tokens and "
                    f"the teacher {by_position.shape[-1]}; both must read the same tokens"
                )
            return by_position.masked_fill(~self.positions, EXCLUDED)
        return logits if logits.ndim == 3 else logits[:, None]

    def labels(self, classes: int) -> Tensor:
        """The class of every row, ``(batch, rows)``; 0 where a row does not count.

        Args:
            classes: how many there are.
        Raises:
            RequestError: no labels; not one class a row; a label outside the classes (seen on the CPU only: to look
                elsewhere would be to wait for the device, which checks what it looks up itself).
        """
        if "labels" not in self.batch:
            raise RequestError(
                f"{self.name} needs labels and the batch has none: add a label column, or leave {self.name} out of "
                "the objective and train on the teacher's outputs alone"
            )
        labels = self.batch["labels"]
        if self.groups is not None and self.positions is not None:
            return self._relevance(labels, self.positions[:, 0])
        if self.positions is not None:
            return self._span_labels(labels, self.positions)
        if labels.is_floating_point() or labels.ndim != (1 if self.mask is None else 2):
            raise RequestError(
                f"{self.name} needs one class as the label of each {'text' if self.mask is None else 'token'}; got "
                f"labels of type {labels.dtype} and shape {tuple(labels.shape)}"
            )
        if self.mask is None:
            labels = labels[:, None]
        else:
            self.mask = self.mask & (labels != IGNORED)
            labels = labels.where(self.mask, labels.new_zeros(()))
        if labels.device.type == "cpu":
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= classes:
                raise RequestError(f"labels must lie in 0..{classes - 1}; the batch has {low}..{high}")
        return labels

    def _relevance(self, labels: Tensor, texts: Tensor) -> Tensor:
        if labels.shape != texts.shape:
            raise RequestError(
                f"{self.name} needs a relevance for each text of a query, {tuple(texts.shape)}, as the labels of a"
                f" ranking head; got labels of type {labels.dtype} and shape {tuple(labels.shape)}"
            )
        relevance = labels.where(texts, labels.new_zeros(()))
        if labels.device.type == "cpu" and bool((relevance.amax(dim=-1) <= 0).any()):
            raise RequestError(f"{self.name}: a query of the batch has no relevant text: leave such queries out")
        return relevance

    def _span_labels(self, labels: Tensor, positions: Tensor) -> Tensor:
        if labels.is_floating_point() or labels.shape != (len(positions), 2):
            raise RequestError(
                f"{self.name} needs the positions of start and end, (batch, 2), as the labels of a span head; got "
                f"labels of type {labels.dtype} and shape {tuple(labels.shape)}"
            )
        if labels.device.type == "cpu":
            within = (labels >= 0) & (labels < positions.shape[-1])
            real = positions[:, 0].gather(1, labels.where(within, 0))
            if not bool((within & real).all()):
                raise RequestError(
                    "the start and the end of an answer must be real tokens of its text; the batch has "
                    f"{labels.tolist()}: leave out the texts that lost their answer when they were cut"
                )
        return labels

    def list_moments(self, errors: Tensor, center: bool = False) -> tuple[Tensor, Tensor]:
        """Of a ranking head the sum of the squares over the texts of each query, ``(queries, 1)``, and their number.

        Args:
            errors: ``(queries, 1, texts)``.
            center: take off each query's mean first.
        """
        texts = self.positions if self.positions is not None else torch.ones_like(errors, dtype=torch.bool)
        errors = errors.where(texts, errors.new_zeros(()))
        counts = texts.sum(dim=-1)  # (queries, 1)
        if center:
            mean = errors.sum(dim=-1, keepdim=True) / counts[..., None]
            errors = (errors - mean).where(texts, errors.new_zeros(()))
        return errors.square().sum(dim=-1), counts

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the rows that count of each example, then over the examples; ``()``. values: ``(batch, rows)``.

        A value is multiplied with the weight of its row, and what comes of it not divided by the weights of the batch
        (see `batch_mean`).
        """
        if self.weights is not None:
            values = values * self.weights
        return batch_mean(values.mean(dim=-1) if self.mask is None else token_mean(values, self.mask), None)

    def average(self, values: Tensor) -> Tensor:
        """As `mean`, divided by the weights of the batch: what one value stands in the middle of; ``()``."""
        if self.weights is None:
            return self.mean(values)
        weight = self.mean(torch.ones_like(values))
        return self.mean(values) / weight.where(weight > 0, 1.0)

    def row_weights(self, like: Tensor) -> Tensor | None:
        """How much each row counts, 0 for one that does not, ``(batch, rows)``; None where all count alike.

        Args:
            like: ``(batch, rows)``.
        """
        if self.weights is None and self.mask is None:
            return None
        weights = torch.ones_like(like) if self.weights is None else self.weights.expand_as(like)
        return weights if self.mask is None else weights * self.mask


@dataclass(frozen=True)
class ResponseLoss(WeighsClasses):
    """Base of losses that compare the logits of the two models, row by row.

    Class attributes:
        spans: whether the loss has a meaning where the classes are the tokens of a text.
        lists: whether it has one where they are the texts of a query, more or fewer for each.
    """

    spans: ClassVar[bool] = True
    lists: ClassVar[bool] = False
    by_token: ClassVar[bool] = False

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        check_lists(self.name, student.problem, self.lists)
        check_num_logits(self.name, student, teacher)
        check_spans(self.name, student.problem, self.spans)
        return super().resolve(student, teacher)

    def compare(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        """One number a row, ``(batch, rows)``, from two ``(batch, rows, classes)``."""
        raise NotImplementedError

    def combine(self, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
        """The loss ``()``, from two ``(batch, rows, classes)``: the mean of `compare` where nothing else is said."""
        return head.mean(self.compare(student, teacher, head))

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        return self.combine(*self.rows(student, teacher, batch))

    def between(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The loss, ``()``, with a gradient for both models, where the teacher's is otherwise cut off."""
        z_s, _, head = self.rows(student, teacher, batch)
        return self.combine(z_s, head.rows(teacher), head)

    def rows(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> tuple[Tensor, Tensor, Head]:
        """The logits of both models, each ``(batch, rows, classes)``, and the head that they are of.

        Raises:
            RequestError: no teacher; unequal shapes; rows that the loss has no meaning for.
        """
        teacher = require_teacher(self.name, teacher)
        head = Head(self.name, student, batch, self.spans, self.class_numbers, self.lists)
        z_s, z_t = head.rows(student), head.rows(teacher).detach()
        check_same_shape("logits", z_s, z_t)
        return z_s, z_t, head


@dataclass(frozen=True)
class ClassLoss(ResponseLoss):
    """Base of losses between two softmaxes over exclusive classes at a temperature.

    Class attributes:
        fewest_classes: with fewer the loss is a constant.
        why_fewest: what makes it one; what to use.
    """

    temperature: float = 1.0

    fewest_classes: ClassVar[int] = 2
    why_fewest: ClassVar[str] = "the softmax of one number is constant: use 'logit_mse' for a regression"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        check_num_logits(self.name, student, teacher)
        check_spans(self.name, student.problem, self.spans)
        if student.problem.rows != "list":
            check_exclusive(self.name, student)
        if student.problem.rows in ("text", "token"):
            self.check_classes(student.num_logits)
        return super().resolve(student, teacher)

    def check_classes(self, classes: int) -> None:
        """Raise RequestError where there are too few classes for the loss to train anything."""
        if classes < self.fewest_classes:
            raise RequestError(
                f"{self.name} needs classes >= {self.fewest_classes} and the logits are {classes}: {self.why_fewest}"
            )

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        by_position = student.problem is not None and student.problem.rows in ("span", "list")
        if student.logits is not None and not by_position:
            self.check_classes(student.logits.shape[-1])
        return super().__call__(student, teacher, batch, module)


def log_softmaxes(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """``log q`` of the student and ``log p`` of the teacher over the last axis, at a temperature."""
    return F.log_softmax(student / temperature, dim=-1), F.log_softmax(teacher / temperature, dim=-1)


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``KL(p || q) = sum p (log p - log q)`` over the last axis, from the logarithms."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=-1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """``-log softmax(logits)[label]``, ``(batch, rows)``, of ``(batch, rows, classes)`` and ``(batch, rows)``."""
    return F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")


def check_num_logits(name: str, student: ModelInfo, teacher: ModelInfo | None) -> None:
    """Raise RequestError unless there is a teacher, with as many logits as the student."""
    teacher = require_teacher(name, teacher)
    if student.num_logits != teacher.num_logits:
        if student.problem.rows == "list":
            raise RequestError(
                f"{name} compares the scores of a query's texts: for each the student has {student.num_logits} and the"
                f" teacher {teacher.num_logits}; take a teacher that ranks, such as a cross-encoder with one logit"
            )
        if student.problem.vectors:
            raise RequestError(
                f"{name} compares vectors number by number: the student's have {student.num_logits} and the teacher's "
                f"{teacher.num_logits}; give the student as many (student: {{from: ..., dimension: "
                f"{teacher.num_logits}}}), or take a relation with on: logits, of which the widths are free"
            )
        raise RequestError(
            f"{name} compares logits one by one: the student has {student.num_logits} and the teacher "
            f"{teacher.num_logits}; fine-tune the teacher on this task, or build the student with as many labels"
        )


def check_lists(name: str, problem: Problem, lists: bool) -> None:
    """Raise RequestError for a ranking head where a loss has no meaning over the texts of a query."""
    if problem.rows == "list" and not lists:
        raise RequestError(
            f"{name} does not fit a ranking head, whose classes are the texts of a query: use 'margin_mse',"
            " 'soft_target' (the KL over a query's texts), 'logit_mse' or 'hard_label'"
        )


def check_spans(name: str, problem: Problem, spans: bool) -> None:
    """Raise RequestError for a span head where a loss takes none, as ``spans`` says."""
    if problem.rows == "span" and not spans:
        raise RequestError(
            f"{name} does not fit a span head, whose classes are the tokens, fewer in a shorter text: use"
            " 'soft_target' or 'hard_label'"
        )


def check_exclusive(name: str, student: ModelInfo) -> None:
    """Raise RequestError unless the head chooses one class among two or more."""
    if student.num_logits < 2:
        raise RequestError(
            f"{name} on one logit is always 0 (the softmax of one number is constant): "
            "use 'logit_mse' for a regression"
        )
    if not student.problem.exclusive_classes:
        raise RequestError(
            f"{name} takes the classes for exclusive, which those of {student.problem.name} are not: use "
            f"'{student.problem.response_loss}'"
        )
