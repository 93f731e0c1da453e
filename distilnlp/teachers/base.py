"""What a teacher is: anything that answers a batch with `Outputs`."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, device
from transformers import PreTrainedTokenizerBase

from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.registry import Registry

__all__ = ["TEACHERS", "Cacheable", "Scheme", "Teacher", "register_teacher"]


@runtime_checkable
class Teacher(Protocol):
    """A frozen model, or whatever else knows the answers.

    Attributes:
        info: its sizes.
        tokenizer: what its inputs are made with; None if unknown.
        columns: the names of the inputs it reads.
        label_names: its classes in the order of its logits; None where it does not tell.
    """

    info: ModelInfo
    tokenizer: PreTrainedTokenizerBase | None
    columns: frozenset[str]
    label_names: tuple[str, ...] | None

    def prepare(self, where: device, needs: Needs) -> None:
        """Called once before training: go to the device, make ready to give what is needed."""

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """From now on give logit ``order[i]`` as the i-th."""

    def release(self) -> None:
        """Called when the training is over or broken off: let go of what `prepare` took."""

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """The outputs for a batch, without any gradient."""


@runtime_checkable
class Cacheable(Teacher, Protocol):
    """A teacher that gives the same answer to the same text for ever, so that its answers may be kept on disk.

    Attributes:
        needs: what it was prepared to give.
        device: where it answers.
    """

    needs: Needs
    device: device

    def fingerprint(self) -> str | None:
        """A digest of everything in the teacher that its answers depend on: another answer, another digest.

        Asked when it is prepared. None: as it is set up, it may answer otherwise the next time.
        """


class Scheme(Protocol):
    """What the class of a registered kind of teacher says beside what its teachers do.

    Attributes:
        of_others: whether its constructor takes, first and by position alone, the teachers that it is made of.
    """

    of_others: ClassVar[bool]

    @staticmethod
    def info_of(student: ModelInfo, others: Sequence[ModelInfo]) -> ModelInfo:
        """The sizes of a teacher of this kind, before it is made.

        Args:
            student: of whom it teaches.
            others: of the teachers that it is made of.
        Raises:
            RequestError: it cannot be made of these.
        """
        ...


# By the name that a recipe gives as the ``kind`` of a teacher.
TEACHERS: Registry[Any] = Registry("kind of teacher")
register_teacher = TEACHERS.register
