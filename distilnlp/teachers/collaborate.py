"""One target for several models that learn together, made of the logits of all and the labels."""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["COMBINATIONS", "Combination", "linear", "min_logit", "naive"]

Combination = Literal["naive", "linear", "min_logit"]

# Of the search for the best mixture: directions that are tried, and halvings of the way along each. Of two models one
# direction is all.
_DIRECTIONS, _HALVINGS = 16, 30


def naive(logits: Tensor, labels: Tensor) -> Tensor:
    """For each example the logits of the model with the least cross-entropy, ``(batch, classes)``.

    Args:
        logits: of all models, ``(models, batch, classes)``, float.
        labels: ``(batch,)``, int64.
    """
    best = _cross_entropies(logits, labels).argmin(dim=0)  # (batch,)
    return logits[best, torch.arange(logits.shape[1], device=logits.device)]


def linear(logits: Tensor, labels: Tensor) -> Tensor:
    """For each example the mixture of the models' logits, of weights >= 0 that sum to 1, of least cross-entropy.

    Cross-entropy is convex in the weights: from the best model the search goes towards the model in whose direction it
    falls fastest, as far as it falls, and so on (Frank-Wolfe). It never gets worse than `naive`.

    Args:
        logits, labels: as for `naive`.
    """
    mixed = naive(logits, labels)
    for _ in range(1 if len(logits) == 2 else _DIRECTIONS):
        # The derivative of the cross-entropy by the step towards each model, (models, batch)
        slopes = ((mixed.softmax(dim=-1) - F.one_hot(labels, mixed.shape[-1])) * (logits - mixed)).sum(dim=-1)
        way = logits[slopes.argmin(dim=0), torch.arange(len(labels), device=labels.device)] - mixed
        low, high = torch.zeros_like(mixed[:, :1]), torch.ones_like(mixed[:, :1])  # (batch, 1)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            falls = _slope(mixed + middle * way, way, labels) <= 0
            low, high = torch.where(falls, middle, low), torch.where(falls, high, middle)
        mixed = mixed + low * way
    return mixed


def min_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """For each class the least of the models' logits, counted from that of the label, ``(batch, classes)``.

    Its cross-entropy is at most that of any of the models.

    Args:
        logits, labels: as for `naive`.
    """
    own = logits.gather(-1, labels.expand(len(logits), -1)[..., None])  # (models, batch, 1)
    return (logits - own).amin(dim=0)


COMBINATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = dict(
    zip(get_args(Combination), (naive, linear, min_logit), strict=True)
)


def _cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each model and example, ``(models, batch)``."""
    return torch.stack([F.cross_entropy(each, labels, reduction="none") for each in logits])


def _slope(at: Tensor, way: Tensor, labels: Tensor) -> Tensor:
    """The derivative of the cross-entropy along a way, ``(batch, 1)``."""
    return ((at.softmax(dim=-1) - F.one_hot(labels, at.shape[-1])) * way).sum(dim=-1, keepdim=True)
