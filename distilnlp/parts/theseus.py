"""Modules of the teacher that are replaced by the student's, more and more, while these learn to do without them."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.layer_map import uniform_layers
from distilnlp.models.capture import model_info
from distilnlp.models.encoder import layer_stack
from distilnlp.part import Part, Training, register_part
from distilnlp.teachers import FrozenTeacher
from distilnlp.typed import typed

__all__ = ["Theseus", "layer_groups"]


@register_part("theseus")
class Theseus(Part):
    """In each forward pass, of each student layer: with probability ``r`` the layer itself, else the teacher's.

    The teacher's layers (the predecessor) stand in groups, one for each student layer (its successor); see
    `layer_groups`. The student learns from the objective alone, mostly from the labels: there is no loss between the
    two. As long as a layer may still be the teacher's, embeddings and head are frozen, for they are the predecessor's;
    once ``r`` is 1, the whole student is trained. Evaluations and what is saved are the student's own.

    Args:
        rate: ``r`` at the start, 0 to 1.
        schedule: ``linear``: ``r`` rises to 1 by the share ``until``; ``constant``: it stays until then.
        until: the share of the training, 0 <= until <= 1, after which all layers are the student's.
    Source: Xu et al. 2020, "BERT-of-Theseus", arXiv:2002.02925, equations 1 to 6. There each step draws once for each
        module, and so do we; the teacher's layers have no dropout here.
    Raises:
        RequestError: a value out of its range; a teacher that is no frozen model, or of another kind or width; a
            student whose layers share their weights.
    """

    name = "theseus"
    holds_teacher = True
    freezes = True

    @typed
    def __init__(
        self, rate: float = 0.5, schedule: Literal["linear", "constant"] = "linear", until: float = 0.7
    ) -> None:
        for key, value in (("rate", rate), ("until", until)):
            if not 0 <= value <= 1:
                raise RequestError(f"{key} lies in 0..1; got {value!r}", key=[key])
        if schedule == "constant" and rate == 0 and until > 0:
            raise RequestError(f"at a constant rate of 0 nothing is trained before {until:g}: raise it", key=["rate"])
        self.rate = float(rate)
        self.schedule = schedule
        self.until = float(until)
        self._generator = torch.Generator()
        self._kept: list[bool] = []
        self._handles: list[RemovableHandle] = []
        self._shared: list[nn.Parameter] = []
        self._groups: list[list[nn.Module]] = []

    def rate_at(self, progress: float) -> float:
        """The probability that a layer is the student's, after a share ``progress`` of the training."""
        if progress >= self.until:
            return 1.0
        if self.schedule == "constant":
            return self.rate
        return min(1.0, self.rate + (1 - self.rate) * progress / self.until)

    def accept(self, student: PreTrainedModel) -> None:
        """Refuse a student whose layers are one and the same, or read what others do not."""
        info = model_info(student)
        shared, kinds = len(layer_stack(student)) < info.layers, info.layer_types
        if shared or kinds is not None:
            why = "share their weights" if shared else f"are of several kinds ({', '.join(sorted({*(kinds or ())}))})"
            raise RequestError(
                f"theseus: the layers of {info.name} {why}, so that none can stand in another's place: take a student"
                " with layers of one kind and weights of their own, as BERT's"
            )

    def attach(self, training: Training) -> None:
        """Hang the teacher's layers beside the student's."""
        student, teacher = training.student, _predecessor(training)
        own, theirs = layer_stack(student), layer_stack(teacher)
        groups = layer_groups(model_info(student).kept_layers, len(own), len(theirs))
        self._groups = [[theirs[layer - 1] for layer in group] for group in groups]
        inside = {id(parameter) for parameter in own.parameters()}
        self._shared = [each for each in student.parameters() if each.requires_grad and id(each) not in inside]
        self._kept = [True] * len(own)
        self._generator.manual_seed(training.seed)
        self._handles = [
            layer.register_forward_hook(self._hook(place), with_kwargs=True) for place, layer in enumerate(own)
        ]

    def on_pass(self, progress: float) -> None:
        """Draw whose layers this pass has. Once all are the student's, nothing is drawn."""
        rate = self.rate_at(progress)
        if rate < 1:
            draws = torch.rand(len(self._groups), generator=self._generator)
            self._kept = (draws < rate).tolist()
        else:
            self._kept = [True] * len(self._groups)
        # Not before the first pass: what is frozen when the training is set up is frozen for good in several processes
        for parameter in self._shared:
            parameter.requires_grad_(rate >= 1)

    def _hook(self, place: int) -> Any:
        def replace(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if not module.training or self._kept[place]:
                return output
            own = output[0] if isinstance(output, tuple) else output
            rest, others = args[1:], {key: value for key, value in kwargs.items() if key != "hidden_states"}
            found: Any = args[0] if args else kwargs["hidden_states"]
            for layer in self._groups[place]:
                found = layer(found[0] if isinstance(found, tuple) else found, *rest, **others)
            if place == 0 and not any(self._kept):
                # Nothing of this pass is the student's, and a loss without a gradient is an error to every trainer.
                return _with_zero_gradient(found, own)
            return found

        return replace

    def state(self) -> Mapping[str, Tensor]:
        """Where the draws are."""
        return {"generator": self._generator.get_state()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on drawing."""
        self._generator.set_state(state["generator"])

    def finish(self) -> None:
        """Leave the student plain, with nothing of the teacher."""
        while self._handles:
            self._handles.pop().remove()
        for parameter in self._shared:
            parameter.requires_grad_(True)
        self._shared, self._groups = [], []


def _with_zero_gradient(found: Any, own: Tensor) -> Any:
    """The same numbers, with a gradient of zeros for what ``own`` was computed from."""
    hidden = found[0] if isinstance(found, tuple) else found
    kept = torch.where(torch.ones((), dtype=torch.bool, device=hidden.device), hidden, own)
    return (kept, *found[1:]) if isinstance(found, tuple) else kept


def layer_groups(kept: tuple[int, ...] | None, student_layers: int, teacher_layers: int) -> list[range]:
    """The teacher's layers, counted from 1, that each student layer stands for: each in one group, in order.

    Args:
        kept: the teacher's layers that the student's were copied from, at which the groups end (the last ends with the
            teacher); None: as many in each as may be.
        student_layers, teacher_layers: how many there are.
    Raises:
        RequestError: more student layers than teacher layers.
    """
    if student_layers > teacher_layers:
        raise RequestError(
            f"theseus: a student of {student_layers} layers cannot stand for a teacher of {teacher_layers}: give it"
            f" {teacher_layers} or fewer"
        )
    fits = kept is not None and len(kept) == student_layers and kept[-1] <= teacher_layers
    ends = list(kept if fits and kept is not None else uniform_layers(student_layers, teacher_layers))
    ends[-1] = teacher_layers
    starts = [0, *ends[:-1]]
    return [range(start + 1, end + 1) for start, end in zip(starts, ends, strict=True)]


def _predecessor(training: Training) -> PreTrainedModel:
    """The teacher's model, if its layers can stand where the student's do."""
    teacher, student = training.teacher, model_info(training.student)
    if not isinstance(teacher, FrozenTeacher):
        what = "none" if teacher is None else f"a {type(teacher).__name__}"
        raise RequestError(f"theseus replaces the layers of a teacher that is one frozen model; got {what}")
    theirs = teacher.model.config
    own = training.student.config
    if (theirs.model_type, theirs.hidden_size) != (own.model_type, own.hidden_size):
        raise RequestError(
            f"theseus: the layers of {teacher.info.name} ({theirs.model_type}, {theirs.hidden_size} wide) cannot stand"
            f" in {student.name} ({own.model_type}, {own.hidden_size} wide): make the student of the teacher's layers"
        )
    model: PreTrainedModel = teacher.model
    return model
