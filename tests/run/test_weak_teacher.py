"""A teacher that knows no more than what needs no text stops the run before anybody learns from it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from distilnlp.errors import RunError
from distilnlp.recipe import make_recipe
from distilnlp.report.compare import render_table
from distilnlp.report.schema import Baseline, StageResult, read_stage_result
from distilnlp.run import make_plan, run_recipe
from distilnlp.run.folder import RunFolder
from distilnlp.run.weak_teacher import weak_teacher
from tests.run.conftest import TRAINING, recipe_values
from tests.tiny import tiny_model, tiny_tokenizer

NOT_TAUGHT = ["student.teacher=null", "student.objective.soft_target=null", "student.objective.hidden_state=null"]


def strict_values(start_weights: str, csv_file: str) -> dict[str, Any]:
    """Teacher, control and student; the teacher takes one step that changes next to nothing."""
    values = recipe_values(start_weights, csv_file)
    del values["accept_weak_teacher"]
    values["stages"]["teacher"]["training"] = {**TRAINING, "max_steps": 1, "learning_rate": 1e-6}
    return values


@pytest.fixture
def strict(start_weights: str, csv_file: str) -> dict[str, Any]:
    """As `strict_values`."""
    return strict_values(start_weights, csv_file)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, start_weights: str, csv_file: str) -> Path:
    """What a run has left that its teacher stopped."""
    folder = tmp_path_factory.mktemp("runs") / "films"
    with pytest.raises(RunError) as caught:
        run_recipe(make_recipe(strict_values(start_weights, csv_file), name="films"), folder)
    (folder / "said").write_text(str(caught.value))
    return folder


@pytest.fixture
def stopped(first: Path, tmp_path: Path) -> Path:
    """A copy to go on with."""
    return shutil.copytree(first, tmp_path / "run")


def test_what_stops_a_run_is_one_line_with_both_scores_and_the_ways_out(first: Path) -> None:
    message = (first / "said").read_text()
    assert message.startswith("teacher: accuracy 0.")
    assert "on 12 held-out rows is not above the 0.500 of the baseline (the largest class of the training" in message
    assert "95 % interval of the gain" in message and "so that control would take over nothing" in message
    assert "--accept-weak-teacher" in message and "accept_weak_teacher: true" in message
    assert "\n" not in message


def test_nobody_is_made_of_a_weak_teacher_and_a_restart_stops_too(stopped: Path, strict: dict[str, Any]) -> None:
    assert not (stopped / "control").exists() and not (stopped / "report.json").exists()
    result = read_stage_result(stopped / "teacher" / "metrics.json")
    assert result.baseline is not None and not result.baseline.is_beaten
    trained = (stopped / "teacher" / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(RunError, match="teacher: accuracy"):
        run_recipe(make_recipe(strict, name="films"), stopped)
    assert (stopped / "teacher" / "model.safetensors").stat().st_mtime_ns == trained
    assert not (stopped / "control").exists()


@pytest.mark.slow
def test_a_run_goes_on_from_there_where_it_is_accepted(stopped: Path, strict: dict[str, Any]) -> None:
    trained = (stopped / "teacher" / "model.safetensors").stat().st_mtime_ns
    report = run_recipe(make_recipe({**strict, "accept_weak_teacher": True}, name="films"), stopped)
    assert report is not None
    assert (stopped / "teacher" / "model.safetensors").stat().st_mtime_ns == trained
    table = render_table(report.stages)
    assert "teacher: has learned nothing that shows: accuracy 0." in table
    assert table.splitlines()[5].startswith("baseline     0.500")
    card = (stopped / "README.md").read_text()
    assert "- teacher: has learned nothing that shows" in card
    assert "| baseline | 0.500 |" in card
    assert "- All metrics of the baseline: accuracy 0.5000, macro_f1 0.3333." in card
    (stopped / "student" / "metrics.json").unlink()
    with pytest.raises(RunError, match="so that student would take over nothing"):
        run_recipe(make_recipe(strict, name="films"), stopped)


def test_a_model_that_teaches_nobody_is_only_said_to_be_weak(tmp_path: Path, strict: dict[str, Any]) -> None:
    strict["stages"] = {"teacher": strict["stages"]["teacher"]}
    said: list[str] = []
    run_recipe(make_recipe(strict, name="films"), tmp_path / "run", say=said.append)
    assert any("teacher: has learned nothing that shows" in line for line in said)


def test_a_teacher_from_outside_is_measured_before_anything_is_trained(tmp_path: Path, strict: dict[str, Any]) -> None:
    outside = tmp_path / "outside"
    tiny_model("bert", layers=3, label_names=["bad", "good"]).save_pretrained(outside)
    tiny_tokenizer().save_pretrained(outside)
    recipe = make_recipe(strict, name="films", settings=[f"stages.student.teacher={outside}"])
    with pytest.raises(RunError, match="so that student would take over nothing") as caught:
        run_recipe(recipe, tmp_path / "run")
    assert str(caught.value).startswith(f"{outside}: accuracy 0.")
    assert not (tmp_path / "run" / "teacher").exists()


def result(name: str, low: float) -> StageResult:
    baseline = Baseline(answer="the mean of the training rows", score=0.0, gain=(low, 0.9), rows=30)
    return StageResult(stage=name, main_metric="pearson", score=0.4, baseline=baseline)


@pytest.mark.parametrize(
    ("settings", "name", "pupil"),
    [
        ([], "teacher", "control"),
        (["control=null"], "teacher", "student"),
        (["control=null", "student.student=null", "student.model=org/m"], "teacher", "student"),
        ([], "student", None),
        ([], "control", None),
        (["student.teacher=org/teacher"], "org/teacher", "student"),
        # Layers of a model that was not trained in this run are a start like any other.
        (["teacher.kind=transform"], "teacher", "student"),
        (["teacher.kind=transform", *NOT_TAUGHT], "teacher", None),
        (NOT_TAUGHT, "teacher", "control"),
        # A student that teaches another one in turn, and one that is trained in two stages.
        (["small={like: student, teacher: student, student: {from: student}}"], "student", "small"),
        (["more={like: student, student: null, model: student}"], "student", None),
    ],
)
def test_a_model_is_judged_where_somebody_is_to_take_over_what_it_has_learned(
    tmp_path: Path, strict: dict[str, Any], settings: list[str], name: str, pupil: str | None
) -> None:
    plan = make_plan(make_recipe(strict, name="films", settings=[f"stages.{each}" for each in settings]))
    said = weak_teacher(name, plan, RunFolder(tmp_path), result(name, 0.0))
    assert (said is not None) == (pupil is not None)
    if said is not None:
        assert f"so that {pupil} would" in said
    assert weak_teacher(name, plan, RunFolder(tmp_path), result(name, 0.001)) is None


def test_a_teacher_whose_students_are_all_there_is_left_alone(tmp_path: Path, strict: dict[str, Any]) -> None:
    plan = make_plan(make_recipe(strict, name="films"))
    for name in ("control", "student"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").touch()
    assert weak_teacher("teacher", plan, RunFolder(tmp_path), result("teacher", -0.1)) is None
    shutil.rmtree(tmp_path / "student")
    assert weak_teacher("teacher", plan, RunFolder(tmp_path), result("teacher", -0.1)) is not None
