"""A search: what it refuses before anything is trained, what it tries, how it goes on, and what it leaves."""

import json
from pathlib import Path

import optuna
import pytest

from distilnlp.cli import main
from distilnlp.errors import RequestError
from distilnlp.recipe import load_recipe
from distilnlp.run import search
from distilnlp.run.search import Goal, _rungs
from distilnlp.run.served import Served
from tests.run.conftest import csv_file
from tests.tiny import tiny_model, tiny_tokenizer

__all__ = ["csv_file"]  # a fixture

QUICK = ["--epochs", "2", "--batch-size", "8", "--max-length", "16", "--precision", "fp32", "--accept-weak-teacher"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of random weights: what its students keep of its score is easily all."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    tiny_model("bert", layers=3, label_names=("good", "bad"), seed=3).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_can_export", lambda: False)


def searched(csv_file: str, teacher: str, output: Path, *options: str) -> int:
    return main(["search", csv_file, "--teacher", teacher, *QUICK, "-o", str(output), *options])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "0"], "--keep 0: a share of the teacher's score is needed, above 0 and at most 1"),
        (["--keep", "1.5"], "--keep 1.5"),
        (["--keep", "nan"], "--keep nan"),
        (["--keep", "0.9", "--max-ms", "0"], "--max-ms 0: a number above 0 is needed"),
        (["--keep", "0.9", "--speedup", "-2"], "--speedup -2"),
        (["--keep", "0.9", "--max-mb", "inf"], "--max-mb inf"),
    ],
)
def test_a_goal_that_is_none_is_refused(options, said, csv_file, tmp_path, capsys):
    assert searched(csv_file, "no/teacher", tmp_path / "s", *options) == 2

    assert said in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_teacher_that_is_not_there_is_refused(csv_file, tmp_path, capsys, no_export):
    assert searched(csv_file, str(tmp_path / "none"), tmp_path / "s", "--keep", "0.9") == 2

    assert capsys.readouterr().err.count("\n") == 1


def test_without_optuna_it_says_what_to_install(csv_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(search.importlib.util, "find_spec", lambda name: None)

    assert searched(csv_file, "no/teacher", tmp_path / "s", "--keep", "0.9") == 2
    assert capsys.readouterr().err.rstrip().endswith("pip install 'distilnlp[search]'")


def test_a_folder_of_something_else_is_left_alone(csv_file, teacher, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")

    assert searched(csv_file, teacher, tmp_path, "--keep", "0.9", "--fresh") == 2
    assert "is no search and holds mine.txt" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_a_budget_that_no_student_meets_is_refused_by_measuring_and_nothing_is_trained(
    csv_file, teacher, tmp_path, capsys, no_export, monkeypatch
):
    monkeypatch.setattr(search, "train_stage", lambda *_: pytest.fail("a student is trained"))

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "0.5", "--speedup", "1000") == 2

    said = capsys.readouterr().err
    assert "--speedup cannot be met by any student: the nearest (1 layer" in said
    assert "times as fast as the teacher) and 0.0" in said


def test_a_search_tries_students_trains_the_one_and_goes_on(csv_file, teacher, tmp_path, capsys, no_export):
    place = tmp_path / "s"

    assert searched(csv_file, teacher, place, "--keep", "0.5", "--max-mb", "0.09", "--trials", "2") == 0

    said = capsys.readouterr().out
    held = json.loads((place / "search.json").read_text())
    chosen = next(row for row in held["tried"] if row["chosen"])
    assert len(held["tried"]) == 2
    assert chosen["mb"] <= 0.09
    assert chosen["share"] >= 0.5
    assert chosen["mb"] == min(row["mb"] for row in held["tried"] if row["share"] >= 0.5)
    assert f"found  {chosen['student']}: " in said
    assert (place / "run" / "student" / "model.safetensors").is_file()
    assert load_recipe(place / "recipe.yaml").to_dict() == load_recipe(place / "run" / "recipe.yaml").to_dict()
    assert not [*(place / "trials").iterdir()]  # the weights of trials are not kept
    assert any((place / "teacher-answers").iterdir())

    assert searched(csv_file, teacher, place, "--keep", "0.5", "--max-mb", "0.09", "--trials", "2") == 0
    again = json.loads((place / "search.json").read_text())
    assert [row["score"] for row in again["tried"]] == [row["score"] for row in held["tried"]]

    assert searched(csv_file, teacher, place, "--keep", "0.6", "--trials", "2") == 2
    assert "holds a search with another goal" in capsys.readouterr().err


@pytest.mark.slow
def test_a_student_in_int8_is_exported_and_answers_as_it_was_scored(csv_file, teacher, tmp_path, capsys):
    place = tmp_path / "s"

    assert searched(csv_file, teacher, place, "--keep", "0.5", "--max-mb", "0.2", "--trials", "1") == 0

    capsys.readouterr()
    row = next(row for row in json.loads((place / "search.json").read_text())["tried"] if row["chosen"])
    assert row["candidate"]["int8"]
    assert row["mb"] == pytest.approx((place / "served" / "onnx" / "model_quantized.onnx").stat().st_size / 1e6)
    assert main(["evaluate", str(place / "served"), csv_file, "--max-length", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["validation"]["accuracy"] == row["score"]


def test_where_no_student_keeps_the_share_it_says_so_and_which_comes_nearest(
    csv_file, teacher, tmp_path, capsys, no_export, monkeypatch
):
    monkeypatch.setattr(search._Search, "_share", lambda *_: 0.2)
    monkeypatch.setattr(search, "_rungs", lambda steps: [2, steps])
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: True)

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--trials", "1") == 1

    said = capsys.readouterr().err
    assert "no student of 1 met --keep 1: the nearest (2 layers" in said
    assert "keeps 20.0% after 2 steps" in said
    assert load_recipe(tmp_path / "s" / "recipe.yaml").stages["student"].student.layers == 2
    assert not (tmp_path / "s" / "run").exists()


def test_trainings_grow_by_threes_up_to_the_full_one():
    assert _rungs(160) == [17, 51, 160]
    assert _rungs(90) == [10, 30, 90]
    assert _rungs(29) == [29]
    assert _rungs(1) == [1]


def test_a_goal_says_by_how_much_a_student_is_over_it():
    goal = Goal(0.9, max_ms=2, speedup=10, max_mb=20)

    assert goal.over(Served(ms=1, mb=10, teacher_ms=20)) == {}
    assert goal.over(Served(ms=4, mb=10, teacher_ms=20)) == {"--max-ms": 2.0, "--speedup": 2.0}
    assert goal.words() == "--keep 0.9 --max-ms 2 --speedup 10 --max-mb 20"
    assert not goal.by_size
    assert Goal(0.9, max_mb=1).by_size
    with pytest.raises(RequestError, match="--max-ms"):
        Goal(0.9, max_ms=float("nan"))
