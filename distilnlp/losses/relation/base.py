"""What the losses on the examples of a batch share: one vector for each example out of a mapped layer."""

import logging
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilnlp.errors import unknown
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.layers import LayerLoss
from distilnlp.losses.pooling import Pooling, pool
from distilnlp.outputs import Outputs

__all__ = ["RelationalLoss", "different", "warn_of_small_batch"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RelationalLoss(LayerLoss):
    """Base of losses that compare the examples of a batch with one another, one vector an example.

    A batch too small to hold a relation (the last one of an epoch may be) gives 0, with a warning the first time. Each
    model's padding is left out by its own mask.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.

    Class attributes:
        smallest_batch: how many examples hold a relation.
    """

    layer_map: LayerMap | LayerMapSpec = "final"
    pooling: Pooling = "cls"

    batch_dependent: ClassVar[bool] = True
    smallest_batch: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling not in ("cls", "mean"):
            raise unknown(f"value of pooling for {self.name}:", str(self.pooling), ("cls", "mean"))

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


@cache
def warn_of_small_batch(name: str, smallest: int) -> None:
    """Say, once for each loss, that a batch is too small to hold its relation."""
    logger.warning("%s is 0 for a batch of fewer than %d examples: it compares them with one another", name, smallest)


def different(count: int, like: Tensor) -> Tensor:
    """bool, ``(count, count)``: False where row and column are one and the same; on the device of ``like``."""
    return ~torch.eye(count, dtype=torch.bool, device=like.device)
