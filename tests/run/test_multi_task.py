"""Stages with several tasks: a run from recipe to report, breaks, and what is refused before anything is trained."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distilnlp.cli import main
from distilnlp.data import load_task
from distilnlp.errors import RequestError
from distilnlp.hub.files import files_to_push
from distilnlp.models.loading import load_classifier
from distilnlp.models.task_heads import split_task
from distilnlp.recipe import load_recipe, make_recipe
from distilnlp.report.schema import read_report
from distilnlp.run import run_recipe
from distilnlp.run.evaluation import evaluate_model
from distilnlp.run.progress import StageProgress
from tests.killing import largest_difference
from tests.run.conftest import TRAINING
from tests.tiny import CLASS_WORDS

ANNEALED = {"teacher_annealing": {"label_share": {"schedule": "linear", "start": 0.0, "end": 1.0}}}


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another task: pairs, of three classes, fewer than the films."""
    path = tmp_path_factory.mktemp("data") / "pairs.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "text_pair", "label"])
        for row in range(45):
            words, number = CLASS_WORDS[row % 3], row // 3
            writer.writerow([f"the film was {words[number % 5]}", f"it was {words[number // 5]}", f"kind-{row % 3}"])
    return str(path)


@pytest.fixture
def recipe(values: dict[str, Any], csv_file: str, pairs_file: str) -> dict[str, Any]:
    """Two teachers, a control and a student."""
    teacher = values["stages"]["teacher"]
    tasks = {"films": {"task": csv_file}, "pairs": {"task": pairs_file}}
    return {
        **values,
        "stages": {
            "first": teacher,
            "second": {**teacher, "data": {"task": pairs_file}},
            "control": {"like": "student", "teacher": None, "objective": None},
            "student": {
                "student": {"from": teacher["model"], "layers": 1},
                "data": {"tasks": tasks},
                "teacher": {"by_task": {"films": "first", "pairs": "second"}},
                "objective": ANNEALED,
                "training": {**TRAINING, "num_train_epochs": 2},
            },
        },
    }


def changed(recipe: dict[str, Any], **changes: Any) -> dict[str, Any]:
    student = {**recipe["stages"]["student"], **changes}
    return {**recipe, "stages": {**recipe["stages"], "student": {k: v for k, v in student.items() if v is not None}}}


def run(values: dict[str, Any], folder: Path, **settings: Any) -> list[str]:
    said: list[str] = []
    run_recipe(make_recipe(values, name="films"), folder, say=said.append, **settings)
    return said


@pytest.mark.slow
def test_a_run_leaves_a_plain_model_and_a_row_for_each_task(recipe, whole, csv_file, pairs_file):
    folder, said = whole(recipe)
    report = read_report(folder / "report.json")
    assert [(row.stage, row.role, row.kind, row.task) for row in report.stages] == [
        ("first", "teacher", "finetune", "films"),
        ("second", "teacher", "finetune", "pairs"),
        ("control-films", "control", "finetune", "films"),
        ("control-pairs", "control", "finetune", "pairs"),
        ("student-films", "student", "distill", "films"),
        ("student-pairs", "student", "distill", "pairs"),
    ]
    for name, file in (("films", csv_file), ("pairs", pairs_file)):
        row = report.stage(f"student-{name}")
        assert row.score is not None and row.steps and row.cost.parameters and row.baseline is not None
        assert row.fidelity is not None  # with its own teacher
        found = evaluate_model(str(folder / f"student-{name}"), load_task(file), max_length=16)
        assert found["validation"] == pytest.approx(row.metrics)
        joined = load_classifier(folder / "student", require_head=True)
        kept = load_file(folder / f"student-{name}" / "model.safetensors")
        assert all(torch.equal(each, kept[key]) for key, each in split_task(joined, name).state_dict().items())
    told = next(line for line in said if line.startswith("student: distilling from films: first, pairs: second on "))
    assert "examples of films and " in told
    assert told.endswith("examples of pairs")
    scores = [report.stage(f"student-{name}").score for name in ("films", "pairs")]
    shown = " ".join("\n".join(said).split())
    assert f"student: mean over films (accuracy), pairs (accuracy) {sum(scores) / 2:.3f}." in shown
    card = (folder / "README.md").read_text()
    assert "Learned together with: `films`" in card
    assert "stage `second`" in card
    assert "all stages of" in run(recipe, folder)[0]


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["student", "control"])
def test_a_run_that_breaks_off_while_tasks_are_trained_goes_on_to_the_same_weights(
    recipe, tmp_path, monkeypatch, broken, whole
):
    step_end = StageProgress.on_step_end

    def break_at_5(self, args, state, control, **kwargs):
        step_end(self, args, state, control, **kwargs)
        if self.stage == broken and state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StageProgress, "on_step_end", break_at_5)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "broken")
    said = run(recipe, tmp_path / "broken")
    assert any(line.startswith(f"{broken}: ") and line.endswith(", from checkpoint-4") for line in said)
    for name in ("control-films", "control-pairs", "student-films", "student-pairs", "student"):
        paths = [folder / name / "model.safetensors" for folder in (whole(recipe)[0], tmp_path / "broken")]
        assert largest_difference(*paths) == 0
        assert not list((tmp_path / "broken" / name).glob("checkpoint-*"))


@pytest.mark.slow
def test_a_model_of_a_task_that_is_deleted_is_taken_out_again(recipe, tmp_path, whole):
    folder = shutil.copytree(whole(recipe)[0], tmp_path / "run")
    before = load_file(folder / "student-films" / "model.safetensors")
    shutil.rmtree(folder / "student-films")
    said = run(recipe, folder)
    assert not any("distilling" in line for line in said)
    after = load_file(folder / "student-films" / "model.safetensors")
    assert all(torch.equal(each, after[name]) for name, each in before.items())


@pytest.mark.slow
def test_some_stages_can_be_run_and_fresh_deletes_the_models_of_the_tasks(recipe, tmp_path):
    assert "still to come: control-films, control-pairs, student-films, student-pairs" in "\n".join(
        run(recipe, tmp_path, stages="first..second")
    )
    run(recipe, tmp_path, stages="student")
    assert (tmp_path / "student-pairs" / "metrics.json").is_file()
    run(recipe, tmp_path, stages="first", fresh=True)
    assert not (tmp_path / "student-pairs").exists()


@pytest.mark.slow
def test_the_model_of_a_task_teaches_a_later_stage(recipe, tmp_path, pairs_file):
    pupil = {
        "student": {"from": "student-pairs", "layers": 1},
        "teacher": "student-pairs",
        "data": {"task": pairs_file},
        "objective": {"soft_target": {}},
        "training": TRAINING,
    }
    stages = {name: each for name, each in recipe["stages"].items() if name != "control"}
    run({**recipe, "stages": {**stages, "pupil": pupil}}, tmp_path)
    assert read_report(tmp_path / "report.json").stage("pupil").fidelity is not None


@pytest.mark.slow
def test_an_ensemble_and_recorded_answers_teach_a_task(recipe, tmp_path, csv_file):
    path = tmp_path / "recorded.csv"
    with open(csv_file, encoding="utf-8") as file, open(path, "w", newline="", encoding="utf-8") as copy:
        writer = csv.writer(copy)
        writer.writerow(["text", "label", "probs"])
        for row in list(csv.DictReader(file)):
            probs = {"good": 0.9, "bad": 0.1} if row["label"] == "good" else {"good": 0.2, "bad": 0.8}
            writer.writerow([row["text"], row["label"], str(probs).replace("'", '"')])
    tasks = {"films": {"task": str(path)}, "pairs": recipe["stages"]["student"]["data"]["tasks"]["pairs"]}
    second = recipe["stages"]["second"]
    stages = {"second": second, "third": {**second, "training": {**TRAINING, "seed": 3}}}
    stages["student"] = {
        **recipe["stages"]["student"],
        "data": {"tasks": tasks},
        "teacher": {"by_task": {"films": {"column": "probs"}, "pairs": ["second", "third"]}},
    }
    run({**recipe, "stages": stages}, tmp_path / "run")
    report = read_report(tmp_path / "run" / "report.json")
    assert report.stage("ensemble of second, third").score is not None
    assert report.stage("student-pairs").fidelity is not None


def test_a_shipped_recipe_says_how_it_is_done():
    recipe = load_recipe("schemes/multi-task")
    assert list(recipe.by_task().stages) == [
        "teacher",
        "second",
        "control-mnli-sample",
        "control-found-or-written",
        "student-mnli-sample",
        "student-found-or-written",
    ]
    assert make_recipe(recipe.to_dict(), name="again").to_dict()["stages"] == recipe.to_dict()["stages"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"tasks": {"films": {}}}}, "data.tasks has films: two or more are needed"),
        ({"data": {"tasks": {"films": {}, "a b": {}}}}, "task 'a b' of stages.student: should be letters"),
        ({"teacher": "first"}, "several tasks and one teacher: give each its own, by_task"),
        ({"teacher": ["first", "second"]}, "several tasks and one teacher"),
        ({"teacher": {"kind": "average", "decay": 0.9}}, "several tasks and one teacher"),
        ({"teacher": {"by_task": {"films": "first"}}}, "the task pairs has no teacher"),
        ({"teacher": {"by_task": {"films": "first", "pair": "second"}}}, "unknown task 'pair': did you mean 'pairs'"),
        ({"teacher": {"by_task": {"films": "first", "pairs": "secnd"}}}, "'secnd': no such stage or folder; did you"),
        (
            {"teacher": {"by_task": {"films": "first", "pairs": {"kind": "average", "decay": 0.9}}}},
            "a task is taught by a model, by several, or by recorded answers; average is none of these",
        ),
        (
            {"teacher": {"by_task": {"films": "first", "pairs": "second"}, "model": "first"}},
            "one of 'model' and 'by_task'",
        ),
        ({"teacher": {"by_task": {"films": "first", "pairs": "second"}}, "objective": None}, "no 'objective'"),
        ({"kind": "transform", "objective": None, "teacher": None}, "several tasks are learned together by training"),
        ({"labels": "grow"}, "labels is for one task"),
        ({"problem": "regression"}, "problem is for one task"),
        ({"data": {"task": "mrpc", "tasks": {"films": {}, "pairs": {}}}}, "data.task is of one task"),
        (
            {"data": {"tasks": {"films": {"max_length": 8}, "pairs": {}}}},
            "one model reads the texts of all tasks alike",
        ),
        ({"data": {"size_power": 0.5}, "teacher": None, "objective": None}, "size_power is for several tasks"),
        ({"data": {"tasks": {"films": {}, "pairs": {}}, "size_power": 2.0}}, "less than or equal to 1"),
        (
            {"student": {"from": "first", "layers": 1, "vocabulary": {}}},
            "vocabulary keeps the tokens of the texts of one",
        ),
        ({"data": None}, "by_task is for a stage with several tasks"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_with_its_line(recipe, changes, message):
    with pytest.raises(RequestError, match=message):
        make_recipe(changed(recipe, **changes), name="tasks")


def test_a_model_of_a_task_is_not_called_as_a_stage(recipe):
    stages = {"student-films": recipe["stages"]["first"], **recipe["stages"]}
    with pytest.raises(RequestError, match="the model of the task 'films' is called student-films, as a stage is"):
        make_recipe({**recipe, "stages": stages}, name="tasks")


def test_nobody_learns_from_the_whole_of_several_tasks(recipe, tmp_path):
    late = {**recipe["stages"]["first"], "model": "student"}
    after = {**recipe["stages"]["first"], "model": "student-films@checkpoint-2"}
    with pytest.raises(
        RequestError, match="a stage of several tasks: name one of its models, student-films, student-"
    ):
        make_recipe({**recipe, "stages": {**recipe["stages"], "late": late}}, name="tasks")
    checkpoint = "student-films@checkpoint-2', and the stage 'student-films' is one of several"
    with pytest.raises(RequestError, match=checkpoint):
        run({**recipe, "stages": {**recipe["stages"], "late": after}}, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": {"by_task": {"films": "second", "pairs": "first"}}}, "stages.student-films: .*labels"),
        ({"objective": {"hard_label": {"pos_weight": 2.0}, "soft_target": {}}}, "pos_weight"),
        ({"objective": {"hard_label": {}}}, "a teacher is given and no term"),
        ({"parts": {"early_exits": {}}}, "early_exits follows a model of one task"),
        ({"training": {**TRAINING, "per_device_train_batch_size": 512}}, "a step has 512 examples and the tasks have"),
        ({"training": {**TRAINING, "metric_for_best_model": "accuracy"}}, "unknown metric 'accuracy'"),
    ],
)
def test_what_only_models_and_data_tell_is_found_before_anything_is_trained(recipe, tmp_path, changes, message):
    with pytest.raises(RequestError, match=message):
        run(changed(recipe, **changes), tmp_path)
    assert not (tmp_path / "first" / "metrics.json").exists()


@pytest.mark.slow
def test_the_command_line_runs_answers_and_publishes_a_task(recipe, tmp_path, csv_file, pairs_file, capsys):
    path = tmp_path / "tasks.yaml"
    path.write_text(make_recipe(recipe, name="tasks").to_yaml())
    assert main(["run", str(path), "-o", str(tmp_path / "run"), "--stages", "first..student"]) == 0
    assert "student-pairs" in capsys.readouterr().out
    student = str(tmp_path / "run" / "student")
    assert main(["evaluate", f"{student}-pairs", pairs_file]) == 0
    assert main(["predict", f"{student}-films", "--text", "a fine film"]) == 0
    assert main(["predict", student, "--text", "a fine film"]) == 2
    assert "holds the heads of several tasks, films, pairs: give the model of one" in capsys.readouterr().err
    assert main(["evaluate", student, csv_file]) == 2
    assert "holds the heads of several tasks" in capsys.readouterr().err
    last = files_to_push(tmp_path / "run")
    assert last["model.safetensors"].parent.name == "student-pairs"  # whose card is the run's
    assert files_to_push(tmp_path / "run", "student-films")["model.safetensors"].parent.name == "student-films"
    with pytest.raises(RequestError, match="unknown stage 'student'"):
        files_to_push(tmp_path / "run", "student")


def test_a_recipe_that_was_written_by_a_run_is_read_again(recipe, tmp_path):
    made = make_recipe(recipe, name="tasks")
    (tmp_path / "again.yaml").write_text(made.to_yaml())
    assert load_recipe(str(tmp_path / "again.yaml")).to_dict() == made.to_dict()
