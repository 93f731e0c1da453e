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
        ("- 1", "r.yaml line 1: should be keys and values"),
        ("", "r.yaml: empty"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_line(text, message):
    with pytest.raises(RequestError) as caught:
        document(text)
    assert str(caught.value).startswith(message)


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


def test_a_secret_in_a_setting_is_not_repeated():
    got = set_value(document(), "stages.two.training.hub_token=mine")
    assert "mine" not in got.place(("stages", "two", "training", "hub_token"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("stages", "one", "training", "hub_token"), "x"),
        (("stages", "one", "training", "api-key"), "x"),
        (("password",), ["x"]),
        (("data", "task"), "http://user:secret@host/data.csv"),
        (("name",), "hf_" + "aB3" * 12),
    ],
)
def test_a_secret_is_refused_at_its_line_and_not_shown(path, value):
    secret = Document({}, {(): "r.yaml", path: "r.yaml line 7"})
    for part in reversed(path):
        secret.values = {part: secret.values or value}
    with pytest.raises(RequestError, match=r"^r\.yaml line 7: .* is a secret.*HF_TOKEN") as caught:
        secret.check()
    assert "user:secret" not in str(caught.value)


def test_a_key_of_a_model_that_only_ends_like_a_secret_stays():
    Document({"config": {"share_att_key": True, "bos_token_id": 5}, "target_modules": ["key"]}).check()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "a is nan: should be a number that is finite"),
        (float("inf"), "a is inf"),
        (10**30, "a is a number of more than 63 bits"),
        (-(2**63), "a is a number of more than 63 bits"),
        ("x\x00", "a holds the character 0x0"),
        ("\ud800", "a holds the character 0xd800"),
        ({"\x1b": 1}, "a holds the character 0x1b"),
    ],
)
def test_what_no_file_could_give_back_is_refused(value, message):
    with pytest.raises(RequestError, match=f"recipe: {message}"):
        Document({"a": value}).check()


def test_a_value_that_holds_itself_is_refused():
    values: dict[str, object] = {}
    values["a"] = values
    with pytest.raises(RequestError, match="more than 50 levels"):
        Document(values).check()


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
