"""A run's folder: what is damaged in it is named with a way out, and nothing that is not of the run is deleted."""

import errno
import fcntl
from pathlib import Path

import numpy as np
import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe import Recipe
from distilnlp.report.predictions import Predictions
from distilnlp.report.schema import StageResult, to_json
from distilnlp.run.folder import RunFolder
from distilnlp.whole_files import temporary_name

ANSWERS = Predictions.of([0, 1], np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run" / "student").mkdir(parents=True)
    return RunFolder(tmp_path / "run")


def claim(folder: RunFolder, recipe: Recipe, *, fresh: bool = False) -> None:
    with folder.claim(recipe, {}, fresh=fresh):
        pass


def test_a_stage_is_finished_with_its_result_and_its_answers(folder: RunFolder):
    assert not folder.is_finished("student")
    result = StageResult(stage="student", score=0.5)
    folder.finish("student", result, ANSWERS, {"mismatched": ANSWERS})
    assert folder.is_finished("student")
    assert folder.result("student") == result
    assert np.array_equal(folder.predictions("student").logits, ANSWERS.logits)
    names = ["metrics.json", "predictions-mismatched.parquet", "predictions.parquet"]
    assert sorted(path.name for path in folder.stage("student").iterdir()) == names


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            StageResult(stage="teacher", score=0.5),
            "is the result of a stage 'teacher', and that of 'student' is needed",
        ),
        (StageResult(stage="student"), "has no score"),
    ],
)
def test_the_result_of_something_else_is_refused(folder: RunFolder, result: StageResult, message: str):
    """As after a copy of one stage's files to another's."""
    (folder.stage("student") / "metrics.json").write_text(to_json(result))
    with pytest.raises(
        RequestError, match=f"{message}.*: delete '{folder.stage('student')}' and run the recipe again"
    ):
        folder.result("student")


@pytest.mark.parametrize("content", ["", "stages: [", "stages: {1: {}}", "stages: {..: {}}", "stages: {a/b: {}}"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_damaged_recipe_lets_nothing_be_deleted(folder: RunFolder, recipe: Recipe, content: str, fresh: bool):
    """With --fresh, a stage of the name '..' would stand for the folder around the run."""
    (folder.path / "recipe.yaml").write_text(content)
    (folder.path.parent / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"recipe\.yaml.*: delete the folder if it is that of a run") as error:
        claim(folder, recipe, fresh=fresh)
    assert "--fresh" not in str(error.value)
    assert (folder.path.parent / "mine.txt").exists()
    assert folder.stage("student").is_dir()


def test_a_run_that_was_killed_at_its_very_start_can_be_started_again(tmp_path: Path, recipe: Recipe):
    for name in (".lock", temporary_name("recipe.yaml")):
        (tmp_path / name).write_text("")
    claim(RunFolder(tmp_path), recipe)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "environment.json", "recipe.yaml"]


def test_a_disk_without_locks_is_not_taken_for_another_process(tmp_path: Path, recipe: Recipe, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(RequestError, match=r"cannot be locked \(No locks available\).*another disk"):
        claim(RunFolder(tmp_path / "run"), recipe)
