"""One vector for each example out of a mapped layer's hidden state: what relational and contrastive losses compare."""

import logging
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from distilnlp.errors import unknown
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import Batch, LayerLoss, require_teacher, valid_counts, without_padding
from distilnlp.outputs import Needs, Outputs

__all__ = ["PooledLoss", "Pooling", "RelationalLoss", "pool", "unit", "warn_of_small_batch"]

Pooling = Literal["cls", "mean"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PooledLoss(LayerLoss):
    """Mapped layers, compared by one vector an example; each model's padding is left out by its own mask."""

    layer_map: LayerMap | LayerMapSpec = "final"
    pooling: Pooling = "cls"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling not in ("cls", "mean"):
            raise unknown(f"value of pooling for {self.name}:", str(self.pooling), ("cls", "mean"))

    def needs_student(self) -> Needs:
        return Needs(hidden_states=frozenset(self.pairs.student))

    def needs_teacher(self) -> Needs:
        return Needs(hidden_states=frozenset(self.pairs.teacher))

    def compare(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        """The term ``()`` from ``(batch, student width)`` and ``(batch, teacher width)``; ``module``: this layer's."""
        raise NotImplementedError

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        terms = []
        for layer, teacher_layer in self.pairs:
            s = pool(student, layer, self.pooling)
            t = pool(teacher, teacher_layer, self.pooling).detach()
            terms.append(self.compare(s, t, module[str(layer)] if isinstance(module, nn.ModuleDict) else None))
        return sum(terms[1:], terms[0]) / len(terms)


@dataclass(frozen=True)
class RelationalLoss(PooledLoss):
    """Compares the examples of a batch with one another.

    A batch too small to hold a relation (the last one of an epoch may be) gives 0, with a warning the first time.
    """

    batch_dependent: ClassVar[bool] = True
    smallest_batch: ClassVar[int] = 2

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        """The term ``()`` of a batch of at least ``smallest_batch`` examples."""
        raise NotImplementedError

    def compare(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        if len(student) >= self.smallest_batch:
            return self.relate(student, teacher, module)
        warn_of_small_batch(self.name, self.smallest_batch)
        # Kept in the graph, what is learned with it included: a backward pass must find a gradient, of 0.
        learned = [] if module is None else [parameter.sum() for parameter in module.parameters()]
        return sum(learned, student.sum()) * 0.0


@cache
def warn_of_small_batch(name: str, smallest: int) -> None:
    """Say, once for each loss, that a batch is too small to hold its relation."""
    logger.warning("%s is 0 for a batch of fewer than %d examples: it compares them with one another", name, smallest)


def pool(outputs: Outputs, layer: int, pooling: Pooling) -> Tensor:
    """One vector an example, ``(batch, width)``: that of the first real token, or the mean over the real ones.

    Raises:
        RequestError: an example without any real token (NaN on an accelerator).
    """
    states = outputs.get_hidden_state(layer)  # (batch, tokens, width)
    real = outputs.token_mask(states)  # (batch, tokens)
    counts = valid_counts(real)[:, None]  # (batch, 1)
    if pooling == "mean":
        return without_padding(states, real).sum(dim=1) / counts
    # Under left padding the first token is not at position 0.
    first = real.int().argmax(dim=1)[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(1, first).squeeze(1).masked_fill(counts == 0, torch.nan)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """``vectors`` scaled to length 1 along ``dim``; a vector of zeros stays one, with a finite gradient.

    No epsilon is added to the length, so that scaling the vectors changes nothing however small they are.
    """
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    scaled: Tensor = vectors / length.where(length > 0, length.new_ones(()))
    return scaled
