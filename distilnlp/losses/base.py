"""What a loss is: a frozen dataclass that compares the student's outputs with the teacher's, and its registry."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from distilnlp.citation import Citation, source_section
from distilnlp.errors import RequestError, nearest, unknown
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = [
    "Batch",
    "Loss",
    "check_count",
    "check_positive",
    "check_same_shape",
    "check_same_tokens",
    "check_weights",
    "example_mean",
    "get_loss",
    "list_losses",
    "loss_class",
    "register_loss",
    "require_module",
    "require_teacher",
    "valid_counts",
    "without_padding",
]

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Loss:
    """Base of all losses: a pure function of two `Outputs` and the batch, with its settings as fields.

    A loss never sees a model. Before training the trainer calls, once and in this order, `resolve` (settings that
    depend on the pair of models), `needs_student` and `needs_teacher` (what is captured) and `make_module` (its
    auxiliary module, where it has parameters of its own). A loss is a mean over the examples of the batch, each
    example being a mean over its own valid tokens (or token pairs, heads and layers), so that a batch may be cut into
    micro-batches of any size and the mean weighted by their examples stays the same.

    Class attributes:
        name: the registry's name.
        uses_labels: whether ``batch["labels"]`` is read.
        uses_teacher: whether the teacher's outputs are read.
        batch_dependent: whether examples are related to one another, so that micro-batches do not add up to one batch.
        read_once: settings that are read before the first step only, so that no schedule can change them.
        syncs_device: whether numbers are brought to the CPU, so that an accelerator is waited for once a step.
        citations: where the loss was published, and how ours differs. `register_loss` writes them into the docstring.
        uncited: why there is no citation, where there is none.
    """

    name: ClassVar[str] = ""
    uses_labels: ClassVar[bool] = False
    uses_teacher: ClassVar[bool] = True
    batch_dependent: ClassVar[bool] = False
    read_once: ClassVar[frozenset[str]] = frozenset()
    syncs_device: ClassVar[bool] = False
    citations: ClassVar[tuple[Citation, ...]] = ()
    uncited: ClassVar[str] = ""

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> "Loss":
        """This loss with every setting that depends on the two models fixed.

        Raises:
            RequestError: the two models cannot be compared by this loss; says why and what to use.
        """
        return self

    def needs_student(self) -> Needs:
        """What is read of the student's outputs."""
        return Needs(logits=True)

    def needs_teacher(self) -> Needs:
        """What is read of the teacher's outputs."""
        return Needs(logits=True)

    def needs_always(self) -> Needs:
        """The part of `needs_student` that no two models change: the trainer asks for it before it knows them.

        ``words`` belong here, for texts are tokenised before the layers are known.
        """
        return Needs()

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        """The auxiliary module: parameters that are trained with the student and never saved in it. None without."""
        return None

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        """The loss ``()`` in float32.

        Args:
            student: what the student gave; gradients flow into it.
            teacher: what the teacher gave; never receives a gradient. None only where ``uses_teacher`` is False.
            batch: the batch; ``labels`` are read where ``uses_labels``.
            module: what `make_module` made.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes")


LossClass = TypeVar("LossClass", bound=type[Loss])
_REGISTRY: dict[str, type[Loss]] = {}


def register_loss(name: str) -> Callable[[LossClass], LossClass]:
    """Class decorator: put a loss into the registry under ``name``, the name that recipes use.

    Its ``citations`` become the section ``Source:`` of its docstring.

    Raises:
        ValueError: the name is taken (a meaning never changes under a name).
    """

    def register(cls: LossClass) -> LossClass:
        taken = _REGISTRY.get(name)
        # The same class defined again is a notebook's cell run twice.
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"the loss name '{name}' is taken by {taken.__module__}.{taken.__qualname__}")
        cls.name = name
        # The one place of a loss's sources is `citations`: `help` shows what is made of them.
        source = source_section(cls.citations, cls.uncited)
        cls.__doc__ = "\n".join(filter(None, (inspect.cleandoc(cls.__doc__ or ""), source)))
        _REGISTRY[name] = cls
        return cls

    return register


def list_losses() -> list[str]:
    """The names of all registered losses, sorted."""
    return sorted(_REGISTRY)


def loss_class(name: str) -> type[Loss]:
    """The class registered under ``name``. Raises RequestError with the nearest match."""
    if name not in _REGISTRY:
        raise unknown("loss", name, list_losses())
    return _REGISTRY[name]


def get_loss(name: str, **settings: object) -> Loss:
    """Make a loss by name: ``get_loss("soft_target", temperature=2.0)``.

    Raises:
        RequestError: unknown name or setting (with the nearest match), or a setting out of its range.
    """
    cls = loss_class(name)
    accepted = [field.name for field in dataclasses.fields(cls) if field.init]
    for key in settings:
        if key not in accepted:
            match = nearest(key, accepted)
            hint = f"did you mean '{match}'? " if match else ""
            raise RequestError(f"{name} has no setting '{key}': {hint}it takes {', '.join(accepted) or 'none'}")
    return cls(**settings)


def check_positive(name: str, value: float) -> None:
    """Raise RequestError unless ``value`` is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise RequestError(f"{name} must be positive and finite; got {value!r}")


def check_count(name: str, value: int) -> None:
    """Raise RequestError unless ``value`` is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(f"{name} must be a whole number of at least 1; got {value!r}")


def check_weights(loss: Loss, names: Sequence[str]) -> None:
    """Raise RequestError unless the settings ``names`` are weights of 0 or more, one of them above."""
    values = {name: vars(loss)[name] for name in names}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise RequestError(f"{name} must be at least 0 and finite; got {value!r}")
    if not any(values.values()):
        raise RequestError(f"{loss.name} needs one of {', '.join(names)} above 0: nothing would train")


Given = TypeVar("Given", Outputs, ModelInfo)


def require_teacher(name: str, teacher: Given | None) -> Given:
    """The teacher, or what is known of it. Raises RequestError where there is none."""
    if teacher is None:
        raise RequestError(f"{name} compares the student with a teacher and there is none")
    return teacher


Auxiliary = TypeVar("Auxiliary", bound=nn.Module)


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


def check_same_tokens(name: str, student: torch.Size, teacher: torch.Size) -> None:
    """Raise RequestError unless both models read as many texts of as many tokens; both sizes: ``(batch, tokens)``."""
    if student != teacher:
        raise RequestError(
            f"{name} compares tokens one by one: the student has (batch, tokens) {tuple(student)} and the teacher "
            f"{tuple(teacher)}; both must read the same tokens"
        )


def valid_counts(mask: Tensor) -> Tensor:
    """The number of valid positions of each example, ``(batch,)``.

    Raises:
        RequestError: an example without any; nothing is checked on an accelerator, where to look is to wait for it.
    """
    counts = mask.sum(dim=-1)
    if counts.device.type == "cpu" and bool((counts == 0).any()):
        raise RequestError(
            f"{int((counts == 0).sum())} of {len(counts)} examples have no valid token: nothing to learn"
        )
    return counts


def without_padding(states: Tensor, real: Tensor) -> Tensor:
    """States with 0 where there is no real token, whatever stood there: a product would leave inf or NaN.

    Args:
        states: ``(batch, tokens, width)``.
        real: bool, ``(batch, tokens)``.
    """
    return states.where(real[..., None], states.new_zeros(()))


def example_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid positions of each example, then over the examples; ``()``.

    Args:
        values: ``(batch, positions)`` one number a position.
        mask: bool, ``(batch, positions)``.
    Raises:
        RequestError: an example without any valid position (its mean would be 0 / 0). On an accelerator, where to
            look would be to wait for it, the result is NaN instead, at which the trainer stops.
    """
    counts = valid_counts(mask)
    # where, not a product: a masked position may hold inf or NaN.
    return (values.where(mask, values.new_zeros(())).sum(dim=-1) / counts).mean()
