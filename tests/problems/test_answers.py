"""The measures of SQuAD, worked out by hand from its evaluation script, and the search for the best span."""

import itertools

import numpy as np
import pytest

from distilnlp.problems.answers import best_span, exact_match, normalize_answer, token_f1

NORMALISED = {
    "The  Panthers' defense!": "panthers defense",
    "an apple, a pear and THE rest": "apple pear and rest",
    "U.S.A.": "usa",
    "well-known": "wellknown",
    "Anna ate": "anna ate",  # no article within a word
    "308": "308",
    "a the an": "",
    "caf\u00e9 \u201cX\u201d": "caf\u00e9 \u201cx\u201d",  # only ASCII punctuation goes
}

GOLDEN = [  # answer, right ones, exact match, F1
    ("the Broncos", ["Broncos"], 1, 1),
    ("Denver Broncos", ["Broncos"], 0, 2 / 3),
    ("Denver Broncos", ["the Broncos", "Denver Broncos."], 1, 1),
    ("in 1990, in Rome", ["in Rome"], 0, 2 * 2 / (4 + 2)),  # "in" counts as often as both have it
    ("one two", ["three"], 0, 0),
    ("", [], 1, 1),
    ("", ["Rome"], 0, 0),
    ("Rome", [], 0, 0),
    ("the", [], 1, 1),  # nothing is left of it
    ("Rome", ["a", "Rome"], 1, 1),  # a right answer without a word does not count
    ("", ["the"], 1, 1),
]


@pytest.mark.parametrize("text", NORMALISED)
def test_an_answer_is_normalised_as_the_script_does(text: str) -> None:
    assert normalize_answer(text) == NORMALISED[text]


@pytest.mark.parametrize(("answer", "gold", "exact", "f1"), GOLDEN)
def test_an_answer_is_measured_as_the_script_does(answer: str, gold: list[str], exact: float, f1: float) -> None:
    assert exact_match(answer, gold) == exact
    assert token_f1(answer, gold) == pytest.approx(f1)


@pytest.mark.parametrize("tokens", [1, 2, 7])
@pytest.mark.parametrize("longest", [1, 3, 30])
def test_the_best_span_is_the_best_of_all_that_are_short_enough(tokens: int, longest: int) -> None:
    generator = np.random.default_rng(tokens * 100 + longest)
    logits, none = generator.normal(size=(tokens, 2)), generator.normal(size=2)
    spans = [(i, j) for i, j in itertools.product(range(tokens), repeat=2) if i <= j < i + longest]
    first, last = max(spans, key=lambda span: logits[span[0], 0] + logits[span[1], 1])
    found = best_span(logits, none, longest)
    assert found is not None
    assert (found.first, found.last) == (first, last)
    assert found.none == pytest.approx(none.sum())
    shares = np.exp(np.concatenate([logits, none[None]]))
    shares /= shares.sum(axis=0)
    assert np.exp(found.score - found.total) == pytest.approx(shares[first, 0] * shares[last, 1])


def test_an_empty_context_has_no_span() -> None:
    assert best_span(np.empty((0, 2)), np.zeros(2), 30) is None
