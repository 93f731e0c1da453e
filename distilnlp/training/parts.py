"""The parts of a training together: their auxiliary modules, their files, and when they are told of what."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distilnlp.errors import RequestError
from distilnlp.part import Part, Training

__all__ = ["PREFIX", "Parts"]

PREFIX = "distilnlp_"  # of a part's file in a checkpoint, and of its auxiliary modules as a child of the student


class Parts(TrainerCallback):
    """All parts of a trainer, and what they have in common: auxiliary modules, files, the end of a step.

    Args:
        parts: attached in this order.
    Raises:
        RequestError: two of one name, which would write one file; one that leaves something beside the student, and
            another that may give the student weights which that was not learned with, or that do not fit it any more;
            two that freeze weights.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        names = [part.name for part in parts]
        if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
            raise RequestError(
                f"the parts of a training are told apart by name; got {', '.join(names)}: give each a name of its "
                "own, of letters, digits and underscores"
            )
        self.parts = tuple(parts)
        freezing = [part.name for part in parts if part.freezes]
        if len(freezing) > 1:
            raise RequestError(
                f"{' and '.join(freezing)} take weights of the student out of the training, and each would undo what"
                " the other does: leave one of them out"
            )
        offering = [part.name for part in parts if type(part).candidates is not Part.candidates]
        if offering and self.published:
            raise RequestError(
                f"{offering[0]} may give the student other weights when the training is over, and"
                f" {self.published[0].name} leaves beside it what was learned with its own: leave one of the two out"
            )
        reshaping = [part.name for part in parts if part.reshapes]
        if offering and reshaping:
            raise RequestError(
                f"{reshaping[0]} leaves a student with fewer weights, and {offering[0]} may give it others as they "
                "were before: leave one of the two out"
            )
        self.attached = False
        self._begun: list[Part] = []
        self._model: nn.Module | None = None
        self._handles: list[RemovableHandle] = []

    def attach(self, training: Training) -> None:
        """Attach every part, and make its auxiliary modules a child of the model."""
        self.finish()
        self._model = training.model
        # Whoever saves or loads the model's weights meets a plain model.
        self._handles = [
            training.model.register_state_dict_post_hook(_leave_out),
            training.model.register_load_state_dict_post_hook(_not_missed),
        ]
        for part in self.parts:
            self._begun.append(part)
            part.attach(training)
            if part.auxiliary_modules is not None and part.auxiliary_modules.state_dict():
                training.model.add_module(PREFIX + part.name, part.auxiliary_modules)
        self.attached = True

    def finish(self) -> None:
        """Give back a plain model, whatever has happened."""
        self.attached = False
        while self._begun:
            part = self._begun.pop()
            child = PREFIX + part.name
            if self._model is not None and child in dict(self._model.named_children()):
                delattr(self._model, child)
            part.finish()
        while self._handles:
            self._handles.pop().remove()
        self._model = None

    @property
    def trained(self) -> list[str]:
        """The names of the parts whose auxiliary modules have parameters, once they are attached."""
        modules = {part.name: part.auxiliary_modules for part in self.parts}
        return [name for name, each in modules.items() if each is not None and any(True for _ in each.parameters())]

    @property
    def use_teacher(self) -> bool:
        """Whether any part reads the teacher's outputs."""
        return any(part.uses_teacher for part in self.parts)

    def on_pass(self, progress: float) -> None:
        """Tell the parts of a forward pass in training that begins."""
        for part in self.parts:
            part.on_pass(progress)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the parts of a step, unless fp16 left it out because a gradient overflowed."""
        if self.attached and not kwargs["optimizer"].step_was_skipped:
            for part in self.parts:
                part.on_step(state.global_step / state.max_steps)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the parts of an evaluation while the student learns, and of none that is asked for afterwards."""
        if self.attached:
            for part in self.parts:
                part.on_evaluate(kwargs["metrics"])

    def without(self, *others: object) -> tuple[Part, ...]:
        """All but these."""
        return tuple(part for part in self.parts if not any(part is other for other in others))

    def candidates(self) -> dict[str, Mapping[str, Tensor]]:
        """The weights that the student may end with in place of its own, by a name for each."""
        return {name: weights for part in self.parts for name, weights in part.candidates().items()}

    def publish(self, folder: Path) -> None:
        """Let each part add to a model's folder what it leaves beside it, once the training is over."""
        if not self.attached:
            for part in self.parts:
                part.publish(folder)

    @property
    def published(self) -> tuple[Part, ...]:
        """Those that leave something beside the model, which has to be of the same step."""
        return tuple(part for part in self.parts if type(part).publish is not Part.publish)

    def save(self, checkpoint: Path, *, resumable: bool = True) -> None:
        """Write the state of each part that has one into a checkpoint's folder.

        Args:
            resumable: whether a training is to go on from there; else only of those that are `published`.
        """
        for part in self.parts if resumable else self.published:
            tensors = {name: tensor.detach().contiguous() for name, tensor in part.state().items()}
            if tensors:
                save_file(tensors, str(checkpoint / _file_of(part)))

    def load(self, checkpoint: Path, *, best: bool = False) -> None:
        """Take up the state of each part from a checkpoint's folder.

        Args:
            best: only of those that are `published`, for the model that is kept is the checkpoint's.
        Raises:
            RequestError: the checkpoint is of other parts.
        """
        for part in self.published if best else self.parts:
            expected, path = part.state(), checkpoint / _file_of(part)
            if not expected:
                continue
            if not path.is_file():
                raise RequestError(
                    f"the checkpoint {checkpoint} lacks {path.name}: it is of another objective or teacher; resume "
                    "with those that it was made with, or begin anew"
                )
            found = load_file(str(path))
            other = {name for name in {*expected, *found} if _shape(expected, name) != _shape(found, name)}
            if other:
                raise RequestError(
                    f"{min(other)} in {path} has not the shape that the training needs: the checkpoint is of another "
                    "objective, teacher or student; resume with those that it was made with, or begin anew"
                )
            part.load_state(found)


def _file_of(part: Part) -> str:
    return f"{PREFIX}{part.name}.safetensors"


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _leave_out(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    for key in [key for key in state if key.startswith(prefix + PREFIX)]:
        del state[key]


def _not_missed(module: nn.Module, keys: Any) -> None:
    """A hook of torch: ``missing_keys`` are told in full, and only those of the model itself are missed."""
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.startswith(PREFIX) and f".{PREFIX}" not in key]
