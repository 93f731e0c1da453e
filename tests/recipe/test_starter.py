"""A recipe that is printed or made to start from is one: it loads anywhere, and says what its keys mean."""

import json
import re
from pathlib import Path

import pytest
import yaml

from distilnlp.cli import main
from distilnlp.problems import list_problems
from distilnlp.recipe import load_recipe, shipped_recipes
from distilnlp.recipe.starter import text_of_recipe


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_printed_recipe_is_the_same_one_wherever_it_is_saved(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{Path(name).name}.yaml"
    path.write_text(text_of_recipe(name))
    assert load_recipe(path).to_dict() == load_recipe(name).to_dict()


def test_recipes_prints_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "mrpc"]) == 0
    assert capsys.readouterr().out == text_of_recipe("glue/mrpc")
    assert main(["recipes", "mprc"]) == 2
    assert "did you mean 'mrpc'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", list_problems())
def test_the_recipe_to_start_from_runs_for_every_kind_of_task(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.yaml"
    words = ["init", "rows.jsonl", "--problem-type", kind, "--text", "body", "-o", str(path)]
    assert main(words) == 0, capsys.readouterr().err
    recipe = load_recipe(path)
    assert (recipe.data.task, recipe.data.text, recipe.data.problem_type) == ("rows.jsonl", "body", kind)
    capsys.readouterr()
    assert main(["run", str(path), "--plan"]) == 0, capsys.readouterr().err
    assert "student" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([{"text": f"{i}", "label": i % 2} for i in range(20)], "single_label_classification"),
        ([{"text": f"{i}", "label": i / 7} for i in range(20)], "regression"),
        ([{"text": f"{i}", "label": ["a", "b"][: i % 3]} for i in range(20)], "multi_label_classification"),
        ([{"tokens": ["in", f"{i}"], "tags": ["O", "B-n"]} for i in range(20)], "token_classification"),
    ],
)
def test_the_data_tell_the_kind_of_task(
    rows: list[dict[str, object]], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, path = tmp_path / "rows.jsonl", tmp_path / "my.yaml"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["init", str(data), "-o", str(path)]) == 0, capsys.readouterr().err
    assert kind in capsys.readouterr().out
    assert load_recipe(path).data.task == str(data)


def test_the_recipe_to_start_from_says_what_it_is_and_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.yaml"
    words = ["init", "mrpc", "-o", str(path)]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["run", str(path), "--dry-run"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == load_recipe(path).to_dict()
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_comments_say_what_is_there_and_what_could_be(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    assert main(["init", "mrpc", "-o", str(path)]) == 0
    text = path.read_text()
    assert re.search(r"^  max_length: 128  # tokens; longer examples are cut$", text, re.MULTILINE)
    assert re.search(r"^  # validation:  # file of the held-out examples", text, re.MULTILINE)
    assert "hard_label: {weight: 0.5}  # The task's own loss against the labels" in text
    assert max(map(len, text.splitlines())) < 120
    uncommented = re.sub(r"^  # (label|text):.*$", r"  \1: mine", text, flags=re.MULTILINE)
    path.write_text(uncommented)
    assert (load_recipe(path).data.label, load_recipe(path).data.text) == ("mine", "mine")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("init mrpc", "Missing option '--output'"),
        ("init mrpc -o x.csv", "a recipe is a .yaml file"),
        ("init mprc -o x.yaml", "unknown task 'mprc': did you mean 'mrpc'"),
        ("init mrpc -o x.yaml --problem-type clases", "clases"),
    ],
)
def test_what_no_recipe_can_be_made_of_is_refused_and_nothing_is_written(
    words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
