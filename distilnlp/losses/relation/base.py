"""What the losses on the examples of a batch share: one vector for each example out of a mapped layer."""

import logging
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError, unknown
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import Batch
from distilnlp.losses.checks import require_teacher
from distilnlp.losses.layers import LayerLoss
from distilnlp.losses.pooling import Pooling, pool
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["On", "RelationalLoss", "different", "vector_width", "warn_of_small_batch"]

On = Literal["layers", "logits"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RelationalLoss(LayerLoss):
    """Base of losses that compare the examples of a batch with one another, one vector an example.

    A batch too small to hold a relation (the last one of an epoch may be) gives 0, with a warning the first time. Each
    model's padding is left out by its own mask.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``: the vectors are of mapped layers; ``logits``: they are what the models give a text, as a
            sentence encoder does, and neither layers nor pooling are read.

    Class attributes:
        smallest_batch: how many examples hold a relation.
    """

    layer_map: LayerMap | LayerMapSpec = "final"
    pooling: Pooling = "cls"
    on: On = field(default="layers", kw_only=True)

    batch_dependent: ClassVar[bool] = True
    by_token: ClassVar[bool] = False
    smallest_batch: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling not in ("cls", "mean"):
            raise unknown(f"value of pooling for {self.name}:", str(self.pooling), ("cls", "mean"))
        if self.on not in ("layers", "logits"):
            raise unknown(f"value of on for {self.name}:", str(self.on), ("layers", "logits"))

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        require_teacher(self.name, teacher)
        if self.on == "layers":
            return super().resolve(student, teacher)
        if student.problem.rows != "text":
            raise RequestError(
                f"{self.name} with on='logits' takes one row of logits a text, and {student.problem.name} has several:"
                " leave out on"
            )
        return self

    def needs_student(self) -> Needs:
        return super().needs_student() if self.on == "layers" else self.needs_always() | Needs(logits=True)

    def needs_teacher(self) -> Needs:
        return super().needs_teacher() if self.on == "layers" else Needs(logits=True)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        if self.on == "layers":
            return super().__call__(student, teacher, batch, module)
        z_s, z_t = student.get_logits(), require_teacher(self.name, teacher).get_logits().detach()
        if z_s.ndim != 2 or len(z_s) != len(z_t):
            raise RequestError(
                f"{self.name} with on='logits' takes one row of logits a text, (batch, logits); got "
                f"{tuple(z_s.shape)} and {tuple(z_t.shape)}"
            )
        own = module["logits"] if isinstance(module, nn.ModuleDict) else None
        return self.compare(z_s, z_t, own)

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        """The term ``()`` of a batch of at least ``smallest_batch`` examples.

        Args:
            student: ``(batch, student width)``.
            teacher: ``(batch, teacher width)``.
            module: the auxiliary module of this layer.
        """
        raise NotImplementedError

    def compare(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        """The same, of a batch of any size."""
        if len(student) >= self.smallest_batch:
            return self.relate(student, teacher, module)
        warn_of_small_batch(self.name, self.smallest_batch)
        # Kept in the graph, the auxiliary module included: a backward pass must find a gradient, of 0.
        auxiliary = [] if module is None else [parameter.sum() for parameter in module.parameters()]
        return sum(auxiliary, student.sum()) * 0.0

    def layer_term(
        self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, module: nn.Module | None
    ) -> Tensor:
        s = pool(student, layer, self.pooling)  # (batch, student width)
        t = pool(teacher, teacher_layer, self.pooling).detach()  # (batch, teacher width)
        return self.compare(s, t, module)


def vector_width(model: ModelInfo, on: On) -> int:
    """How wide the compared vectors of a model are."""
    return model.width if on == "layers" else model.num_logits


@cache
def warn_of_small_batch(name: str, smallest: int) -> None:
    """Say, once for each loss, that a batch is too small to hold its relation."""
    logger.warning("%s is 0 for a batch of fewer than %d examples: it compares them with one another", name, smallest)


def different(count: int, like: Tensor) -> Tensor:
    """bool, ``(count, count)``: False where row and column are one and the same; on the device of ``like``."""
    return ~torch.eye(count, dtype=torch.bool, device=like.device)
