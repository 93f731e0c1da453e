"""YAML by the rules of version 1.2: what is read, what is refused and where, and that writing gives it back."""

import time

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distilnlp.errors import RequestError
from distilnlp.yaml_text import read_yaml, write_yaml

LINES = "a: 1\nb: "


def value(text: str):
    return read_yaml(f"a: {text}", "r.yaml")[0]["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("010", 10),  # 8 in YAML 1.1
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1:30", "1:30"),  # 90 in YAML 1.1
        ("1_000", "1_000"),  # 1000 in YAML 1.1
        ("0b11", "0b11"),  # 3 in YAML 1.1
        ("yes", "yes"),  # True in YAML 1.1, as the next three
        ("No", "No"),
        ("on", "on"),
        ("y", "y"),
        ("TRUE", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("5e-5", 5e-5),  # text in YAML 1.1
        ("1.5E+3", 1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
        ("2024-01-02", "2024-01-02"),  # a date in YAML 1.1
        ("=", "="),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("[1, two]", [1, "two"]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, expected):
    got = value(text)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "line 2: not valid YAML"),
        ("[" * 500 + "]" * 500, "line 2: not valid YAML: more than 50 levels"),
        ("&x [*x]", "line 2: more than 10000 values, or an alias that holds itself"),
        ("&x {<<: *x}", "line 2: more than"),
        ("*nothing", "line 2: not valid YAML: found undefined alias"),
        ("{<<: 5}", "line 2: '<<' takes the keys of a mapping"),
        ("{<<: [{c: 1}, x]}", "line 2: '<<' takes the keys of a mapping"),
        ("!!bool maybe", "line 2: only text, numbers"),
        ("!!int x", "line 2: only text, numbers"),
        ("!!binary aGk=", "line 2: only text, numbers"),
        ("!!set {c}", "line 2: only text, numbers"),
        ("!!python/name:os.getcwd ''", "line 2: only text, numbers"),
        ("9" * 5000, "line 2: a number of 5000 digits"),
        ("{c: 1, c: 2}", "line 2: key 'c' stands twice; the first is at r.yaml line 2"),
        ("{1: c}", "line 2: a key should be a word"),
        ("{null: c}", "line 2: a key should be a word"),
        ("{true: c}", "line 2: a key should be a word"),
        ("{[c]: c}", "line 2: a key should be a word"),
        ("\x01", "line 2: not valid YAML: the character 0x1 cannot stand in it"),
        ('"\\UFFFFFFFF"', ": not valid YAML"),
        ("1\n--- 2", "line 3: not valid YAML"),
        ("x" * 1_000_001, ": 1000009 characters"),
    ],
)
def test_what_a_recipe_cannot_hold_is_refused_with_its_line(text, message):
    with pytest.raises(RequestError) as caught:
        read_yaml(LINES + text, "r.yaml")
    assert str(caught.value).removeprefix("r.yaml").lstrip().startswith(message.lstrip())
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("bomb", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_that_multiply_are_cut_off_at_once(bomb):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {bomb.format(', '.join([f'*a{i - 1}'] * 10))}" for i in range(1, 12)]
    started = time.monotonic()
    with pytest.raises(RequestError, match="more than 10000 values"):
        read_yaml("\n".join(lines), "r.yaml")
    assert time.monotonic() - started < 10


def test_merge_keys_give_way_to_own_keys_and_to_earlier_ones():
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 5, z: 6}\nc: {y: 3, <<: *a}\nd: {<<: [*a, *b]}\ne: {'<<': 1}"
    values = read_yaml(text, "r.yaml")[0]
    assert values["c"] == {"x": 1, "y": 3}
    assert values["d"] == {"x": 1, "y": 2, "z": 6}
    assert values["e"] == {"<<": 1}


def test_each_value_knows_its_line():
    places = read_yaml("a:\n  b: 1\n  c:\n  - 2\n", "r.yaml", ("top",))[1]
    assert places[("top", "a", "b")] == "r.yaml line 2"
    assert places[("top", "a", "c", 0)] == "r.yaml line 4"


LIKE_NUMBERS = st.from_regex(r"\A[-+0-9._:exoEinfaNyT~<=]{1,8}\Z")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | LIKE_NUMBERS
    | st.text(st.characters(exclude_categories=["Cs"]))
)
KEYS = LIKE_NUMBERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@pytest.mark.slow
@settings(max_examples=300)
@example(["\x85", " \u2028x", {"\u2029": "\ufeff"}, "\n\x85 a"])
@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)))
def test_what_is_written_is_read_back_as_it_was(values):
    """Also by readers of YAML 1.1, which other programs are: `5e-5` is text there, `1:30` a number."""
    text = write_yaml(values)
    assert read_yaml(text, "r.yaml")[0] == values
    assert yaml.safe_load(text) == values


@given(st.text(st.sampled_from("ab01:-?[]{},&*!|>'\"%@#<.~\\Ux \n\t\r\x00\ud800\u2028"), max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text):
    said = "r.yaml"
    try:
        read_yaml(text, "r.yaml")
    except RequestError as error:
        said = str(error)
    assert said.startswith("r.yaml")
    assert "\n" not in said
