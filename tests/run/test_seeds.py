"""Several seeds as one run: what is trained, what is not trained again, and what is refused before anything is."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from distilnlp.cli import main
from distilnlp.errors import RequestError
from distilnlp.hub.files import files_to_push
from distilnlp.recipe import make_recipe
from distilnlp.report.schema import read_report
from distilnlp.run import run_recipe
from distilnlp.run.plan import make_plan
from distilnlp.run.progress import StageProgress
from distilnlp.run.search import Goal, search_student
from tests.killing import largest_difference
from tests.run.conftest import recipe_values

FIRST, WEIGHTS = ["teacher", "control", "student"], "model.safetensors"


def run(values: dict[str, Any], folder: Path, **settings: Any) -> list[str]:
    said: list[str] = []
    run_recipe(make_recipe(values, name="films"), folder, say=said.append, **settings)
    return said


def trained(said: list[str]) -> list[str]:
    """The stages that were trained, in their order."""
    return [line.partition(":")[0] for line in said if ": distilling" in line or ": training" in line]


@pytest.fixture(scope="module")
def one(tmp_path_factory, start_weights, csv_file) -> Path:
    """A finished run of one seed, 42; tests copy it, and do not change it."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    run(recipe_values(start_weights, csv_file), folder)
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory, one, start_weights, csv_file) -> tuple[Path, list[str], list[str]]:
    """The same gone on with the seeds 42, 43 and 44; what was said, and what was logged."""
    folder = shutil.copytree(one, tmp_path_factory.mktemp("runs") / "three")
    logged: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: logged.append(record.getMessage())
    logger = logging.getLogger("distilnlp")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        said = run(recipe_values(start_weights, csv_file) | {"seeds": 3}, folder)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return folder, said, logged


@pytest.mark.slow
def test_seeds_that_are_added_to_a_finished_run_are_all_that_is_trained(one, three):
    folder, said, _ = three
    assert trained(said) == ["control-seed-43", "student-seed-43", "control-seed-44", "student-seed-44"]
    for name in FIRST:
        assert largest_difference(one / name / WEIGHTS, folder / name / WEIGHTS) == 0
    assert largest_difference(folder / "student" / WEIGHTS, folder / "student-seed-43" / WEIGHTS) > 0


@pytest.mark.slow
def test_the_teacher_answers_once_for_all_seeds(three):
    folder, _, logged = three
    kept = [line for line in logged if "keeping the teacher's answers" in line]
    read = [line for line in logged if "the teacher's answers are read from" in line]
    assert len(kept) == len(read) == 1
    assert not list(folder.glob("*/teacher-cache")), "nobody is left who would read them"


@pytest.mark.slow
def test_the_report_has_every_model_and_costs_of_the_first(three):
    report = read_report(three[0] / "report.json")
    assert [(row.stage, row.role, row.seed, row.repeats) for row in report.stages] == [
        ("teacher", "teacher", None, None),
        ("control", "control", 42, None),
        ("student", "student", 42, None),
        ("control-seed-43", "control", 43, "control"),
        ("student-seed-43", "student", 43, "student"),
        ("control-seed-44", "control", 44, "control"),
        ("student-seed-44", "student", 44, "student"),
    ]
    found = report.stage("student").over_seeds
    assert found.scores == [report.stage(name).score for name in found.stages]
    assert found.gain.interval[0] <= found.gain.mean <= found.gain.interval[1]
    assert report.stage("student-seed-43").cost == report.stage("student").cost
    assert report.stage("student-seed-43").fidelity is not None
    assert report.recipe["seeds"] == [42, 43, 44] and [*report.recipe["stages"]] == FIRST
    said = " ".join("\n".join(three[1]).split())
    assert "±" in said and "student: 3 seeds: accuracy" in said


@pytest.mark.slow
def test_a_run_that_breaks_off_in_a_seed_goes_on_to_the_same_weights(three, values, tmp_path, monkeypatch):
    folder = shutil.copytree(three[0], tmp_path / "run")
    shutil.rmtree(folder / "student-seed-43")
    step_end = StageProgress.on_step_end

    def break_at_5(self, args, state, control, **kwargs):
        step_end(self, args, state, control, **kwargs)
        if state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StageProgress, "on_step_end", break_at_5)
        with pytest.raises(KeyboardInterrupt):
            run(values | {"seeds": 3}, folder)
    assert (folder / "student" / "teacher-cache").is_dir(), "it serves the run that goes on"
    said = run(values | {"seeds": 3}, folder)
    assert trained(said) == ["student-seed-43"] and any("from checkpoint-4" in line for line in said)
    broken, whole = (each / "student-seed-43" / WEIGHTS for each in (folder, three[0]))
    assert largest_difference(broken, whole) == 0
    assert not (folder / "student" / "teacher-cache").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [42, 44]}, "another recipe, with a stage 'control-seed-43'"),
        ({"seeds": [41, 43, 44]}, "stages.control.training.seed is now 41 and was not set"),
        ({"seeds": [42, 43, 44], "seed": 7}, "other settings: seed is now 7 and was 42"),
    ],
)
def test_other_seeds_than_those_that_are_there_are_refused(three, values, tmp_path, changes, message):
    folder = shutil.copytree(three[0], tmp_path / "run")
    with pytest.raises(RequestError, match=message):
        run(values | changes, folder)
    assert (folder / "student-seed-43" / WEIGHTS).is_file()


@pytest.mark.slow
def test_the_model_of_the_first_seed_is_pushed_unless_another_is_named(three):
    folder = three[0]
    assert files_to_push(folder)[WEIGHTS].parent == folder / "student"
    assert files_to_push(folder, "student-seed-43")[WEIGHTS].parent == folder / "student-seed-43"


def test_each_seed_has_its_own_role_and_chain(values):
    stages = values["stages"]
    taught = {**stages["student"], "objective": {"soft_target": {}}}
    plan = make_plan(
        make_recipe(
            values
            | {
                "seeds": 2,
                "stages": {
                    "teacher": stages["teacher"],
                    "ta": {**taught, "student": {"from": "teacher", "layers": 2}},
                    "control": {"like": "student", "teacher": None, "objective": None},
                    "student": {**taught, "teacher": "ta", "student": {"from": "ta", "layers": 1}},
                },
            },
            name="films",
        )
    )
    assert {name: stage.role for name, stage in plan.stages.items() if "seed" in name} == {
        "ta-seed-43": "student",
        "control-seed-43": "control",
        "student-seed-43": "student",
    }
    assert plan.last.name == "student" and plan.reference_teacher == "ta"
    assert plan.chains() == [["control"], ["teacher", "ta", "student"]]
    assert plan.stages["ta-seed-43"].answers == "ta", "one teacher answers for all seeds"
    assert plan.stages["student-seed-43"].answers is None, "each seed has a teacher of its own"


def test_a_folder_that_is_named_for_answers_is_kept(values):
    made = make_recipe(values | {"seeds": 2, "cache": {"folder": "answers"}}, name="films")
    assert {(each.answers, each.cache.folder) for each in make_plan(made).stages.values()} == {(None, "answers")}


def test_a_search_and_votes_that_are_private_take_no_seeds(values, tmp_path):
    alone = {
        "student": {**values["stages"]["student"], "teacher": "owner/teacher", "student": {"from": "owner/model"}}
    }
    made = make_recipe(values | {"seeds": 2, "stages": alone}, name="films")
    with pytest.raises(RequestError, match="a search trains every student that it tries once"):
        search_student(made, tmp_path, Goal(keep=0.9), say=print)
    teacher = values["stages"]["teacher"]
    votes = {"kind": "ensemble", "of": ["a", "b"], "combine": "noisy_vote", "sigma": 1.0}
    stages = {name: {**teacher, "data": {"shard": [place, 3]}} for place, name in ((1, "a"), (2, "b"))}
    stages["student"] = {**teacher, "teacher": votes, "objective": {"soft_target": {}}, "data": {"shard": [3, 3]}}
    with pytest.raises(RequestError, match="each time its teachers' votes cost as much of what is private"):
        run(values | {"seeds": 2, "stages": stages}, tmp_path / "run")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["--seeds", "0"], "--seeds 0: seeds is 0: should be how many"),
        (["--seeds", "-2"], "--seeds -2: seeds is -2: should be how many"),
        (["--seeds", "1,1"], "--seeds 1,1: seeds is [1, 1]: should be different seeds, and 1 is there twice"),
        (["--seeds", "few"], "--seeds 'few': how many are needed, as 3, or which with commas between them, as 1,5,9"),
        (["--seeds", "1,,2"], "--seeds '1,,2': how many are needed"),
        (["--seeds", "2", "--set", "stages.student.training.seed=3"], "training.seed is 3, and seeds trains it with"),
    ],
)
@pytest.mark.parametrize("command", [["run", "glue/mrpc"], ["distill", "mrpc", "--teacher=a/b", "--student-layers=1"]])
def test_a_command_refuses_seeds_in_one_line(command, said, message, capsys):
    assert main([*command, *said]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_command_counts_on_from_its_seed_and_shows_the_plan(capsys):
    assert main(["run", "glue/mrpc", "--seeds", "3", "--plan"]) == 0
    shown = capsys.readouterr().out
    assert "teacher -> student (3 seeds)" in shown
    assert "with each of the seeds 42, 43, 44" in shown
    distill = ["distill", "mrpc", "--teacher", "a/b", "--student-layers", "1", "--dry-run"]
    assert main([*distill, "--seed", "7", "--seeds", "2"]) == 0
    assert "seeds:\n- 7\n- 8\n" in capsys.readouterr().out
    assert main([*distill, "--seeds", "1,5,9"]) == 0
    assert "seed: 42\nseeds:\n- 1\n- 5\n- 9\n" in capsys.readouterr().out
