"""Answers that stand in a text: compared as SQuAD compares them, and found among the logits of its tokens."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Found", "best_span", "exact_match", "normalize_answer", "token_f1"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))


def normalize_answer(text: str) -> str:
    """In lower case, without ASCII punctuation, the articles a, an, the, and white space that says nothing.

    Source: Rajpurkar et al. 2018, arXiv:1806.03822: the evaluation script of SQuAD 2.0.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1.0 where an answer is one of the right ones once both are normalised, else 0.0.

    Args:
        answer: empty for "there is none".
        gold: the right ones; none of them where the text has no answer.
    Source: as `normalize_answer`, as all other details of both measures.
    """
    normalized = normalize_answer(answer)
    return float(any(normalized == each for each in _normalized(gold)))


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """F1 of an answer's words with those of the right answer that it is nearest to, 0 to 1.

    Where one of both is empty they have to be equal. Args: as `exact_match`.
    """
    words = normalize_answer(answer).split()
    return max(_f1(words, each.split()) for each in _normalized(gold))


def _normalized(gold: Sequence[str]) -> list[str]:
    """The right answers that have a word; that there is none where no one has."""
    return [each for each in map(normalize_answer, gold) if each] or [""]


def _f1(words: Sequence[str], others: Sequence[str]) -> float:
    if not words or not others:
        return float(words == others)
    same = sum((Counter(words) & Counter(others)).values())
    return 2 * same / (len(words) + len(others))


@dataclass(frozen=True)
class Found:
    """The best answer in a window of a text.

    Args:
        first, last: its tokens, counted from the first of the context.
        score: the sum of the logits of its start and its end.
        none: the same of the token that stands for no answer.
        total: the logarithm of what the exponential of ``score`` is divided by for the product of the probabilities
            of start and end, each a softmax over the tokens of the context and the one for no answer.
    """

    first: int
    last: int
    score: float
    none: float
    total: float


def best_span(logits: NDArray[np.float64], none: NDArray[np.float64], longest: int) -> Found | None:
    """The span with the highest sum of start and end, out of all that are no longer than ``longest`` tokens.

    Args:
        logits: of the tokens of the context, ``(tokens, 2)``: start and end.
        none: of the token that stands for no answer, ``(2,)``.
        longest: tokens, 1 or more.
    Returns:
        None where there are no tokens.
    """
    if not len(logits):
        return None
    longest = min(longest, len(logits))
    ends = np.concatenate([logits[:, 1], np.full(longest - 1, -np.inf)])
    sums = logits[:, :1] + np.lib.stride_tricks.sliding_window_view(ends, longest)  # (tokens, lengths)
    first, more = divmod(int(sums.argmax()), longest)
    every = np.concatenate([logits, none[None]])
    highest = every.max(axis=0)
    total = float((highest + np.log(np.exp(every - highest).sum(axis=0))).sum())
    return Found(first, first + more, float(sums[first, more]), float(none.sum()), total)
