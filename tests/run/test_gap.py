"""Students beside their teachers: over the sizes of teachers of several runs, over the checkpoints of one stage."""

from pathlib import Path
from typing import Any

import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe import make_recipe
from distilnlp.report.history import read_history
from distilnlp.report.schema import Report, read_report
from distilnlp.run import run_recipe
from distilnlp.run.finding import Finding
from distilnlp.run.gap import gap_findings
from distilnlp.run.page import read_run
from tests.run.conftest import TRAINING, recipe_values

KD = {"hard_label": {"weight": 0.5}, "soft_target": {"weight": 0.5}}


def pupil(teacher: Any) -> dict[str, Any]:
    return {"teacher": teacher, "student": {"from": "teacher", "layers": 1}, "objective": KD, "training": TRAINING}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, start_weights: str, csv_file: str) -> Path:
    """A teacher that is measured after its second step; the checkpoints 2 and 4 teach a student each, its end one."""
    values = recipe_values(start_weights, csv_file)
    teacher = {**values["stages"]["teacher"], "training": {**TRAINING, "eval_strategy": "steps", "eval_steps": 2}}
    stages = {
        "teacher": teacher,
        "control": {"like": "last", "teacher": None, "objective": None},
        "late": pupil("teacher@checkpoint-4"),
        "early": pupil("teacher@checkpoint-2"),
        "last": pupil("teacher"),
        "best": pupil({"of_best": ["early", "late"]}),
    }
    folder = tmp_path_factory.mktemp("runs") / "films"
    run_recipe(make_recipe({**values, "stages": stages}, name="films"), folder)
    return folder


@pytest.fixture(scope="module")
def report(run: Path) -> Report:
    return read_report(run / "report.json")


@pytest.fixture(scope="module")
def found(run: Path) -> list[Finding]:
    return gap_findings({"films": read_run(run)})


@pytest.mark.slow
def test_students_are_set_beside_the_teachers_of_all_runs(run: Path, found: list[Finding], report: Report) -> None:
    scores = {row.stage: row.score for row in report.stages}
    (row,) = found[0].rows
    assert row[1:2] + row[3:6] == ["teacher", scores["teacher"], "last", scores["last"]]
    assert row[6] == pytest.approx(scores["last"] - scores["control"])
    assert "one teacher is no curve" in " ".join(found[0].notes)
    two = gap_findings({"one": read_run(run), "two": read_run(run)})[0]
    assert len(two.rows) == 2
    assert "one teacher" not in " ".join(two.notes)


@pytest.mark.slow
def test_the_checkpoints_of_a_stage_are_a_curve_by_their_steps(
    run: Path, found: list[Finding], report: Report
) -> None:
    scores = {row.stage: row.score for row in report.stages}
    history = read_history(run / "teacher")
    assert history is not None
    measured = dict(zip(history.steps("eval_accuracy"), history.values("eval_accuracy"), strict=True))
    best = report.stage("best")
    assert best is not None and best.chosen is not None
    step_of_best = int(best.chosen.teacher.rpartition("-")[2])
    wanted = [
        (2, measured[2], "early"),
        (4, measured[4], "late"),
        (step_of_best, measured[step_of_best], "best"),
        (6, scores["teacher"], "last"),
    ]
    (curve,) = found[1:]
    assert (curve.what, curve.run) == ("gap", "films")
    rows = sorted((row[1], row[2], row[3]) for row in curve.rows)
    assert [row[1] for row in curve.rows] == sorted(row[1] for row in curve.rows)
    assert rows == sorted(wanted)
    for row in curve.rows:
        assert row[0] == "teacher"
        assert row[4] == scores[row[3]]
        assert row[5] == pytest.approx(row[4] / row[2])
        assert row[6] == pytest.approx(row[4] - scores["control"])
    assert not any("was not measured" in note for note in curve.notes)


@pytest.mark.slow
def test_a_checkpoint_that_was_not_measured_is_told(run: Path) -> None:
    finished = read_run(run)
    object.__setattr__(finished.evidence, "histories", {})
    curve = gap_findings({"films": finished})[1]
    assert [row[2] is None and row[5] is None for row in curve.rows] == [row[1] != 6 for row in curve.rows]
    (note,) = (note for note in curve.notes if "was not measured" in note)
    assert note.startswith("teacher was not measured after 2, 4 steps")


@pytest.mark.slow
def test_a_run_without_a_student_has_no_gap(tmp_path: Path, start_weights: str, csv_file: str) -> None:
    values = recipe_values(start_weights, csv_file)
    run_recipe(make_recipe({**values, "stages": {"teacher": values["stages"]["teacher"]}}, name="films"), tmp_path)
    with pytest.raises(RequestError, match="there are no two"):
        gap_findings({"films": read_run(tmp_path)})
