"""The name of a run or a stage names one folder, whatever stands in the recipe."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.errors import RequestError
from distilnlp.recipe import load_recipe
from distilnlp.recipe.names import as_run_name, as_stage, checkpoint_step, is_run_name, is_stage_name

NOT_ONE_FOLDER = [
    "",
    " ",
    ".",
    "..",
    "../../outside",
    "/absolute",
    "a/b",
    "a\\b",
    "C:",
    "~",
    "~root",
    ".hidden",
    "nul",
    "Com1.txt",
    "end.",
    "end ",
    "x" * 101,
    "\u6f22" * 90,
    "a\nb",
    "a\x00b",
    "a\u202eb",
    "\ud800",
]


@pytest.mark.parametrize("name", NOT_ONE_FOLDER)
def test_what_is_no_name_of_a_folder_is_none_of_a_run_or_a_stage(name: str):
    assert not is_run_name(name)
    assert not is_stage_name(name)


@pytest.mark.parametrize("name", ["mrpc", "my run 2.1", "a-b_c", "\u00e9tude", "\u6f22\u5b57"])
def test_other_names_stay(name: str):
    assert is_run_name(name)
    assert as_run_name(name) == name


def test_a_stage_is_letters_digits_and_hyphens():
    assert all(map(is_stage_name, ("teacher", "student-2", "\u6559\u5e08_a")))
    assert not any(map(is_stage_name, ("a b", "a.b", "-", "__", 5, None)))


@given(st.text(st.characters(), max_size=300))
def test_a_name_is_made_of_any_file_name(text: str):
    assert is_run_name(as_run_name(text))


@pytest.mark.parametrize("name", ["../../outside", "/tmp/x", "~/x", "", "nul"])
def test_a_name_that_leads_elsewhere_is_refused_at_its_line(tmp_path: Path, name: str):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"extends: mrpc\nname: '{name}'\n")
    with pytest.raises(RequestError, match=r"^r\.yaml line 2: name is .*: it names a folder"):
        load_recipe(recipe)


def test_a_name_that_the_file_gives_is_made_to_fit(tmp_path: Path):
    recipe = tmp_path / ".what: now?.yaml"
    recipe.write_text("extends: mrpc\n")
    assert load_recipe(recipe).name == "what- now-"


@pytest.mark.parametrize(
    ("name", "stage", "step"),
    [
        ("ta@checkpoint-200", "ta", 200),
        ("ta", "ta", None),
        ("ta@checkpoint-0", "ta@checkpoint-0", None),
        ("ta@checkpoint-", "ta@checkpoint-", None),
        ("ta@checkpoint-2.5", "ta@checkpoint-2.5", None),
        ("runs/ta@checkpoint-200", "runs/ta@checkpoint-200", None),
        ("a@b@checkpoint-200", "a@b@checkpoint-200", None),
    ],
)
def test_a_checkpoint_is_named_by_its_stage_and_step(name: str, stage: str, step: int | None):
    assert (as_stage(name), checkpoint_step(name)) == (stage, step)
    assert is_stage_name(name) == (name == "ta")
