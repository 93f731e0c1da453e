"""What a loss is, a frozen dataclass that compares two models' outputs; the registry; means over real tokens."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from distilnlp.citation import Citation, source_section, with_settings
from distilnlp.errors import RequestError, nearest, unknown
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = [
    "Batch",
    "Loss",
    "batch_mean",
    "example_mean",
    "get_loss",
    "list_losses",
    "loss_class",
    "register_loss",
    "token_mean",
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
        by_token: whether what the models have for each token is compared, as with hidden states of all tokens: of
            models that read other tokens it then gets what they have for each piece of text that both cut alike. False
            where a text has one vector or one row of logits of each model, or each word one row: these are compared
            as they are.
        weighs_examples: whether each example counts as often as ``student.weights`` says. Where the data have weights,
            a loss that does not know them is refused.
        teacher_knows_first: whether the teacher may have fewer labels, the first of the student's.
        batch_dependent: whether examples are related to one another, so that micro-batches do not add up to one batch.
        read_once: settings that are read before the first step only, so that no schedule can change them.
        syncs_device: whether numbers are brought to the CPU, so that an accelerator is waited for once a step.
        citations: where the loss was published, and how ours differs. `register_loss` writes them into the docstring.
        uncited: why there is no citation, where there is none.
    """

    name: ClassVar[str] = ""
    uses_labels: ClassVar[bool] = False
    uses_teacher: ClassVar[bool] = True
    by_token: ClassVar[bool] = True
    weighs_examples: ClassVar[bool] = False
    teacher_knows_first: ClassVar[bool] = False
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

    @property
    def reads_labels(self) -> bool:
        """Whether ``batch["labels"]`` is read, as it always is or by a setting."""
        return self.uses_labels

    @property
    def names_labels(self) -> bool:
        """Whether a setting names labels of the task (see `with_label_names`)."""
        return False

    def with_label_names(self, names: Sequence[str]) -> "Loss":
        """This loss with every label that a setting names as its place among ``names``.

        Raises:
            RequestError: a setting names a label that is not there.
        """
        return self

    @property
    def counts_labels(self) -> bool:
        """Whether a setting depends on how often each label holds in the training data (see `with_label_counts`)."""
        return False

    @property
    def scales_by_counts(self) -> bool:
        """Whether a setting is scaled by these counts where the data can be counted, and means something without."""
        return False

    def with_label_counts(self, positives: Sequence[int], rows: int) -> "Loss":
        """This loss with every setting fixed that depends on the labels of the training data.

        Args:
            positives: in how many of the training rows each label holds, in the order of the logits.
            rows: how many there are.
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

    Its ``citations`` become the section ``Source:`` of its docstring, and the settings that a base has for many losses
    (fields that are ``kw_only``) the last of ``Args:``, as the base tells of them.

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
        cls.__doc__ = "\n".join(filter(None, (_with_inherited_settings(cls), source)))
        _REGISTRY[name] = cls
        return cls

    return register


def _with_inherited_settings(cls: type[Loss]) -> str:
    """The docstring of a loss, with the settings of its bases that it does not tell of itself."""
    told = [inspect.cleandoc(base.__doc__ or "") for base in cls.__mro__[1:] if issubclass(base, Loss)]
    return with_settings(
        inspect.cleandoc(cls.__doc__ or ""), told, [each.name for each in dataclasses.fields(cls) if each.kw_only]
    )


def list_losses() -> list[str]:
    """The names of all registered losses, sorted."""
    return sorted(_REGISTRY)


def loss_of_entry(name: str) -> str:
    """The loss that an entry of a recipe's objective is of: ``hidden_state_2`` is one more ``hidden_state``."""
    before, _, number = name.rpartition("_")
    again = name not in _REGISTRY and before in _REGISTRY and number.isdecimal() and int(number) > 1
    return before if again else name


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


def example_mean(values: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over the valid positions of each example, then over the examples; ``()``.

    Args:
        values: ``(batch, positions)`` one number a position.
        mask: bool, ``(batch, positions)``.
        weights: as for `batch_mean`.
    Raises:
        RequestError: as `token_mean`.
    """
    return batch_mean(token_mean(values, mask), weights)


def batch_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the examples of ``weight * value``, ``()``.

    It is not divided by the weights of the batch, whose mean over the training data is 1: so a batch cut into smaller
    ones has the same mean.

    Args:
        values: ``(batch,)``, one number an example.
        weights: ``(batch,)``, those of `Outputs`; None means 1 each.
    Raises:
        RequestError: values of another shape than the weights.
    """
    if weights is None:
        return values.mean()
    if values.shape != weights.shape:
        raise RequestError(
            f"weights {tuple(weights.shape)} are for one number an example; the loss gave {tuple(values.shape)}"
        )
    return (values * weights.to(values)).mean()


def token_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid positions of each example, ``(batch,)``.

    Args:
        values: ``(batch, positions)`` one number a position.
        mask: bool, ``(batch, positions)``.
    Raises:
        RequestError: an example without any valid position (its mean would be 0 / 0). On an accelerator, where to
            look would be to wait for it, the result is NaN instead, at which the trainer stops.
    """
    counts = valid_counts(mask)
    # where, not a product: a masked position may hold inf or NaN.
    return values.where(mask, values.new_zeros(())).sum(dim=-1) / counts
