"""How alike the layers of two models are, and how much room a layer's vectors take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap

__all__ = ["attention_divergence", "cka", "cka_map", "effective_rank", "proposed_layer_map"]

Floats = NDArray[np.float64]


def cka(first: ArrayLike, second: ArrayLike) -> float:
    """Linear centred kernel alignment of two sets of vectors of the same things.

    ``||Y^T X||^2 / (||X^T X|| ||Y^T Y||)`` of centred ``X`` and ``Y``, Frobenius norms. 1 for the same vectors, also
    rotated, shifted or scaled as a whole. With fewer things than a vector has numbers it is high whatever the vectors
    are: take a few hundred.

    Shapes:
        first, second: ``(things, width)``; the widths may differ.
    Ranges: 0 to 1; 0 where all vectors of one side are the same.
    Source: Kornblith et al. 2019, arXiv:1905.00414, section 3.
    Raises:
        RequestError: other shapes, fewer than 3 things, numbers that are not finite.
    """
    return float(cka_map([first], [second])[0, 0])


def cka_map(student_states: Sequence[ArrayLike], teacher_states: Sequence[ArrayLike]) -> Floats:
    """`cka` of each layer of one model with each of another, ``(student layers, teacher layers)``.

    Args:
        student_states, teacher_states: of each layer ``(things, width)``: the same things in the same order.
    Raises:
        RequestError: as `cka`, or no layers.
    """
    sides = [[_centred(states) for states in each] for each in (student_states, teacher_states)]
    counts = {len(states) for each in sides for states in each}
    if not all(sides) or len(counts) != 1:
        raise RequestError(f"cka needs layers of both models on the same things; got {sorted(counts)} things")
    own, others = ([float(np.linalg.norm(states.T @ states)) for states in each] for each in sides)
    found = np.zeros((len(own), len(others)))
    for row, first in enumerate(sides[0]):
        for column, second in enumerate(sides[1]):
            norms = own[row] * others[column]
            found[row, column] = np.linalg.norm(second.T @ first) ** 2 / norms if norms > 0 else 0.0
    return np.clip(found, 0.0, 1.0)


def proposed_layer_map(similarity: ArrayLike) -> LayerMap:
    """Which teacher layer each student layer is most like, as one map whose teacher layers rise with the student's.

    The map of all such maps with the largest sum of similarities. A start for a recipe's ``layer_map``: what is alike
    already has the least to learn, so compare it with ``uniform``.

    Args:
        similarity: ``(student layers + 1, teacher layers + 1)``, embeddings first, as hidden states are counted; the
            embeddings are left out of the map.
    Raises:
        RequestError: no layer on a side, or more student layers than teacher layers.
    """
    values = np.asarray(similarity, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2 or values.shape[0] > values.shape[1]:
        raise RequestError(
            f"a layer map needs (student layers + 1, teacher layers + 1) with no more student layers; got"
            f" {values.shape}"
        )
    values = values[1:, 1:]
    layers, width = values.shape
    best = np.full((layers, width), -np.inf)  # of maps whose last pair is this one
    before = np.zeros((layers, width), dtype=int)
    best[0] = values[0]
    for row in range(1, layers):
        for column in range(row, width):
            before[row, column] = int(best[row - 1, :column].argmax())
            best[row, column] = values[row, column] + best[row - 1, before[row, column]]
    place, chosen = int(best[-1].argmax()), []
    for row in range(layers - 1, -1, -1):
        chosen.append((row + 1, place + 1))
        place = int(before[row, place])
    return LayerMap(tuple(reversed(chosen)))


def effective_rank(states: ArrayLike) -> float:
    """How many directions a layer's vectors spread over: ``exp`` of the entropy of the normalised singular values.

    Shapes:
        states: ``(things, width)``, centred here.
    Ranges: 1 (all on one line) to the smaller of both sizes; 0 where all vectors are the same.
    Source: Roy & Vetterli 2007, The Effective Rank, EUSIPCO, definition 1.
    Raises:
        RequestError: as `cka`.
    """
    values = np.linalg.svd(_centred(states), compute_uv=False)
    total = values.sum()
    if total <= 0:
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def attention_divergence(student: ArrayLike, teacher: ArrayLike, mask: ArrayLike) -> Floats:
    """``KL(teacher || student)`` of the attention of each head of a layer with each of another's.

    Args:
        student, teacher: probabilities ``(texts, heads, tokens, tokens)``, rows of 1; the numbers of heads may differ.
        mask: ``(texts, tokens)``, 1 for a real token. Rows of other tokens do not count.
    Returns:
        ``(student heads, teacher heads)``, nats, mean over the real tokens.
    Raises:
        RequestError: other shapes, no real token.
    """
    own, others = (np.asarray(each, dtype=np.float64) for each in (student, teacher))
    real = np.asarray(mask).astype(bool)
    if own.ndim != 4 or others.ndim != 4 or own.shape[::2] != others.shape[::2] or real.shape != own.shape[::2]:
        raise RequestError(
            "attention needs (texts, heads, tokens, tokens) of both models and a mask (texts, tokens); got"
            f" {own.shape}, {others.shape} and {real.shape}"
        )
    if not real.any():
        raise RequestError("attention needs a real token: the mask has none")
    own, others = (np.moveaxis(each, 1, 2)[real] for each in (own, others))  # (real tokens, heads, tokens)
    smallest = np.finfo(np.float64).tiny
    logs = np.log(np.maximum(others, smallest))
    entropy = (others * logs).sum(axis=2).mean(axis=0)  # (teacher heads,)
    crossed = np.einsum("rtk,rsk->st", others, np.log(np.maximum(own, smallest))) / len(own)
    found: Floats = np.maximum(entropy[None, :] - crossed, 0.0)
    return found


def _centred(states: ArrayLike) -> Floats:
    values = np.asarray(states, dtype=np.float64)
    if values.ndim != 2 or len(values) < 3 or not np.isfinite(values).all():
        raise RequestError(f"at least 3 finite vectors (things, width) are needed; got {values.shape}")
    made: Floats = values - values.mean(axis=0)
    return made
