"""Lists and numbers that stand in a csv as text."""

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.problems.written import NumberStyle, parse_list

names = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8), max_size=4)


@given(names)
def test_a_list_is_read_back_whoever_wrote_it(labels: list[str]) -> None:
    assert parse_list(json.dumps(labels)) == labels
    written = str([label for label in labels if label.isprintable() and "\\" not in label])
    assert parse_list(written) == ast.literal_eval(written)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("['a', 'b']", ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),
        ("['a'\n 'b']", ["a", "b"]),
        ("('a',)", ["a"]),
        ("{'a', 'b'}", ["a", "b"]),
        ("[\"it's\", 'b']", ["it's", "b"]),
        ("[1 0 1]", [1, 0, 1]),
        ("[1. 0.]", [1, 0]),
        ("[True, False]", [True, False]),
        ("[]", []),
    ],
)
def test_spellings(text: str, read: list[object]) -> None:
    assert parse_list(text) == read


@pytest.mark.parametrize(
    "text", ["joy", "[URGENT]", "(1)", "{}", "{'a': 1}", "[[1], [2]]", "[1,, 2]", "['a'b]", "[None]", "['a", "", "["]
)
def test_what_is_no_list_of_names_or_numbers(text: str) -> None:
    assert parse_list(text) is None


@pytest.mark.parametrize("text", ["[" * 50_000 + "]" * 50_000, "[" + "1, " * 60_000 + "1]", "[" + "9" * 90_000 + "]"])
def test_what_is_deep_or_long_costs_nothing(text: str) -> None:
    assert parse_list(text) is None


@pytest.mark.parametrize(
    ("style", "text", "number"),
    [
        (NumberStyle(), "1.5", 1.5),
        (NumberStyle(), "1,5", None),
        (NumberStyle(",", marks=True), "1.234.567,5", 1234567.5),
        (NumberStyle(",", marks=True), "1.23,5", None),
        (NumberStyle(",", marks=True), "0.125", None),
        (NumberStyle(".", marks=True), "1'234.5", 1234.5),
        (NumberStyle(".", marks=True), "\u22121\u00a0234", -1234.0),
        (NumberStyle(".", percent=True, marks=True), "45 %", 0.45),
        (NumberStyle(".", percent=True, marks=True), "45", None),
        (NumberStyle(".", marks=True), "9" * 10_000, None),
    ],
)
def test_a_number_is_read_in_its_style_alone(style: NumberStyle, text: str, number: float | None) -> None:
    assert style.read(text) == (None if number is None else pytest.approx(number))
