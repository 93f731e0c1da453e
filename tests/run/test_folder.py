"""A run's folder: what is damaged in it is named with a way out, and nothing that is not of the run is deleted."""

import errno
import fcntl
from pathlib import Path

import numpy as np
import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe import Recipe, make_recipe
from distilnlp.report.predictions import Predictions
from distilnlp.report.schema import StageResult, to_json
from distilnlp.run.folder import RunFolder
from distilnlp.run.manifest import Manifest, write_manifest
from distilnlp.whole_files import temporary_name

ANSWERS = Predictions.of([0, 1], np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run" / "student").mkdir(parents=True)
    return RunFolder(tmp_path / "run")


def claim(folder: RunFolder, recipe: Recipe, *, fresh: bool = False) -> None:
    with folder.claim(recipe, {}, fresh=fresh):
        pass


def started(folder: RunFolder) -> None:
    """The folder of a run whose stage `student` is finished."""
    write_manifest(
        folder.path, Manifest(("recipe.yaml", "environment.json", "report.json", "README.md"), ("student",))
    )
    (folder.path / "recipe.yaml").write_text("stages: {student: {}}\n")
    folder.finish("student", StageResult(stage="student", score=0.5), ANSWERS, {})


def test_a_stage_is_finished_with_its_result_and_its_answers(folder: RunFolder):
    assert not folder.is_finished("student")
    result = StageResult(stage="student", score=0.5)
    folder.finish("student", result, ANSWERS, {"mismatched": ANSWERS})
    assert folder.is_finished("student")
    assert folder.result("student") == result
    assert np.array_equal(folder.predictions("student").logits, ANSWERS.logits)
    folder.check_files(["student"])
    names = ["checksums.json", "metrics.json", "predictions-mismatched.parquet", "predictions.parquet"]
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


@pytest.mark.parametrize(
    "content", ["", "stages: [", "stages: {1: {}}", "stages: {..: {}}", "stages: {a/b: {}}", "a: " + "[" * 500]
)
def test_a_damaged_recipe_is_named_and_tells_nothing_of_what_may_be_deleted(
    folder: RunFolder, recipe: Recipe, content: str
):
    """A stage of the name '..' would stand for the folder around the run."""
    started(folder)
    (folder.path / "recipe.yaml").write_text(content)
    (folder.path.parent / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"recipe\.yaml.*--fresh"):
        claim(folder, recipe)
    assert folder.is_finished("student")
    claim(folder, recipe, fresh=True)
    assert not folder.is_finished("student")
    assert (folder.path.parent / "mine.txt").exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_without_a_manifest_is_nobodys_to_write_or_delete_in(folder: RunFolder, recipe: Recipe, fresh: bool):
    """Somebody's own recipe.yaml stands beside the data, and what it says of stages is no word of a run."""
    (folder.path / "recipe.yaml").write_text("# mine\nstages: {student: {}}\n")
    (folder.stage("student") / "model.safetensors").write_text("mine")
    with pytest.raises(RequestError, match=r"no manifest\.json.*--output"):
        claim(folder, recipe, fresh=fresh)
    assert (folder.path / "recipe.yaml").read_text().startswith("# mine")
    assert (folder.stage("student") / "model.safetensors").exists()


def test_what_somebody_has_put_into_a_stage_stays_and_is_named(folder: RunFolder, recipe: Recipe, caplog):
    started(folder)
    (folder.stage("student") / "thesis.txt").write_text("mine")
    (folder.path / "notes.txt").write_text("mine")
    claim(folder, recipe, fresh=True)
    assert [path.name for path in folder.stage("student").iterdir()] == ["thesis.txt"]
    assert (folder.path / "notes.txt").exists()
    assert "student/thesis.txt" in caplog.text


@pytest.mark.parametrize("fresh", [False, True])
def test_a_stage_that_is_a_link_is_not_followed(folder: RunFolder, recipe: Recipe, tmp_path: Path, fresh: bool):
    started(folder)
    folder.stage("student").rename(tmp_path / "elsewhere")
    folder.stage("student").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RequestError, match=r"student is a symbolic link to .*elsewhere"):
        claim(folder, recipe, fresh=fresh)
    assert (tmp_path / "elsewhere" / "metrics.json").exists()


def test_a_run_that_is_a_link_is_not_deleted(folder: RunFolder, recipe: Recipe, tmp_path: Path):
    started(folder)
    (tmp_path / "latest").symlink_to(folder.path)
    with pytest.raises(RequestError, match="latest is a symbolic link"):
        claim(RunFolder(tmp_path / "latest"), recipe, fresh=True)
    assert folder.is_finished("student")


def test_files_that_are_links_are_replaced_and_not_written_through(folder: RunFolder, recipe: Recipe, tmp_path: Path):
    started(folder)
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for name in ("recipe.yaml", "environment.json", "manifest.json", temporary_name("recipe.yaml")):
        if name == "manifest.json":  # what it says is read first
            mine.write_text((folder.path / name).read_text())
        (folder.path / name).unlink(missing_ok=True)
        (folder.path / name).symlink_to(mine)
        before = mine.read_text()
        claim(folder, recipe, fresh=True)
        assert mine.read_text() == before
        assert not (folder.path / name).is_symlink()


def test_a_lock_that_is_a_link_is_not_emptied(folder: RunFolder, recipe: Recipe, tmp_path: Path):
    started(folder)
    (tmp_path / "mine.txt").write_text("mine")
    (folder.path / ".lock").unlink(missing_ok=True)
    (folder.path / ".lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(RequestError, match=r"\.lock cannot be opened"):
        claim(folder, recipe)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_recipe_that_is_gone_leaves_the_stages_unknown(folder: RunFolder, recipe: Recipe):
    started(folder)
    (folder.path / "recipe.yaml").unlink()
    with pytest.raises(RequestError, match=r"has no recipe\.yaml.*--fresh"):
        claim(folder, recipe)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "key",
    ["stages.student.teacher", "stages.student.model", "data.task", "data.validation", "stages.student.data.task"],
)
def test_no_run_writes_where_its_inputs_are(folder: RunFolder, tmp_path: Path, key: str, fresh: bool):
    """`distill --teacher RUN/teacher --output RUN --fresh` would delete the teacher before it teaches."""
    started(folder)
    (tmp_path / "link").symlink_to(folder.stage("student"))
    stage = {"model": "other", "teacher": "another", "objective": {"response": {}}}
    values = {"data": {"task": "mrpc"}, "stages": {"student": stage}}
    recipe = make_recipe(values, name="r", settings=[f"{key}={tmp_path / 'link'}"])
    with pytest.raises(RequestError, match=f"--set {key}=.*{key} is .*, where this run writes a stage.*--output"):
        claim(folder, recipe, fresh=fresh)
    assert folder.is_finished("student")


def test_only_checkpoints_are_dropped(folder: RunFolder, tmp_path: Path):
    stage = folder.stage("student")
    for name in ("checkpoint-5", "checkpoint-best", "checkpoints"):
        (stage / name).mkdir()
    (stage / "checkpoint-notes.txt").write_text("mine")
    (tmp_path / "mine").mkdir()
    (stage / "checkpoint-7").symlink_to(tmp_path / "mine")
    folder.drop_checkpoints("student")
    assert {path.name for path in stage.iterdir()} == {"checkpoint-best", "checkpoint-notes.txt", "checkpoints"}
    assert (tmp_path / "mine").is_dir()


def test_a_run_that_was_killed_at_its_very_start_can_be_started_again(tmp_path: Path, recipe: Recipe):
    for name in (".lock", temporary_name("manifest.json")):
        (tmp_path / name).write_text("")
    claim(RunFolder(tmp_path), recipe)
    names = [".lock", "environment.json", "manifest.json", "recipe.yaml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_disk_without_locks_is_not_taken_for_another_process(tmp_path: Path, recipe: Recipe, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(RequestError, match=r"cannot be locked \(No locks available\).*another disk"):
        claim(RunFolder(tmp_path / "run"), recipe)
