"""One call from Python does what the command line does."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import Dataset, DatasetDict
from transformers import BertForSequenceClassification

import distilnlp as dn
from distilnlp.cli import main
from distilnlp.errors import RequestError, RunError
from distilnlp.report.schema import to_json
from distilnlp.run.requests import Settings
from tests.run.conftest import csv_file, start_weights

__all__ = ["csv_file", "start_weights"]  # fixtures

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "max_length": 16, "precision": "fp32"}


def rows_of(csv_file: str) -> list[dict[str, str]]:
    return pd.read_csv(csv_file).to_dict("records")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, start_weights: str, csv_file: str) -> dn.Run:
    return dn.distill(
        csv_file,
        teacher=start_weights,
        finetune_teacher=True,
        student_layers=1,
        accept_weak_teacher=True,  # nobody learns much in one epoch
        output=tmp_path_factory.mktemp("runs") / "mine",
        quiet=True,
        set={f"stages.{stage}.training.logging_steps": 2 for stage in ("teacher", "control", "student")},
        **QUICK,
    )


class Stopped(Exception):
    pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, Path]]:
    """The recipes and folders that would have been run."""
    found: list[tuple[Any, Path]] = []

    def note(recipe: Any, folder: Path, **_: Any) -> None:
        found.append((recipe, Path(folder)))
        raise Stopped

    monkeypatch.setattr("distilnlp.api.calls.run_recipe", note)
    monkeypatch.chdir(tmp_path)
    return found


def recipe_of(asked: list[tuple[Any, Path]], call: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    with pytest.raises(Stopped):
        call(*args, **kwargs)
    return asked[-1][0].to_dict()


DISTIL: list[tuple[str, list[str], dict[str, Any]]] = [
    ("mrpc", ["--teacher", "t", "--student-layers", "3"], {"teacher": "t", "student_layers": 3}),
    ("mrpc", ["--teacher", "t", "--student", "s", "--no-control"], {"teacher": "t", "student": "s", "control": False}),
    (
        "{file}",
        [
            *("--teacher", "t", "--finetune-teacher", "--student-layers", "2", "--student-vocabulary", "500"),
            *("--temperature", "3", "--epochs", "2", "--learning-rate", "1e-4", "--seed", "7", "--text", "text"),
            *("--label", "label", "--accept-weak-teacher", "--set", "data.max_train=40", "--set", "name=other"),
        ],
        {"teacher_model": "t", "finetune_teacher": True, "student_layers": 2, "student_vocabulary": 500}
        | {"temperature": 3.0, "epochs": 2.0, "learning_rate": 1e-4, "seed": 7, "text": "text", "label": ["label"]}
        | {"accept_weak_teacher": True, "set": {"data.max_train": 40, "name": "other"}},
    ),
    (
        "answers.csv",
        ["--teacher-column", "prob_*", "--teacher-values", "probabilities", "--student-layers", "2"],
        {"teacher_column": "prob_*", "teacher_values": "probabilities", "student_layers": 2},
    ),
    (
        "notes.txt",
        ["--problem-type", "sentence_embedding", "--teacher", "t", "--student-layers", "3", "--validation", "v.csv"],
        {"problem_type": "sentence_embedding", "teacher": "t", "student_layers": 3, "validation": "v.csv"},
    ),
]


@pytest.mark.parametrize(("task", "options", "keywords"), DISTIL)
def test_python_and_the_command_line_make_the_same_recipe(task, options, keywords, asked, csv_file, capsys):
    task = task.format(file=csv_file)
    rows = [f"text {row},{'ab'[row % 2]},{0.1 + row % 2 / 2},{0.9 - row % 2 / 2}\n" for row in range(20)]
    Path("answers.csv").write_text("".join(["text,label,prob_a,prob_b\n", *rows]))
    ours = recipe_of(asked, dn.distill, task, **keywords)
    assert main(["distill", task, *options, "--dry-run"]) == 0
    assert ours == yaml.safe_load(capsys.readouterr().out)
    assert asked[-1][1] == Path("runs") / ours["name"]


def test_a_fine_tuning_too(asked, capsys):
    ours = recipe_of(asked, dn.finetune, "rte", model="m", lora=True, epochs=1.0, max_length=64, set=["seed=3"])
    words = ["--model", "m", "--lora", "--epochs", "1", "--max-length", "64", "--set", "seed=3"]
    assert main(["finetune", "rte", *words, "--dry-run"]) == 0
    assert ours == yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"teacher": "t", "student_layer": 3}, "unknown keyword of distill: 'student_layer': did you mean 'student_l"),
        ({"teacher": "t", "student_layers": 3, "epoch": 1}, "did you mean 'epochs'?"),
        ({"teacher": "t"}, "give one of student_layers (layers of the teacher) and student (a model)"),
        ({"student_layers": 3}, "give one of teacher (a model) and teacher_column (answers in the data)"),
        ({"teacher": "t", "teacher_model": "t"}, "are one keyword: give it once"),
        ({"teacher": 3, "student_layers": 3}, "teacher is 3, of type int: give str | "),
        (
            {"teacher": "t", "student_layers": "three"},
            "distill: student_layers is 'three', of type str: give int | None",
        ),
        ({"teacher": "t", "student_layers": 3, "epochs": "many"}, "epochs is 'many', of type str: give float | None"),
        ({"teacher": "t", "student_layers": 3, "set": "seed=1"}, "set is 'seed=1', of type str"),
        ({"teacher": "t", "student_layers": 3, "set": {"data.max_trian": 1}}, "did you mean 'max_train'?"),
        ({"teacher": "t", "student_layers": 3, "output": 3}, "output is 3, of type int"),
        ({"teacher": "t", "student_layers": 3, "set": {"name": object()}}, "set: name has a value of type object"),
    ],
)
def test_what_cannot_be_meant_is_an_error_in_the_words_of_python(keywords, said, asked):
    with pytest.raises(RequestError) as caught:
        dn.distill("mrpc", **keywords)
    assert said in str(caught.value)
    assert "--" not in str(caught.value).removeprefix("--set ")  # which is the name of its kind


def test_a_change_of_the_recipe_may_be_a_path_or_a_number_of_numpy(asked):
    changes = {"data.max_train": np.int64(40), "data.data_dir": Path("here")}
    data = recipe_of(asked, dn.finetune, "mrpc", model="m", set=changes)["data"]
    assert (data["max_train"], data["data_dir"]) == (40, "here")


def test_a_model_in_memory_is_told_to_be_saved_first(run, asked):
    with pytest.raises(RequestError, match="teacher is a model in memory: save it and its tokenizer"):
        dn.distill("mrpc", teacher=run.student, student_layers=1)


def test_a_run_is_what_a_model_starts_from(run, asked):
    own = str(run.folder / "student")
    assert recipe_of(asked, dn.finetune, "mrpc", model=run)["stages"]["teacher"]["model"] == own
    stages = recipe_of(asked, dn.distill, "mrpc", teacher="t", student=run)["stages"]
    assert stages["student"]["model"] == stages["control"]["model"] == own


def test_a_training_that_fails_is_an_error_of_the_run(tmp_path, start_weights):
    nobody_knows = [
        {"text": f"the film was {'good' if row % 2 else 'bad'}", "label": row // 2 % 2} for row in range(40)
    ]
    asked_for: dict[str, Any] = {"teacher": start_weights, "finetune_teacher": True, "student_layers": 1}
    with pytest.raises(RunError, match="teacher"):
        dn.distill(nobody_knows, **asked_for, output=tmp_path / "run", quiet=True, **QUICK)


def test_every_setting_is_shown_and_reaches_the_recipe(asked):
    """A keyword that nothing reads would be ignored without a word."""
    for call in (dn.distill, dn.finetune):
        assert Settings.__annotations__.keys() < inspect.signature(call).parameters.keys()
    texts = {"text": "t", "text_pair": "p", "label": "l", "label_names": ["a", "b"], "weight": "w", "data_dir": "d"}
    texts |= {"problem_type": "single_label_classification", "precision": "fp32", "long": "windows", "join": "max"}
    numbers: dict[str, Any] = {
        "seeds": [1, 2],
        "max_length": 99,
        "stride": 4,
        "epochs": 5,
        "batch_size": 6,
        "learning_rate": 0.125,
        "seed": 8,
    }
    others = {"without_relevant": "leave_out", "translations": ["x"]}
    assert {*texts, *numbers, *others} == {*Settings.__annotations__}
    plain = recipe_of(asked, dn.finetune, "a.csv", model="m")
    for name, value in {**texts, **numbers}.items():
        beside = {"long": "windows"} if name in ("join", "stride") else {}
        beside |= {"text": "t"} if name == "text_pair" else {}
        assert recipe_of(asked, dn.finetune, "a.csv", model="m", **beside, **{name: value}) != plain, name


def test_a_run_tells_what_its_report_file_holds(run, csv_file):
    assert to_json(run.report) == (run.folder / "report.json").read_text()
    assert run.seconds == pytest.approx(sum(row.seconds for row in run.report.stages))
    assert run.report == dn.load_run(str(run.folder)).report
    assert run.models == ["teacher", "control", "student"]
    assert dn.load_run(run) is run


def test_its_curves_are_those_of_its_trainings(run):
    pytest.importorskip("matplotlib")
    figure = run.plot("curves")
    student = next(axes for axes in figure.axes if axes.get_title() == "student: loss by term")
    lines = {line.get_label(): line.get_ydata() for line in student.get_lines()}
    assert {"loss", "hard_label"} < lines.keys()
    terms = [values for name, values in lines.items() if name != "loss"]
    assert lines["loss"] == pytest.approx([sum(each) for each in zip(*terms, strict=True)], rel=1e-3)


def test_its_models_are_plain_ones_of_transformers(run):
    assert type(run.student) is BertForSequenceClassification
    assert run.student.config.num_hidden_layers == 1 and run.teacher.config.num_hidden_layers == 3
    assert run.student is run.student
    assert run.load("control").config.num_hidden_layers == 1


def test_it_answers_texts(run):
    answers = run.predict(["the film was lovely", "the book was dull, very bad"])
    assert [len(answer.texts) for answer in answers] == [1, 1]
    assert {answer.label for answer in answers} <= {"good", "bad"}
    assert run.predict("the film was lovely")[0].label == answers[0].label
    assert run.predict("the film was lovely", model="teacher")[0].probability != answers[0].probability
    with pytest.raises(RequestError, match="did you mean 'control'"):
        run.predict("the film", model="controll")


@pytest.mark.parametrize("column", [pd.Series(["a film", "a book"], index=[7, 3]), np.array(["a film", "a book"])])
def test_it_answers_a_column_of_texts(run, column):
    answers = run.predict(column)
    assert [answer.texts for answer in answers] == [("a film",), ("a book",)]
    assert [answer.label for answer in answers] == [answer.label for answer in run.predict(["a film", "a book"])]


@pytest.mark.parametrize(
    "texts", [{"text": "a film"}, pd.DataFrame({"text": ["a film"]}), {"a film"}, b"a film", 5, None]
)
def test_it_does_not_take_the_names_of_columns_for_texts(run, texts):
    with pytest.raises(RequestError, match=r"texts is of type \w+: give a text, a pair as a tuple, or a list"):
        run.predict(texts)


def test_a_finished_run_is_not_trained_again_and_prints_nothing_when_quiet(run, start_weights, csv_file, capfd):
    before = (run.folder / "student" / "model.safetensors").stat().st_mtime_ns
    settings: dict[str, Any] = {
        "teacher": start_weights,
        "finetune_teacher": True,
        "student_layers": 1,
        "accept_weak_teacher": True,
    }
    settings["set"] = {f"stages.{stage}.training.logging_steps": 2 for stage in run.models}
    again = dn.distill(csv_file, **settings, output=run.folder, quiet=True, **QUICK)
    assert capfd.readouterr() == ("", "")
    assert again.report == run.report
    assert (run.folder / "student" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RequestError, match="num_train_epochs"):  # another recipe in the same folder
        dn.distill(csv_file, **settings, output=run.folder, quiet=True, **{**QUICK, "epochs": 2})


@pytest.mark.slow
def test_a_fine_tuning_of_rows_in_memory_teaches_a_student(tmp_path, start_weights, csv_file, capfd):
    rows = rows_of(csv_file)
    tuned = dn.finetune(
        rows[:40],
        model=start_weights,
        validation=pd.DataFrame(rows[40:]),
        output=tmp_path / "tuned",
        quiet=True,
        **{**QUICK, "set": {"accept_weak_teacher": True}},
    )
    assert capfd.readouterr() == ("", "")
    assert sorted(path.suffix for path in tmp_path.glob("data-*")) == [".jsonl", ".parquet"]
    assert tuned.report.stages[0].baseline.rows == 20
    with pytest.raises(RequestError, match=r"has no student: its models are teacher"):
        _ = tuned.student
    splits = DatasetDict(train=Dataset.from_list(rows[:40]), validation=Dataset.from_list(rows[40:]))
    run = dn.distill(
        splits,
        teacher=tuned,
        student_layers=1,
        control=False,
        accept_weak_teacher=True,
        output=tmp_path / "distilled",
        **QUICK,
    )
    assert "student: " in capfd.readouterr().out
    assert run.models == [str(tuned.folder / "teacher"), "student"]
    assert run.teacher.config.num_hidden_layers == 3


@pytest.mark.parametrize(
    ("folder", "said"), [("nowhere", "not a folder"), (".", "holds no report.json"), (3, "of type int")]
)
def test_what_is_no_run_cannot_be_loaded(folder, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=said):
        dn.load_run(folder)
