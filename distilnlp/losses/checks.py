"""What losses refuse: settings that mean nothing, and models that cannot be compared."""

import math
from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses.base import Loss
from distilnlp.outputs import ModelInfo, Outputs

__all__ = [
    "check_count",
    "check_positive",
    "check_same_shape",
    "check_same_tokens",
    "check_weights",
    "require_module",
    "require_teacher",
]

Given = TypeVar("Given", Outputs, ModelInfo)
Auxiliary = TypeVar("Auxiliary", bound=nn.Module)


def check_positive(name: str, value: float, key: Sequence[str] | None = None) -> None:
    """Raise RequestError unless ``value`` is a positive, finite number; ``key``: default: the name."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise RequestError(f"{name} must be positive and finite; got {value!r}", [name] if key is None else key)


def check_count(name: str, value: int) -> None:
    """Raise RequestError unless ``value`` is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(f"{name} must be a whole number of at least 1; got {value!r}", key=[name])


def check_weights(loss: Loss, names: Sequence[str]) -> None:
    """Raise RequestError unless the settings ``names`` are weights of 0 or more, one of them above."""
    values = {name: vars(loss)[name] for name in names}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise RequestError(f"{name} must be at least 0 and finite; got {value!r}", key=[name])
    if not any(values.values()):
        raise RequestError(f"{loss.name} needs one of {', '.join(names)} above 0: nothing would train")


def require_teacher(name: str, teacher: Given | None) -> Given:
    """The teacher, or what is known of it. Raises RequestError where there is none."""
    if teacher is None:
        raise RequestError(f"{name} compares the student with a teacher and there is none")
    return teacher


def require_module(name: str, module: nn.Module | None, kind: type[Auxiliary]) -> Auxiliary:
    """The auxiliary module, of the ``kind`` that the loss makes. Raises RequestError where there is none."""
    if not isinstance(module, kind):
        raise RequestError(f"{name} needs its auxiliary module: pass the one that make_module() gives")
    return module


def check_same_shape(what: str, student: Tensor, teacher: Tensor) -> None:
    """Raise RequestError unless the two tensors have the same shape."""
    if student.shape != teacher.shape:
        raise RequestError(
            f"{what} of student and teacher must have the same shape; got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )


def check_same_tokens(name: str, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    """Raise RequestError unless both models read as many texts of as many tokens; both sizes: ``(batch, tokens)``."""
    if student != teacher:
        raise RequestError(
            f"{name} compares tokens one by one: the student has (batch, tokens) {tuple(student)} and the teacher "
            f"{tuple(teacher)}; both must read the same tokens"
        )
