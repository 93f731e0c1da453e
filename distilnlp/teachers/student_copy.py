"""What the teachers share that are the student itself at other times: a copy of it, and when it moves."""

import copy
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.models.capture import Capture, model_info
from distilnlp.models.labels import label_names_of
from distilnlp.outputs import Answers, ModelInfo, Needs
from distilnlp.part import Part, Training

__all__ = ["StudentCopy", "check_count", "check_teaches", "load_tensors", "tensors_of"]

_NOTE = "note."  # before the name of a number in the state, so that it is no weight's


class StudentCopy(Part):
    """A copy of the student that moves by rules of its own, in evaluation mode and without gradients.

    It is a part of the training: saved and resumed with its checkpoints, never kept in a cache (it changes) and never
    saved with the student. After the training `model` is the copy, a plain model of transformers. Weights in half
    precision are copied to float32, where an average is not rounded away.

    A subclass moves `model` in `on_step` or `on_evaluate`, and keeps in `notes` the numbers that a resumed training
    needs besides the weights.

    Attributes:
        called: what it is of the student, in messages.
        notes: by name; begun anew in `attach`.
        teaches: whether it answers; while it does not, the terms that read it count as 0.
    """

    of_others = False
    auxiliary_modules = None  # it has parameters, but none that an optimizer trains
    called: ClassVar[str] = "copy"

    info: ModelInfo
    columns: frozenset[str]

    def __init__(self) -> None:
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.label_names: tuple[str, ...] | None = None
        self.notes: dict[str, float] = {}
        self._model: PreTrainedModel | None = None
        self._student: PreTrainedModel | None = None
        self._needs = Needs()
        self._capture: Capture | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The copy. Raises RuntimeError before the first training."""
        if self._model is None:
            raise RuntimeError(f"there is no {self.called} before a training")
        return self._model

    @property
    def teaches(self) -> bool:
        """Whether it answers at this step; the same in every process."""
        return True

    def begin(self) -> dict[str, float]:
        """The notes at the start of a training."""
        return {}

    # ---- as a teacher ----

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """Note what is needed; the copy is made beside the student when the training begins."""
        self._needs = needs

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """Its labels are the student's. Raises RuntimeError."""
        raise RuntimeError(f"the {self.called} of a student counts its labels as the student does")

    def release(self) -> None:
        """Take the capture off the copy."""
        if self._capture is not None:
            self._capture.remove()
            self._capture = None

    def __call__(self, batch: Mapping[str, Tensor]) -> Answers:
        """The copy's outputs for a batch, without any gradient; an empty tuple while it does not teach."""
        if self._capture is None:
            raise RuntimeError(f"the {self.called} answers while its student trains")
        if not self.teaches:
            return ()
        self.model.eval()  # somebody may have set it to train
        with torch.no_grad():
            return self._capture.run(batch)

    # ---- as a part of the training ----

    @classmethod
    def info_of(cls, student: ModelInfo, others: Sequence[ModelInfo]) -> ModelInfo:
        """Its sizes are the student's."""
        return dataclasses.replace(student, name=f"{cls.called} of {student.name}")

    def accept(self, student: PreTrainedModel) -> None:
        """Be as large as the student, and read and answer what it does."""
        self.info = self.info_of(model_info(student), ())
        self.columns = frozenset(inspect.signature(student.forward).parameters)
        self.label_names = label_names_of(student)

    def attach(self, training: Training) -> None:
        """Start as a copy of the student. Raises RequestError for a layer that it has not."""
        self.release()
        self._student = training.student
        self.notes = self.begin()
        copied = copy.deepcopy(training.student).eval().requires_grad_(False)
        self._model = copied.float() if copied.dtype in (torch.float16, torch.bfloat16) else copied
        self._capture = Capture(self._model, self._needs)

    def become_student(self) -> None:
        """Take the student's weights and buffers as they are now."""
        load_tensors(self.model, tensors_of(self._student))

    @torch.no_grad()
    def move(self, share: float) -> None:
        """Go a share of the way towards the student: ``w <- (1 - share) w + share s``; counts are copied.

        Args:
            share: 0 < share <= 1.
        """
        student = tensors_of(self._student)
        for name, tensor in tensors_of(self._model).items():
            if tensor.is_floating_point():
                # As in the formula, but what does not change in the student (frozen weights) stays as it is to the bit
                tensor.lerp_(student[name].to(tensor.dtype), share)
            else:
                tensor.copy_(student[name])

    def state(self) -> Mapping[str, Tensor]:
        """All weights and buffers of the copy, and the notes."""
        notes = {f"{_NOTE}{name}": torch.tensor(each, dtype=torch.float64) for name, each in self.notes.items()}
        return {**tensors_of(self._model), **notes}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the weights, buffers and notes of a checkpoint."""
        load_tensors(self.model, state)
        self.notes = {name: float(state[f"{_NOTE}{name}"]) for name in self.notes}

    def finish(self) -> None:
        """Let go of the student; the copy stays."""
        self.release()
        self._student = None


def tensors_of(model: nn.Module | None) -> dict[str, Tensor]:
    """Every parameter and buffer once, those that are shared under their first name."""
    return {} if model is None else {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put values into the parameters and buffers of a model, by the names of `tensors_of`."""
    for name, own in tensors_of(model).items():
        own.copy_(tensors[name])


def check_teaches(what: str, first: int, steps: int) -> None:
    """Raise RequestError where a teacher would have its first answer when the training is over.

    Args:
        what: the setting that says when it begins, with its value.
        first: the steps before its first answer.
        steps: of the whole training; 0 where that is not known.
    """
    if steps and first >= steps:
        raise RequestError(
            f"with {what} the teacher's first answer comes after {first} steps, and the training has {steps}, so that "
            "it would teach nothing: train longer, or let it begin earlier"
        )


def check_count(name: str, value: int) -> None:
    """Raise RequestError where a number of steps or models is below 1."""
    if value < 1:
        raise RequestError(f"{name} is {value}: give 1 or more", key=[name])
