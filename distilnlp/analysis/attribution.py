"""Whether two models answer by the same tokens of a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import hypergeom

from distilnlp.errors import RequestError

__all__ = ["chance_overlap", "top_overlap"]


def top_overlap(first: Sequence[ArrayLike], second: Sequence[ArrayLike], share: float = 0.2) -> float:
    """Of the tokens that count most for one model and for another, how many are the same: intersection over union.

    Args:
        first, second: of each text ``(tokens,)``: how much each token counts, of which the sign is not looked at; the
            same tokens in the same order.
        share: of a text's tokens, above 0 and at most 1, that are its most important; one at least.
    Ranges: 0 to 1, the mean of the texts; 1 for a model with itself. `chance_overlap` is that of tokens drawn by lot.
    Source: Cheng et al. 2020, arXiv:2003.03622, who count what a network reads in pictures (its knowledge points) by
        the entropy of its input; here a token is what is read, and how much it counts is given.
    Raises:
        RequestError: no texts, other tokens, or a share outside of its range.
    """
    if not 0 < share <= 1:
        raise RequestError(f"share is {share:g}: the most important tokens are a share above 0 and at most 1")
    pairs = [(np.abs(np.asarray(a, float)), np.abs(np.asarray(b, float))) for a, b in zip(first, second, strict=True)]
    if not pairs or any(a.shape != b.shape or a.ndim != 1 or not len(a) for a, b in pairs):
        raise RequestError("an overlap needs texts of at least one token, each with as many tokens on both sides")
    found = []
    for own, other in pairs:
        most = _most(len(own), share)
        # Of equal ones the first: a model overlaps with itself whatever its ties.
        tops = [set(np.argsort(-each, kind="stable")[:most].tolist()) for each in (own, other)]
        found.append(len(tops[0] & tops[1]) / len(tops[0] | tops[1]))
    return float(np.mean(found))


def chance_overlap(tokens: Sequence[int], share: float = 0.2) -> float:
    """What `top_overlap` is on average where the most important tokens of both are drawn by lot.

    Args:
        tokens: of each text, how many.
        share: as there.
    """
    found = []
    for count in tokens:
        most = _most(count, share)
        both = np.arange(most + 1)
        found.append(float((hypergeom(count, most, most).pmf(both) * both / (2 * most - both)).sum()))
    return float(np.mean(found))


def _most(tokens: int, share: float) -> int:
    return max(1, round(tokens * share))
