"""A run from end to end: what is written, what is skipped, refused, resumed."""

import copy
import fcntl
import json
import shutil
from pathlib import Path
from unittest import mock

import datasets
import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerState

from distilnlp.data import Task, load_task
from distilnlp.data.columns import Columns
from distilnlp.errors import RequestError
from distilnlp.models.labels import align_labels
from distilnlp.models.loading import load_classifier, load_model
from distilnlp.problems import get_problem
from distilnlp.recipe import Recipe, load_recipe, make_recipe
from distilnlp.report.predictions import read_predictions
from distilnlp.report.schema import Report, StageResult, read_report, read_stage_result
from distilnlp.run import evaluate_model, run_recipe, sources
from distilnlp.run import runner as runner_module
from distilnlp.run.evaluation import columns_of
from distilnlp.run.folder import RunFolder
from distilnlp.run.manifest import clear_stage
from distilnlp.run.models import Models
from distilnlp.run.plan import make_plan
from distilnlp.run.progress import StageProgress
from distilnlp.run.report import eval_split
from tests.run.conftest import TRAINING, recipe_values
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def finished(tmp_path_factory, start_weights, csv_file) -> Path:
    """A finished run; tests look at it and copy it, and do not change it."""
    folder = tmp_path_factory.mktemp("runs") / "films"
    recipe = make_recipe(recipe_values(start_weights, csv_file), name="films")
    run_recipe(recipe, folder)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "films")


def weights(stage: Path) -> dict[str, np.ndarray]:
    return load_file(stage / "model.safetensors")


def largest_difference(first: Path, second: Path) -> float:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


def changed_by_a_run(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")}


def test_a_run_leaves_what_it_promises(finished: Path, recipe: Recipe):
    assert yaml.safe_load((finished / "recipe.yaml").read_text()) == recipe.to_dict()
    assert load_recipe(finished / "recipe.yaml").to_dict() == recipe.to_dict()
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["seeds"] == {"data": 0, "teacher": 42, "control": 42, "student": 42}
    assert {"torch", "transformers", "python"} <= environment["versions"].keys()
    for name in recipe.stages:
        model = AutoModelForSequenceClassification.from_pretrained(finished / name)
        assert sorted(model.config.id2label.values()) == ["bad", "good"]
        assert AutoTokenizer.from_pretrained(finished / name)("good")["input_ids"]
        assert not list((finished / name).glob("checkpoint-*"))
    assert model.config.num_hidden_layers == 1
    assert not [path for path in finished.rglob("*") if path.name.endswith((".tmp", ".bin", ".incomplete"))]


def test_the_report_puts_the_models_side_by_side(finished: Path):
    report = read_report(finished / "report.json")
    rows = {row.stage: row for row in report.stages}
    assert {name: row.role for name, row in rows.items()} == {
        "teacher": "teacher",
        "control": "control",
        "student": "student",
    }
    assert rows["student"].cost.parameters < rows["teacher"].cost.parameters
    assert rows["teacher"].fidelity is None
    for name in ("control", "student"):
        assert 0 <= rows[name].fidelity.agreement <= 1
        assert rows[name].score == rows[name].metrics["accuracy"]
    # What the stage itself measured is written once, when it is finished; the rest is measured when all are there.
    result = read_stage_result(finished / "student" / "metrics.json")
    assert result == rows["student"].model_copy(update={"cost": None, "fidelity": None})
    assert (result.kind, result.steps) == ("distill", 6)
    assert "arXiv" in report.sources["soft_target"]
    card = (finished / "README.md").read_text()
    assert "| student |" in card
    assert "films-student" in card


def test_every_model_remembers_its_columns(finished: Path):
    expected = {"text": "text", "text_pair": None, "label": "label"}
    for stage in ("teacher", "control", "student"):
        assert json.loads((finished / stage / "config.json").read_text())["distilnlp_columns"] == expected


def test_control_and_student_start_alike_and_take_as_many_steps(finished: Path):
    steps = [json.loads((finished / name / "metrics.json").read_text())["steps"] for name in ("control", "student")]
    assert steps[0] == steps[1]
    assert largest_difference(finished / "control", finished / "student") > 0


def test_the_score_is_that_of_the_saved_model(finished: Path, csv_file: str):
    stored = json.loads((finished / "student" / "metrics.json").read_text())["metrics"]
    assert evaluate_model(str(finished / "student"), load_task(csv_file))["validation"] == stored


def test_a_finished_run_is_not_trained_again(copied: Path, recipe: Recipe):
    before = changed_by_a_run(copied)
    said: list[str] = []
    report = run_recipe(recipe, copied, say=said.append)
    assert changed_by_a_run(copied) == before
    assert said[0] == f"all stages of {copied} are finished"
    assert report == read_report(copied / "report.json")
    assert said[-2:] == [f"run   {copied}", f"card  {copied / 'README.md'}"]


@pytest.mark.parametrize(
    "file",
    ["model.safetensors", "config.json", "tokenizer.json", "predictions.parquet", "metrics.json", "checksums.json"],
)
@pytest.mark.parametrize("finished_run", [True, False], ids=["finished", "its last stage to come"])
def test_a_damaged_file_of_a_finished_stage_is_named(copied: Path, recipe: Recipe, file: str, finished_run: bool):
    """A bit that is not what it was; nothing is trained on it or shown."""
    if not finished_run:
        shutil.rmtree(copied / "student")
        (copied / "report.json").unlink()
    path = copied / "teacher" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    before = changed_by_a_run(copied)
    with pytest.raises(RequestError, match=rf"{file}.*delete '{copied / 'teacher'}' and run the recipe again"):
        run_recipe(recipe, copied)
    assert changed_by_a_run(copied) == before


@pytest.mark.parametrize(
    "file", ["report.json", "inputs.json", "recipe.yaml", "teacher/metrics.json", "environment.json"]
)
def test_an_empty_file_is_named_or_written_anew(copied: Path, recipe: Recipe, file: str):
    (copied / file).write_text("")
    if file == "environment.json":
        run_recipe(recipe, copied)
        assert json.loads((copied / file).read_text())["versions"]
        return
    with pytest.raises(RequestError, match=rf"{copied / file}.*(delete|--output)"):
        run_recipe(recipe, copied)


def test_a_finished_run_of_other_data_is_not_called_finished(copied: Path, recipe: Recipe):
    """As after an edit of the file: the digests are not those of the run."""
    kept = json.loads((copied / "inputs.json").read_text())
    kept["stages"]["student"]["data"]["validation"]["digest"] = "0"
    (copied / "inputs.json").write_text(json.dumps(kept))
    with pytest.raises(RequestError, match=r"the data changed: validation is now .* when stage 'student' was begun"):
        run_recipe(recipe, copied)


def test_a_finished_run_is_shown_where_its_data_are_gone(copied: Path, recipe: Recipe, monkeypatch):
    def gone(*args: object, **kwargs: object) -> Task:
        raise RequestError("there is no films.csv")

    monkeypatch.setattr(runner_module, "load_task", gone)
    said: list[str] = []
    assert run_recipe(recipe, copied, say=said.append) == read_report(copied / "report.json")
    assert said[0].endswith("is not known: there is no films.csv")


def broken_off(recipe: Recipe, folder: Path, stage: str, step: int) -> None:
    """Run until a checkpoint of a stage is in its place."""

    def stop(self: StageProgress, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        if (self.stage, state.global_step) == (stage, step):
            raise KeyboardInterrupt

    with mock.patch.object(StageProgress, "on_save", stop, create=True), pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "said", "start"),
    [
        (
            ["checkpoint-4/optimizer.pt"],
            "checkpoint-4 lacks optimizer.pt, so the stage goes on",
            ", from checkpoint-2",
        ),
        (
            ["checkpoint-4/rng_state.pth", "checkpoint-2/trainer_state.json"],
            "checkpoint-2 lacks trainer_state.json, so the stage begins anew",
            "examples",
        ),
    ],
)
def test_a_checkpoint_that_lacks_a_file_is_named_and_an_earlier_one_taken(
    finished: Path, tmp_path: Path, values: dict, lost: list[str], said: str, start: str
):
    values["stages"]["student"]["training"] = {**TRAINING, "save_total_limit": 3}
    recipe, lines = make_recipe(values, name="films"), []
    broken_off(recipe, tmp_path / "run", "student", 4)
    for file in lost:
        (tmp_path / "run" / "student" / file).unlink()
    run_recipe(recipe, tmp_path / "run", say=lines.append)
    assert f"student: {said}" in "\n".join(lines)
    assert next(line for line in lines if line.startswith("student: distilling")).endswith(start)
    assert largest_difference(finished / "student", tmp_path / "run" / "student") == 0.0


def test_a_stage_without_optimizers_in_its_checkpoints_begins_anew(finished: Path, tmp_path: Path, values: dict):
    values["stages"] = {"teacher": {**values["stages"]["teacher"], "training": {**TRAINING, "save_only_model": True}}}
    recipe, lines = make_recipe(values, name="films"), []
    broken_off(recipe, tmp_path / "run", "teacher", 4)
    run_recipe(recipe, tmp_path / "run", say=lines.append)
    assert "teacher: checkpoint-4 lacks optimizer.pt, scheduler.pt, rng_state.pth, so the stage begins anew" in lines
    assert "teacher: save_only_model keeps no optimizer, so that after a break the stage begins anew" in lines
    assert largest_difference(finished / "teacher", tmp_path / "run" / "teacher") == 0.0


def test_the_answers_are_kept_so_that_agreement_needs_no_model(finished: Path, csv_file: str):
    task = load_task(csv_file)
    own, theirs = (read_predictions(finished / name / "predictions.parquet") for name in ("student", "teacher"))
    assert own.labels.tolist() == task.validation["label"]
    decisions = [task.problem.decide(each.logits) for each in (own, theirs)]
    row = read_report(finished / "report.json").stage("student")
    assert float(np.mean(decisions[0] == own.labels)) == row.score
    assert float(np.mean(decisions[0] == decisions[1])) == row.fidelity.agreement


def test_a_stage_of_an_older_version_is_not_taken_for_finished(copied: Path, recipe: Recipe):
    """Nor trained over: what it measured cannot be read, and the user says what is to happen."""
    path = copied / "student" / "metrics.json"
    path.write_text(json.dumps({"stage": "student", "score": 0.5}))
    (copied / "report.json").unlink()
    with pytest.raises(RequestError, match=r"without a version, of an older distilnlp.*--fresh"):
        run_recipe(recipe, copied)


def test_only_the_stage_that_is_not_finished_is_trained(copied: Path, recipe: Recipe):
    (copied / "student" / "metrics.json").unlink()
    before = changed_by_a_run(copied)
    old = weights(copied / "student")
    said: list[str] = []
    run_recipe(recipe, copied, say=said.append)
    after = changed_by_a_run(copied)
    assert [path for path in before if before[path] != after[path]] == [str(copied / "student" / "model.safetensors")]
    assert sum("finished before" in line for line in said) == 2
    assert all(np.array_equal(old[name], new) for name, new in weights(copied / "student").items())


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        (
            "stages.teacher.training.learning_rate=0.5",
            "stages.teacher.training.learning_rate is now 0.5 and was 0.001",
        ),
        ("stages.student.training.seed=1", "training.seed is now 1 and was not set"),
        ("stages.student.objective.hidden_state=null", "objective.hidden_state"),
        ("data.max_length=12", "data.max_length is now 12 and was 16"),
        ("seed=1", "seed is now 1 and was 42"),
        ("precision=bf16", "precision is now 'bf16' and was 'fp32'"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_lost(copied: Path, values, setting, key):
    before = changed_by_a_run(copied)
    with pytest.raises(RequestError) as caught:
        run_recipe(make_recipe(values, name="films", settings=[setting]), copied)
    assert key in str(caught.value)
    assert "--output" in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert changed_by_a_run(copied) == before
    assert load_recipe(copied / "recipe.yaml").to_dict() == make_recipe(values, name="films").to_dict()


def test_a_stage_that_was_not_begun_may_still_change(copied: Path, values):
    shutil.rmtree(copied / "student")
    (copied / "report.json").unlink()
    stages = values["stages"]
    stages["control"] = {**stages["student"], "teacher": None, "objective": None}  # as it was resolved before
    recipe = make_recipe(values, name="films", settings=["stages.student.training.seed=7"])
    run_recipe(recipe, copied)
    assert json.loads((copied / "environment.json").read_text())["seeds"]["student"] == 7


def test_a_run_of_another_recipe_is_never_overwritten(copied: Path, values):
    stages = {"other": values["stages"]["teacher"]}
    with pytest.raises(RequestError, match="holds a run of another recipe, with a stage 'teacher'"):
        run_recipe(make_recipe({**values, "stages": stages}, name="films"), copied)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path, recipe: Recipe):
    (tmp_path / "thesis.tex").write_text("years of work")
    for fresh in (False, True):
        with pytest.raises(RequestError, match=r"is no run and holds thesis\.tex"):
            run_recipe(recipe, tmp_path, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path, recipe: Recipe):
    (tmp_path / "run").write_text("")
    with pytest.raises(RequestError, match="is a file"):
        run_recipe(recipe, tmp_path / "run")


def test_fresh_starts_over_and_deletes_only_what_is_of_the_run(copied: Path, values):
    (copied / "notes.txt").write_text("mine")
    recipe = make_recipe(values, name="films", settings=["stages.student=null", "stages.control=null", "seed=3"])
    report = run_recipe(recipe, copied, fresh=True)
    assert [row.stage for row in report.stages] == ["teacher"]
    assert not (copied / "student").exists()
    assert (copied / "notes.txt").read_text() == "mine"


def test_two_processes_do_not_run_in_one_folder(copied: Path, recipe: Recipe):
    with open(copied / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RequestError, match="another process runs in"):
            run_recipe(recipe, copied)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_a_broken_stage_resumes_to_the_same_weights(tmp_path, finished, recipe, monkeypatch, stage):
    """The break is at step 5 of 6, after the checkpoint of step 4."""
    step_end = StageProgress.on_step_end

    def break_at_5(self, args, state, control, **kwargs):
        step_end(self, args, state, control, **kwargs)
        if self.stage == stage and state.global_step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(StageProgress, "on_step_end", break_at_5)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "run")
    steps: list[int] = []

    def note(self, args, state, control, **kwargs):
        if self.stage == stage:
            steps.append(state.global_step)

    monkeypatch.setattr(StageProgress, "on_step_end", note)
    assert [path.name for path in (tmp_path / "run" / stage).glob("checkpoint-*")] == ["checkpoint-4"]
    assert not (tmp_path / "run" / stage / "model.safetensors").exists()

    said: list[str] = []
    run_recipe(recipe, tmp_path / "run", say=said.append)

    assert any(line.endswith("from checkpoint-4") for line in said)
    assert steps == [5, 6], "from the start it would end with the same weights too"
    for name in recipe.stages:
        assert largest_difference(tmp_path / "run" / name, finished / name) == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stages.student.objective.soft_target=null", None),
        ("stages.student.student.layers=9", "cannot keep layers of a teacher of 3"),
        ("stages.student.objective.logit_mse={center: true}", None),
        ("stages.student.objective.bernoulli_soft_target={}", "is for multi-label heads"),
        ("data.max_length=500", "max_length is 500"),
        ("stages.student.teacher=/nowhere/teacher", "there is no model folder /nowhere/teacher"),
        ("stages.teacher.lora={target_modules: [nothing]}", "lora: "),
    ],
)
def test_what_cannot_work_is_found_before_anything_is_trained(tmp_path, values, setting, message, monkeypatch):
    """The student comes last: its mistakes must not cost the teacher's training."""
    trained: list[str] = []
    monkeypatch.setattr(runner_module, "train_stage", lambda stage, *rest: trained.append(stage.name))
    monkeypatch.setattr(runner_module, "make_report", lambda *rest: Report(stages=[StageResult(stage="teacher")]))
    recipe = make_recipe(values, name="films", settings=[setting])
    if message is None:
        run_recipe(recipe, tmp_path / "run")
        assert trained == ["teacher", "control", "student"]
        return
    with pytest.raises(RequestError, match=message) as caught:
        run_recipe(recipe, tmp_path / "run")
    assert str(caught.value).startswith(f"--set {setting}: ")
    assert trained == []


@pytest.mark.slow
def test_a_student_of_other_tokens_does_not_cost_the_teachers_training(tmp_path, values, start_weights):
    """Its attention has none of the teacher's tokens to look at; what is left is learned."""
    other = tmp_path / "other"
    shutil.copytree(start_weights, other)
    text = (other / "tokenizer.json").read_text()
    swapped = text.replace('"film"', '"FILM"').replace('"book"', '"film"').replace('"FILM"', '"book"')
    (other / "tokenizer.json").write_text(swapped)
    settings = ["stages.student.student=null", f"stages.student.model={other}"]
    maps = [*settings, "stages.student.objective.attention_scores={}"]
    with pytest.raises(RequestError, match=r"attention_scores compares what the models have for each token") as caught:
        run_recipe(make_recipe(values, name="films", settings=maps), tmp_path / "run")
    assert "stages.student" in str(caught.value) and not (tmp_path / "run" / "teacher").exists()
    report = run_recipe(make_recipe(values, name="films", settings=settings), tmp_path / "run")
    assert {row.stage: row for row in report.stages}["student"].fidelity is not None


def test_a_model_that_does_not_know_the_words_is_named_not_the_length(tmp_path, values, start_weights):
    words = [f"{word} {word} {word} {row},{row % 2}\n" for row, word in enumerate(["foo", "bar", "baz"] * 8)]
    (tmp_path / "words.csv").write_text("text,label\n" + "".join(words))
    settings = [f"stages.teacher.model={start_weights}", f"data.task={tmp_path / 'words.csv'}", "data.max_length=12"]
    with pytest.raises(RequestError, match="tokens of the first") as caught:
        run_recipe(make_recipe(values, name="words", settings=settings), tmp_path / "run")
    assert str(caught.value).startswith(f"--set {settings[0]}: stages.teacher: ")


@pytest.mark.parametrize(
    ("labels", "message"),
    [(None, "the teacher's labels have no names"), (["fresh", "rotten"], "the labels of the data are bad, good and")],
)
def test_a_teacher_that_is_not_fine_tuned_for_the_task_does_not_cost_the_controls_training(
    tmp_path, values, labels, message
):
    teacher = tmp_path / "teacher"
    tiny_model("bert", layers=3, label_names=labels, num_labels=2).save_pretrained(teacher)
    tiny_tokenizer().save_pretrained(teacher)
    recipe = make_recipe(values, name="films", settings=[f"stages.student.teacher={teacher}"])
    with pytest.raises(RequestError, match=message) as caught:
        run_recipe(recipe, tmp_path / "run")
    assert str(caught.value).startswith(f"--set stages.student.teacher={teacher}: stages.student: ")
    assert not (tmp_path / "run" / "teacher").exists()


def test_nor_does_a_teacher_of_several_labels_that_knows_none_of_them(tmp_path, values):
    rows = [
        {"text": f"the film was {word} {i}", "labels": [["fine"], ["long"], ["fine", "long"]][i % 3]}
        for i, word in enumerate(["good", "bad", "great"] * 20)
    ]
    (tmp_path / "films.jsonl").write_text("\n".join(map(json.dumps, rows)))
    teacher = tmp_path / "teacher"
    tiny_model("bert", num_labels=2, problem_type="multi_label_classification").save_pretrained(teacher)
    tiny_tokenizer().save_pretrained(teacher)
    values["data"]["task"] = str(tmp_path / "films.jsonl")
    values["stages"]["student"]["objective"] = {"bernoulli_soft_target": {}}
    recipe = make_recipe(values, name="films", settings=[f"stages.student.teacher={teacher}"])
    with pytest.raises(RequestError, match=r"have no names.* on \d+ answers it is right"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_text_that_the_tokenizer_does_not_know_is_one_among_many(tmp_path, values, caplog):
    """The shortest text is no sample: an emoji is one unknown token, and a long one would be told to be cut."""
    rows = [f"{'good' if row % 2 else 'bad'} film was the {row},{row % 2}\n" for row in range(20)]
    (tmp_path / "films.csv").write_text("text,label\n\U0001f44d,1\n" + "".join(rows), encoding="utf-8")
    task = load_task(tmp_path / "films.csv", seed=0)
    recipe = make_recipe({**values, "data": {"task": "films.csv", "max_length": 4}}, name="films")
    Models(make_plan(recipe), dict.fromkeys(recipe.stages, task), RunFolder(tmp_path / "run")).check()
    assert not caplog.records


@pytest.mark.slow
def test_a_stage_with_other_data_is_trained_and_measured_on_them(tmp_path: Path, values):
    """First a task of three classes, then the run's own: the body goes on, the head is new; no agreement across."""
    words = (("blue", "a"), ("one", "b"), ("good", "c"))
    rows = [f"the meal is {word} and {word} {row},{label}\n" for row in range(20) for word, label in words]
    (tmp_path / "three.csv").write_text("text,label\n" + "".join(rows))
    teacher = values["stages"]["teacher"]
    stages = {
        "before": {"model": teacher["model"], "data": {"task": str(tmp_path / "three.csv")}, "training": TRAINING},
        "teacher": {"model": "before", "training": TRAINING},
        "student": {**values["stages"]["student"], "data": {"max_train": 30}},
    }
    report = run_recipe(make_recipe({**values, "stages": stages}, name="films"), tmp_path / "run")
    assert {row.stage: row.task for row in report.stages} == {
        "before": "three",
        "teacher": "films",
        "student": "films",
    }
    labels = {name: load_classifier(tmp_path / "run" / name).config.num_labels for name in stages}
    assert labels == {"before": 3, "teacher": 2, "student": 2}
    body = "bert.encoder.layer.0.output.dense.weight"
    before, after = (weights(tmp_path / "run" / name)[body] for name in ("before", "teacher"))
    assert 0 < np.abs(before - after).max() < 0.1  # it went on from there
    assert report.task == "films" and report.stage("before").fidelity is None
    assert report.stage("student").steps == 4  # 30 rows in batches of 8
    # Fewer rows to learn from, the same to be measured on.
    assert report.stage("student").held_out == report.stage("teacher").held_out != report.stage("before").held_out
    assert report.stage("student").fidelity is not None


def test_a_column_for_each_label_is_said_once_and_remembered(tmp_path: Path, values):
    rows = [f"the film was {row},{row % 2},{int(row % 3 == 0)}\n" for row in range(60)]
    (tmp_path / "films.csv").write_text("text,good,long\n" + "".join(rows))
    values["data"] = {**values["data"], "task": str(tmp_path / "films.csv"), "label": ["good", "long"]}
    values["stages"] = {"teacher": values["stages"]["teacher"]}
    recipe, said = make_recipe(values, name="films"), []
    run_recipe(recipe, tmp_path / "run")
    run_recipe(recipe, tmp_path / "run", say=said.append)
    assert said[0] == f"all stages of {tmp_path / 'run'} are finished"
    columns = columns_of(str(tmp_path / "run" / "teacher"))
    assert columns == Columns("text", None, ("good", "long"))
    assert load_task(tmp_path / "films.csv", trained=columns).label_names == ("good", "long")


def test_a_problem_that_the_labels_do_not_fit_is_refused(tmp_path: Path, values):
    values["stages"]["student"]["problem"] = "regression"
    with pytest.raises(RequestError, match="where regression needs a finite number"):
        run_recipe(make_recipe(values, name="films"), tmp_path / "run")


def test_a_model_from_outside_is_loaded_once_for_all_who_use_it(tmp_path: Path, finished: Path, values):
    """Teacher and start of two stages: the file is read once, and the teacher's weights are nobody's to change."""
    outside = str(finished / "teacher")
    student = {**values["stages"]["student"], "student": {"from": outside, "layers": 1}, "teacher": outside}
    stages = {"control": {"like": "student", "teacher": None, "objective": None}, "student": student}
    recipe = make_recipe({**values, "stages": stages}, name="films")
    plan = make_plan(recipe)
    task = load_task(plan.recipe.data.task)
    models = Models(plan, dict.fromkeys(plan.stages, task), RunFolder(tmp_path / "run"))
    with mock.patch.object(sources, "load_model", side_effect=load_model) as loaded:
        models.check()
        before = {name: tensor.clone() for name, tensor in models.sources.teacher(outside, task).state_dict().items()}
        starts = [models.start(stage) for stage in plan.stages.values()]
        teacher = models.teacher(plan.stages["student"])
    assert loaded.call_count == 1
    assert all(parameter.requires_grad for start in starts for parameter in start.parameters())
    for start in starts:
        for parameter in start.parameters():
            parameter.data.fill_(0.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.model.state_dict().items())
    assert not models.sources._kept  # after its last use it is let go


def test_a_teacher_that_is_no_stage_has_its_row(tmp_path: Path, finished: Path, values):
    teacher = str(finished / "teacher")
    stages = {
        "student": {**values["stages"]["student"], "teacher": teacher, "student": {"from": teacher, "layers": 1}}
    }
    report = run_recipe(make_recipe({**values, "stages": stages}, name="films"), tmp_path / "run")
    rows = report.stages
    assert [row.role for row in rows] == ["teacher", "student"]
    stored = read_report(finished / "report.json").stage("teacher")
    assert rows[0].metrics == stored.metrics
    assert rows[0].cost.disk_mb == stored.cost.disk_mb
    assert rows[1].fidelity.kl >= 0
    # the same teacher, whether it is a stage or not, gives the same student
    assert largest_difference(tmp_path / "run" / "student", finished / "student") == 0


def test_a_model_that_counts_the_labels_otherwise_is_put_in_order(tmp_path: Path, finished: Path, csv_file: str):
    model = load_classifier(finished / "teacher")
    names = [model.config.id2label[i] for i in range(2)]
    align_labels(model, names[::-1]).save_pretrained(tmp_path / "turned")
    tiny_tokenizer().save_pretrained(tmp_path / "turned")
    task = load_task(csv_file)
    assert evaluate_model(str(tmp_path / "turned"), task) == evaluate_model(str(finished / "teacher"), task)


def test_a_model_that_is_taken_as_it_is_is_put_in_order(tmp_path: Path, finished: Path, values):
    model = load_classifier(finished / "teacher", label_names=["good", "bad"])
    model.config.id2label, model.config.label2id = {0: "GOOD", 1: "Bad"}, {"GOOD": 0, "Bad": 1}
    model.save_pretrained(tmp_path / "turned")
    tiny_tokenizer().save_pretrained(tmp_path / "turned")
    values["stages"] = {"teacher": {"model": str(tmp_path / "turned"), "train": False}}
    report = run_recipe(make_recipe(values, name="films"), tmp_path / "run")
    assert report.stages[0].metrics == read_report(finished / "report.json").stage("teacher").metrics
    assert load_classifier(tmp_path / "run" / "teacher").config.label2id == {"bad": 0, "good": 1}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"num_labels": 2}, "the teacher's labels have no names"),
        ({"label_names": ["spam", "ham"]}, "the labels of the data are bad, good and the model's are spam, ham"),
        ({"num_labels": 3}, "has 3 outputs and task films needs 2"),
        (None, "has no classification head of its own"),
    ],
)
def test_a_model_that_does_not_know_the_task_is_not_taken_as_it_is(tmp_path: Path, values, made, message):
    model = tiny_model("bert", **(made or {"label_names": ["bad", "good"]}))
    (model if made else model.base_model).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    values["stages"]["teacher"] = {"model": str(tmp_path / "model"), "train": False}
    with pytest.raises(RequestError, match=message):
        run_recipe(make_recipe(values, name="films"), tmp_path / "run")
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_model_that_others_only_start_from_may_get_a_new_head(tmp_path: Path, values, start_weights: str):
    student = {"student": {"from": "start", "layers": 1}, "training": values["stages"]["student"]["training"]}
    values["stages"] = {"start": {"model": start_weights, "train": False}, "small": student}
    assert len(run_recipe(make_recipe(values, name="films"), tmp_path / "run").stages) == 2


def test_labels_without_names_are_said_to_be_a_guess(tmp_path: Path, csv_file: str, caplog):
    tiny_model("bert", num_labels=2).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    evaluate_model(str(tmp_path), load_task(csv_file))
    assert "have no names: its logits are taken to be bad, good" in caplog.text


def test_a_model_for_other_labels_is_not_evaluated(tmp_path: Path, csv_file: str):
    tiny_model("bert", num_labels=3).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(RequestError, match="has 3 outputs and task films needs 2"):
        evaluate_model(str(tmp_path), load_task(csv_file))


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
def test_lora_is_merged_and_the_adapter_kept_on_request(tmp_path: Path, values, keep: bool):
    lora = {"r": 2, "keep_adapter": keep}
    training = {**values["stages"]["teacher"]["training"], "report_to": "tensorboard"}
    stages = {"teacher": {**values["stages"]["teacher"], "lora": lora, "training": training}}
    run_recipe(make_recipe({**values, "stages": stages}, name="films"), tmp_path)
    names = weights(tmp_path / "teacher").keys()
    assert not [name for name in names if "lora" in name]
    assert (tmp_path / "teacher" / "adapter" / "adapter_model.safetensors").is_file() is keep
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "teacher")

    assert (tmp_path / "teacher" / "runs").is_dir()
    assert clear_stage(tmp_path, "teacher") == []  # every file is one that a run is known to write
    assert not (tmp_path / "teacher").exists()


@pytest.mark.slow
def test_an_untrained_teacher_and_a_student_of_labels_alone(tmp_path: Path, values, start_weights: str):
    """The controls of a distillation: is it the teacher's knowledge, or would any soft target do?"""
    student = values["stages"]["student"]
    values["stages"] = {
        "random": {"student": {"from": start_weights, "init": "random"}, "train": False},
        "student": {**student, "teacher": "random", "student": {"from": "random", "layers": 1}},
        "smoothed": {
            "student": {"from": "random", "layers": 1},
            "objective": {"label_smoothing": {"epsilon": 0.2}},
            "training": student["training"],
        },
    }
    recipe = make_recipe(values, name="controls")
    report = run_recipe(recipe, tmp_path / "run")
    rows = {row.stage: row for row in report.stages}
    assert {name: row.role for name, row in rows.items()} == {
        "random": "teacher",
        "student": "student",
        "smoothed": "student",
    }
    assert rows["random"].steps == 0 and rows["student"].steps == rows["smoothed"].steps > 0
    assert rows["smoothed"].fidelity is not None
    again = run_recipe(make_recipe(values, name="controls", settings=["stages.student=null"]), tmp_path / "again")
    assert largest_difference(tmp_path / "run" / "random", tmp_path / "again" / "random") == 0
    assert [row.role for row in again.stages] == ["teacher", "student"]


def test_roles(values):
    stages = copy.deepcopy(values["stages"])
    stages["alone"] = {"model": stages["teacher"]["model"]}
    stages["assistant"] = {**stages["student"], "student": {"from": "teacher", "layers": 2}}
    recipe = make_recipe({**values, "stages": stages}, name="films")
    assert {name: stage.role for name, stage in make_plan(recipe).stages.items()} == {
        "teacher": "teacher",
        "control": "control",
        "student": "student",
        "alone": "teacher",
        "assistant": "student",
    }


def test_a_control_of_a_student_given_by_name_is_a_control(values):
    student = {**values["stages"]["student"], "student": None, "model": "some/student"}
    stages = {**values["stages"], "student": student}
    assert make_plan(make_recipe({**values, "stages": stages}, name="films")).stages["control"].role == "control"


@pytest.mark.parametrize(
    ("name", "rows", "dataset_id", "split"),
    [
        ("mrpc", 408, "nyu-mll/glue", "validation"),
        ("mnli", 9815, "nyu-mll/glue", "validation_matched"),
        ("mrpc", 100, "nyu-mll/glue", None),
        ("films", 408, None, None),
    ],
)
def test_the_split_is_named_where_the_whole_of_it_was_measured(name, rows, dataset_id, split):
    """The card's metadata says with it what the scores are of."""
    task = Task(
        name=name,
        train=None,
        validation=datasets.Dataset.from_dict({"label": range(rows)}),
        label_names=None,
        problem=get_problem("regression"),
        metrics=(),
        main_metric="mse",
        source=name,
        dataset_id=dataset_id,
    )
    assert eval_split(task) == split


def test_the_average_of_the_student_teaches_it(values, tmp_path):
    """A teacher that is no model of its own: nobody has to be trained or loaded for it."""
    values["stages"] = {
        "student": {
            "student": values["stages"]["student"]["student"] | {"from": values["stages"]["teacher"]["model"]},
            "teacher": {"kind": "average", "decay": 0.9},
            "objective": {"hard_label": {"weight": 0.5}, "soft_target": {"weight": 0.5}},
            "training": values["stages"]["student"]["training"],
        }
    }
    lines = []
    report = run_recipe(make_recipe(values, name="films"), tmp_path / "run", say=lines.append)
    assert any("student: distilling from average on" in line for line in lines)
    (student,) = report.stages
    assert (student.role, student.kind) == ("student", "distill")
