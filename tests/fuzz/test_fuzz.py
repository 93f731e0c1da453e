"""Whatever is asked, the answer is success, `RequestError` or `RunError`; `make fuzz` asks thousands of cases."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilnlp.recipe import make_recipe
from distilnlp.run.plan import make_plan
from tests.fuzz.answers import KINDS, Case, ask
from tests.fuzz.kinds import KINDS_OF_CASES, Fuzzer
from tests.fuzz.mutate import paths_of
from tests.fuzz.recipes import whole

CASES = {"recipe": 100, "set": 80, "data": 80, "form": 120, "folder": 80, "command": 60, "training": 10}


@pytest.fixture(scope="module")
def fuzzer():
    with Fuzzer() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS_OF_CASES)
def test_no_case_ends_in_anothers_exception(fuzzer, kind):
    answers = [(seed, *fuzzer.ask(kind, seed)) for seed in range(CASES[kind])]
    unexpected = [
        f"python -m tests.fuzz --kind {kind} --seed {seed}: {case.what}\n{answer.line}"
        for seed, case, answer in answers
        if answer.kind == "unexpected"
    ]
    assert unexpected == []
    # Cases of which none works, or none is wrong, would test the one check that they all meet first.
    assert {"success", "request"} <= {answer.kind for _, _, answer in answers}


NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 2**32, 0.5])
WORDS = st.text(max_size=8) | st.sampled_from(["no", "teacher", "epoch", "none", "../x", "adamw_torch"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
PLACES = sorted(paths_of(whole("films.csv", "a/b")), key=str)


@given(place=st.sampled_from(PLACES), value=VALUES)
@settings(max_examples=150)
def test_any_value_at_any_key_of_a_recipe_is_taken_or_refused(place, value):
    values: Any = whole("films.csv", "a/b")
    holder = values
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    answer = ask(Case("", lambda: make_plan(make_recipe(values, name="films"))), seconds=20)
    assert answer.kind in ("success", "request"), answer.line


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: None, "success"),
        (lambda: make_recipe({}, name="x"), "request"),
        (lambda: 1 / 0, "unexpected"),
        (lambda: Path("/nothing").read_bytes(), "unexpected"),
        (lambda: [None for _ in iter(int, 1)], "unexpected"),
    ],
)
def test_an_answer_is_told_by_what_its_user_would_see(call, kind):
    answer = ask(Case("", call), seconds=1)
    assert answer.kind in KINDS and answer.kind == kind


def test_a_seed_gives_its_case_again(fuzzer):
    for kind in KINDS_OF_CASES:
        chosen = [fuzzer.make(kind, seed).what for seed in (1, 2, 1)]
        assert chosen[0] == chosen[2]
