"""The table of a model with exits: what it says at its two ends, and what cannot be asked."""

import json
from pathlib import Path

import matplotlib
import pytest

from distilnlp.cli import main
from distilnlp.data import load_task
from distilnlp.data.task import Task
from distilnlp.errors import RequestError
from distilnlp.models.exits import Exits, write_exits
from distilnlp.run.evaluation import evaluate_model
from distilnlp.run.exit_table import ExitRow, draw_rows, exit_rows, show_rows
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def task(csv_file: str) -> Task:
    return load_task(csv_file)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, task: Task) -> str:
    """Whose exits count its labels in another order than the data."""
    folder = tmp_path_factory.mktemp("model")
    names = tuple(reversed(task.label_names or ()))
    made = tiny_model("bert", layers=3, label_names=names)
    made.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    write_exits(folder, Exits((1, 2), 32, len(names), "cls"))
    return str(folder)


def test_the_ends_are_the_full_model_and_the_first_exit(model: str, task: Task) -> None:
    never, always = exit_rows(model, task, [0, 1], max_length=16)
    rows = len(task.validation)
    assert (never.mean_depth, never.left) == (3, {3: rows})
    assert (always.mean_depth, always.left) == (1, {1: rows})
    assert never.score == evaluate_model(model, task, max_length=16)["validation"][task.main_metric]
    first = evaluate_model(model, task, max_length=16, exit_threshold=1.0)["validation"]
    assert always.score == first[task.main_metric]
    assert never.texts_per_second > 0


def test_it_is_shown_as_a_table_with_bars() -> None:
    rows = [ExitRow(0.0, 0.9, 4.0, 4, {4: 10}, 100.0), ExitRow(0.3, 0.85, 2.0, 4, {1: 5, 3: 5}, 190.4)]
    head, first, second = show_rows(rows, "accuracy").splitlines()
    assert head.split() == ["threshold", "accuracy", "layers", "texts/s"]
    assert first.split() == ["0", "0.9000", "4.00", "100", "█" * 20]
    assert second.split() == ["0.3", "0.8500", "2.00", "190", "█" * 10]


def test_the_command_prints_it_or_writes_it_as_json(
    model: str, csv_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["evaluate", model, csv_file, "--exit-thresholds", "0, 0.5,1", "--max-length", "16"]
    assert main(asked) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["threshold"] for row in found["exits"]] == [0, 0.5, 1]
    assert found["metric"] == "accuracy"
    assert main(["predict", model, "--text", "good", "--exit-threshold", "1"]) == 0


def test_score_and_speed_are_drawn_with_a_word_at_each_threshold(
    model: str, csv_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["evaluate", model, csv_file, "--max-length", "16", "--exit-thresholds", "0,1", "--plot"]
    assert main([*asked, str(tmp_path / "exits.svg")]) == 0
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw_rows([ExitRow(0.3, 0.85, 2.0, 4, {1: 5, 3: 5}, 190.4)], "accuracy", tmp_path / "one.svg")
    assert "0.3: 2.0 of 4 layers" in (tmp_path / "one.svg").read_text()
    (tmp_path / "folder.svg").mkdir()
    for wrong, said in (("exits.txt", "an svg, png or pdf file"), ("folder.svg", "is a folder")):
        capsys.readouterr()
        assert main([*asked, str(tmp_path / wrong)]) == 2
        assert said in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["exits.svg", "folder.svg", "one.svg"]
    assert main(["evaluate", model, csv_file, "--plot", "exits.svg"]) == 2
    assert "give --exit-thresholds" in capsys.readouterr().err
    monkeypatch.setattr("distilnlp.report.plotting.can_draw", lambda: False)
    assert main([*asked, str(tmp_path / "exits.svg")]) == 2
    assert "needs matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--exit-thresholds", "0,1.5"], "got 1.5"),
        (["--exit-thresholds", "0,many"], "with commas between them"),
        (["--exit-threshold", "-1"], "got -1"),
        (["--exit-threshold", "nan"], "got nan"),
        (["--exit-threshold", "0.1", "--exit-thresholds", "0"], "give one of the two"),
    ],
)
def test_a_threshold_that_cannot_be_is_one_line(
    model: str, csv_file: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", model, csv_file, *options]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_model_without_exits_says_how_it_gets_some(tmp_path: Path, task: Task) -> None:
    tiny_model("bert", label_names=task.label_names).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(RequestError, match="train it with the part early_exits"):
        exit_rows(str(tmp_path), task, [0.5])
    with pytest.raises(RequestError, match="no exit threshold is given"):
        exit_rows(str(tmp_path), task, [])
