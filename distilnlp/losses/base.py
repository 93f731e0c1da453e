"""What a loss is: a frozen dataclass that compares the student's outputs with the teacher's, and its registry."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from distilnlp.errors import RequestError, nearest, unknown
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = [
    "Batch",
    "LayerLoss",
    "Loss",
    "check_count",
    "check_positive",
    "check_same_shape",
    "check_steps",
    "check_weights",
    "example_mean",
    "get_loss",
    "list_losses",
    "loss_class",
    "register_loss",
    "require_teacher",
    "valid_counts",
    "without_padding",
]

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Loss:
    """Base of all losses: a pure function of two `Outputs` and the batch, with its settings as fields.

    A loss never sees a model. Before training the trainer calls, once and in this order, `resolve` (settings that
    depend on the pair of models), `needs_student` and `needs_teacher` (what is captured) and `make_module` (what has
    to be learned with it). A loss is a mean over the examples of the batch, each example being a mean over its own
    valid tokens (or token pairs, heads and layers), so that a batch may be cut into micro-batches of any size and the
    mean weighted by their examples stays the same.

    Class attributes:
        name: the registry's name.
        uses_labels: whether ``batch["labels"]`` is read.
        uses_teacher: whether the teacher's outputs are read.
        batch_dependent: whether examples are related to one another, so that micro-batches do not add up to one batch.
        read_once: settings that are read before the first step only, so that no schedule can change them.
        syncs_device: whether numbers are brought to the CPU, so that an accelerator is waited for once a step.
    """

    name: ClassVar[str] = ""
    uses_labels: ClassVar[bool] = False
    uses_teacher: ClassVar[bool] = True
    batch_dependent: ClassVar[bool] = False
    read_once: ClassVar[frozenset[str]] = frozenset()
    syncs_device: ClassVar[bool] = False

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

    @property
    def reads_words(self) -> bool:
        """Whether `Outputs.words` is read; texts are then tokenised with the word of each token."""
        return False

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        """Parameters that are trained with the student and never saved in it, or None."""
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


@dataclass(frozen=True)
class LayerLoss(Loss):
    """Base of losses that compare mapped layers; the mean over the pairs of the map.

    Args:
        layer_map: a name (see `LayerMap.from_spec`), or pairs ``[student layer, teacher layer]``.
    """

    layer_map: LayerMap | LayerMapSpec = "auto"

    lowest_layer: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if isinstance(self.layer_map, str):
            LayerMap.from_spec(self.layer_map, 12, 12)  # an unknown name is refused where it is written
        else:
            self._check_lowest(self.pairs)

    def _check_lowest(self, pairs: LayerMap) -> None:
        if min(min(pair) for pair in pairs) < self.lowest_layer:
            raise RequestError(
                f"{self.name} compares blocks, which are counted from {self.lowest_layer}; the layer map has "
                f"{[list(pair) for pair in pairs]}"
            )

    @property
    def pairs(self) -> LayerMap:
        """The resolved map. Raises RequestError while it is still a name."""
        if isinstance(self.layer_map, str):
            raise RequestError(
                f"the layer map '{self.layer_map}' of {self.name} depends on the two models: give pairs, "
                "or call resolve(student_info, teacher_info) first"
            )
        return LayerMap.of(self.layer_map)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> "LayerLoss":
        layers = require_teacher(self.name, teacher).layers
        pairs = LayerMap.from_spec(self.layer_map, student.layers, layers, student.kept_layers)
        self._check_lowest(pairs)
        return dataclasses.replace(self, layer_map=pairs)


LossClass = TypeVar("LossClass", bound=type[Loss])
_REGISTRY: dict[str, type[Loss]] = {}


def register_loss(name: str) -> Callable[[LossClass], LossClass]:
    """Class decorator: put a loss into the registry under ``name``, the name that recipes use.

    Raises:
        ValueError: the name is taken (a meaning never changes under a name).
    """

    def register(cls: LossClass) -> LossClass:
        taken = _REGISTRY.get(name)
        # The same class defined again is a notebook's cell run twice.
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"the loss name '{name}' is taken by {taken.__module__}.{taken.__qualname__}")
        cls.name = name
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
            raise RequestError(
                f"{name} has no setting '{key}': {hint}it takes {', '.join(accepted) or 'none'}", key=[key]
            )
    return cls(**settings)


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
    values = {name: getattr(loss, name) for name in names}
    for name, value in values.items():
        if value != 0:
            check_positive(name, value)
    if not any(values.values()):
        raise RequestError(f"{loss.name} needs one of {', '.join(names)} above 0: nothing would train")


Given = TypeVar("Given", Outputs, ModelInfo)


def require_teacher(name: str, teacher: Given | None) -> Given:
    """The teacher, or what is known of it. Raises RequestError where there is none."""
    if teacher is None:
        raise RequestError(f"{name} compares the student with a teacher and there is none")
    return teacher


def check_same_shape(what: str, student: Tensor, teacher: Tensor) -> None:
    """Raise RequestError unless the two tensors have the same shape."""
    if student.shape != teacher.shape:
        raise RequestError(
            f"{what} of student and teacher must have the same shape; got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
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


def check_steps(name: str, pairs: LayerMap, what: str) -> None:
    """Raise RequestError unless the map has a next layer for some layer."""
    if len(pairs) < 2:
        raise RequestError(
            f"{name} {what} and the layer map has one pair only, {[list(pair) for pair in pairs]}: map two layers or "
            "more"
        )
