"""YAML with lines: what is read, what is refused, where messages point."""

from pathlib import Path

import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe.source import (
    Document,
    find_recipe,
    merge,
    parse_document,
    read_document,
    set_value,
    shipped_recipes,
)

TEXT = """\
data:
  task: mrpc
stages:
  one: {model: x, training: {seed: 1}}
  two:
    model: y
"""


def document(text: str = TEXT, name: str = "r.yaml") -> Document:
    return parse_document(text, name)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),  # text in YAML 1.1
        ("1.5E+3", 1500.0),
        ("no", "no"),  # False in YAML 1.1, and a value of save_strategy
        ("off", "off"),
        ("true", True),
        ("2024-01-02", "2024-01-02"),  # a date in YAML 1.1
        ("12", 12),
        ("null", None),
        ("[1, two]", [1, "two"]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    got = document(f"a: {text}").values["a"]
    assert got == value
    assert type(got) is type(value)


def test_each_value_knows_its_line():
    places = document().places
    assert places[("data", "task")] == "r.yaml line 2"
    assert places[("stages", "one", "training", "seed")] == "r.yaml line 4"
    assert places[("stages", "two")] == "r.yaml line 5"


def test_a_path_that_is_not_there_is_placed_at_what_is_around_it():
    assert document().place(("stages", "two", "training", "seed")) == "r.yaml line 5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [", "r.yaml line 2: not valid YAML"),
        ("a: 1\na: 2", "r.yaml line 2: key 'a' stands twice; the first is at r.yaml line 1"),
        ("- 1", "r.yaml line 1: should be keys and values"),
        ("", "r.yaml: empty"),
        ("1: 2", "r.yaml line 1: a key should be a word"),
        ("a: !!python/object/apply:os.getcwd []", "r.yaml line 1: only text, numbers"),
        ("a: !!python/name:os.getcwd ''", "r.yaml line 1: only text, numbers"),
        ("a: &x [*x]", "r.yaml line 1: more than"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_line(text, message):
    with pytest.raises(RequestError) as caught:
        document(text)
    assert str(caught.value).startswith(message)


def test_aliases_that_multiply_are_cut_off():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(RequestError, match="more than 10000 values"):
        document("\n".join(lines))


def test_merge_keys_of_yaml_work_and_own_keys_win():
    got = document("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}").values
    assert got["b"] == {"x": 1, "y": 3}


def test_merging_replaces_adds_and_removes():
    merged = merge(document(), document("stages: {one: null, two: {model: z, training: {seed: 5}}}", "top.yaml"))
    assert merged.values == {"data": {"task": "mrpc"}, "stages": {"two": {"model": "z", "training": {"seed": 5}}}}
    assert merged.place(("stages", "two", "model")) == "top.yaml line 1"
    assert merged.place(("data", "task")) == "r.yaml line 2"
    assert ("stages", "one", "model") not in merged.places


def test_merging_leaves_its_arguments_alone():
    base = document()
    merge(base, document("stages: {two: {model: z}}"))
    assert base.values == document().values
    assert base.places == document().places


def test_a_null_that_removes_nothing_stays_to_be_found():
    assert merge(document(), document("stages: {tow: null}")).values["stages"]["tow"] is None


def test_extends_is_read_beside_the_file_and_among_the_shipped(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("data: {task: mine}\nprecision: fp32")
    (tmp_path / "top.yaml").write_text("extends: base.yaml\ndata: {max_length: 9}")
    got = read_document(tmp_path / "top.yaml")
    assert got.values == {"data": {"task": "mine", "max_length": 9}, "precision": "fp32"}
    assert got.place(("precision",)) == "base.yaml line 2"

    (tmp_path / "shipped.yaml").write_text("extends: glue/mrpc\nprecision: fp32")
    assert read_document(tmp_path / "shipped.yaml").values["data"]["task"] == "mrpc"


def test_extends_in_a_circle_is_refused(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    with pytest.raises(RequestError, match="circle"):
        read_document(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [("data: {}\nextends: nothing", "top.yaml line 2: extends: no recipe 'nothing'"), ("extends: [a]", "one recipe")],
)
def test_what_cannot_be_extended_is_refused_with_its_line(tmp_path: Path, text, message):
    (tmp_path / "top.yaml").write_text(text)
    with pytest.raises(RequestError, match=message):
        read_document(tmp_path / "top.yaml")


def test_a_recipe_in_another_encoding_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "r.yaml").write_bytes("data: {task: é}".encode("latin-1"))
    with pytest.raises(RequestError, match=r"r.yaml: not UTF-8 text \(byte 13\)"):
        read_document(tmp_path / "r.yaml")


def test_set_reads_its_value_as_yaml_and_is_the_place_of_it():
    got = set_value(document(), "stages.two.training.learning_rate=5e-5")
    assert got.values["stages"]["two"]["training"] == {"learning_rate": 5e-5}
    path = ("stages", "two", "training", "learning_rate")
    assert got.place(path) == "--set stages.two.training.learning_rate=5e-5"
    assert got.place(("data", "task")) == "r.yaml line 2"


def test_set_can_remove_and_can_give_a_list():
    assert set_value(document(), "stages.one=null").values["stages"].keys() == {"two"}
    assert set_value(document(), "stages.one=").values["stages"].keys() == {"two"}
    assert set_value(document(), "stages.one.model=[1, 2]").values["stages"]["one"]["model"] == [1, 2]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stages.tow.model=x", "unknown stage 'tow': did you mean 'two'"),
        ("data.task.x=1", "data.task is 'mrpc' and has no keys under it"),
        ("data.task", "should be a path, '=' and a value"),
        ("=1", "should be a path, '=' and a value"),
        ("data..task=1", "should be a path, '=' and a value"),
        ("data.task=[", "not valid YAML"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_named(setting, message):
    with pytest.raises(RequestError, match=r"^--set ") as caught:
        set_value(document(), setting)
    assert message in str(caught.value)


def test_shipped_recipes_are_found_by_long_and_short_name():
    assert {"glue/mrpc", "glue/stsb", "quickstart"} <= set(shipped_recipes())
    assert "glue/_base" not in shipped_recipes()
    assert find_recipe("mrpc") == find_recipe("glue/mrpc") == find_recipe("glue/mrpc.yaml")
    assert find_recipe("glue/_base.yaml").name == find_recipe("glue/_base").name == "_base.yaml"


def test_an_unknown_recipe_gets_the_nearest_one():
    with pytest.raises(RequestError, match="did you mean 'mrpc'"):
        find_recipe("mprc")
    with pytest.raises(RequestError, match="no recipe"):
        find_recipe("../glue/mrpc")
