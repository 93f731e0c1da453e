"""A teacher that is an average of the student: it learns as the student does, and is steadier."""

import copy
import dataclasses
import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.models.capture import Capture, model_info
from distilnlp.models.labels import label_names_of
from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.part import Part, Training
from distilnlp.teachers.base import register_teacher
from distilnlp.typed import typed

__all__ = ["EMATeacher"]


@register_teacher("average")
class EMATeacher(Part):
    """The exponential moving average of the student's weights, in evaluation mode and without gradients.

    It starts as a copy of the student. After each optimizer step ``w <- d w + (1 - d) s`` for every weight ``w`` and
    floating buffer of the average and its counterpart ``s`` in the student; other buffers are copied. Weights in half
    precision are averaged in float32, where ``1 - d`` is not rounded away.

    It is a part of the training: saved and resumed with its checkpoints, never kept in a cache (it changes) and never
    saved with the student. After the training `model` is the average, a plain model of transformers.

    Args:
        decay: ``d``, 0 <= d < 1, dimensionless: it averages over about ``1 / (1 - d)`` steps. 0 is the student itself,
            a step old at most.
    Source: Tarvainen & Valpola 2017, "Mean teachers are better role models", arXiv:1703.01780, equation 2. They raise
        the decay from 0.99 to 0.999 after the first phase of a training; here it is constant.
    Raises:
        RequestError: ``decay`` outside [0, 1): at 1 the average would never move.
    """

    of_others = False
    name = "ema_teacher"
    auxiliary_modules = None  # it has parameters, but none that an optimizer trains

    info: ModelInfo
    columns: frozenset[str]

    @typed
    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise RequestError(
                f"the decay of an EMA teacher lies in [0, 1), as 0.99 or 0.999; got {decay!r}", key=["decay"]
            )
        self.decay = float(decay)
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.label_names: tuple[str, ...] | None = None
        self._model: PreTrainedModel | None = None
        self._student: PreTrainedModel | None = None
        self._needs = Needs()
        self._capture: Capture | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The average. Raises RuntimeError before the first training."""
        if self._model is None:
            raise RuntimeError("there is no average before a training")
        return self._model

    # ---- as a teacher ----

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """Note what is needed; the average is made beside the student when the training begins."""
        self._needs = needs

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """Its labels are the student's. Raises RuntimeError."""
        raise RuntimeError("an average of the student counts its labels as the student does")

    def release(self) -> None:
        """Take the capture off the average."""
        if self._capture is not None:
            self._capture.remove()
            self._capture = None

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """The average's outputs for a batch, without any gradient."""
        if self._capture is None:
            raise RuntimeError("an EMA teacher answers while its student trains")
        self.model.eval()  # somebody may have set it to train
        with torch.no_grad():
            return self._capture.run(batch)

    # ---- as a part of the training ----

    @staticmethod
    def info_of(student: ModelInfo, others: Sequence[ModelInfo]) -> ModelInfo:
        """Its sizes are the student's."""
        return dataclasses.replace(student, name=f"moving average of {student.name}")

    def accept(self, student: PreTrainedModel) -> None:
        """Be as large as the student, and read and answer what it does."""
        self.info = self.info_of(model_info(student), ())
        self.columns = frozenset(inspect.signature(student.forward).parameters)
        self.label_names = label_names_of(student)

    def attach(self, training: Training) -> None:
        """Start as a copy of the student. Raises RequestError for a layer that it has not."""
        self.release()
        self._student = training.student
        average = copy.deepcopy(training.student).eval().requires_grad_(False)
        self._model = average.float() if average.dtype in (torch.float16, torch.bfloat16) else average
        self._capture = Capture(self._model, self._needs)

    @torch.no_grad()
    def on_step(self, progress: float) -> None:
        """Move towards the student."""
        student = _tensors(self._student)
        for name, average in _tensors(self._model).items():
            if average.is_floating_point():
                # As in the formula, but what does not change in the student (frozen weights) stays as it is to the bit
                average.lerp_(student[name].to(average.dtype), 1 - self.decay)
            else:
                average.copy_(student[name])

    def state(self) -> Mapping[str, Tensor]:
        """All weights and buffers of the average."""
        return _tensors(self._model)

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the weights and buffers of a checkpoint."""
        for name, tensor in _tensors(self._model).items():
            tensor.copy_(state[name])

    def finish(self) -> None:
        """Let go of the student; the average stays."""
        self.release()
        self._student = None


def _tensors(model: PreTrainedModel | None) -> dict[str, Tensor]:
    """Every parameter and buffer once, those that are shared under their first name."""
    return {} if model is None else {**dict(model.named_parameters()), **dict(model.named_buffers())}
