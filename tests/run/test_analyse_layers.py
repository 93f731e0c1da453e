"""A finished run's heads and layers, and its students by the number of texts that they learned from."""

from dataclasses import replace
from pathlib import Path

import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe import make_recipe
from distilnlp.run import run_recipe
from distilnlp.run.analyse import ASKED, Finding, analyse_runs
from distilnlp.run.learning_curve import control_of, learning_curve
from distilnlp.run.likeness import Pair, compare_attention
from distilnlp.run.page import read_run
from tests.run.conftest import recipe_values


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, start_weights: str, csv_file: str) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "films"
    run_recipe(make_recipe(recipe_values(start_weights, csv_file), name="films"), folder)
    return folder


@pytest.fixture(scope="module")
def found(finished: Path) -> dict[str, Finding]:
    return {each.what: each for each in analyse_runs([finished], ASKED)}


@pytest.mark.slow
def test_each_head_of_the_student_has_its_nearest_of_the_teacher(found: dict[str, Finding]) -> None:
    rows = found["attention"].rows
    assert [row[2] for row in rows] == list(range(len(rows))), "one layer"
    assert all(0 <= row[4] <= row[5] for row in rows)  # type: ignore[operator]
    assert "layer_map: [[1, " in found["attention"].notes[0]


@pytest.mark.slow
def test_a_model_attends_as_itself(finished: Path) -> None:
    """Texts of unequal length, so that a padded token would show."""
    texts = [("the film was good",), ("the book was bad and very quite dull of it",)]
    teacher = str(finished / "teacher")
    (apart,) = compare_attention(Pair(("teacher", "teacher"), (teacher, teacher), texts), [(2, 2)]).values()
    assert apart.diagonal() == pytest.approx(0.0, abs=1e-6)
    assert apart.sum() > 1e-4, "other heads look elsewhere"


@pytest.mark.slow
def test_no_layer_spreads_over_more_directions_than_it_has(found: dict[str, Finding]) -> None:
    rows = found["rank"].rows
    assert [row[0] for row in rows] == ["student"] * 2 + ["teacher"] * 4
    assert all(1 < row[3] <= row[2] for row in rows)  # type: ignore[operator]


@pytest.mark.slow
def test_the_curve_is_in_the_order_of_the_texts(found: dict[str, Finding], finished: Path) -> None:
    (row,) = found["learning-curve"].rows
    assert row[2] == 48 and "one amount of text is no curve" in found["learning-curve"].notes[0]
    assert row[5] == pytest.approx(row[4] - row[3])  # type: ignore[operator]
    much = read_run(finished)
    assert much.tasks is not None
    few = {name: replace(task, train=task.train.select(range(9))) for name, task in much.tasks.items() if task.train}
    both = learning_curve({"much": much, "little": replace(much, tasks=few)})
    assert [row[0] for row in both.rows] == ["little", "much"] and not both.notes
    with pytest.raises(RequestError, match="no student with a score whose training texts"):
        learning_curve({"much": replace(much, tasks=None)})


@pytest.mark.slow
def test_a_student_is_set_beside_the_control_of_its_own_seed(finished: Path) -> None:
    *_, control, student = read_run(finished).evidence.report.stages
    again = control.model_copy(update={"stage": "control-seed-2", "seed": 2, "score": 0.25})
    rows = [control.model_copy(update={"seed": 1, "score": 0.75}), again]
    assert [control_of(student.model_copy(update={"seed": seed}), rows) for seed in (1, 2, 3)] == [0.75, 0.25, None]
    assert control_of(student.model_copy(update={"seed": 1, "held_out": "others"}), rows) is None
