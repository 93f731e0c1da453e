"""`distill` of answers in the data and of texts without labels, as a user meets it."""

import json
import random
import re

import pytest
import yaml

from distilnlp.cli import main
from distilnlp.report.schema import read_report
from tests.run.conftest import csv_file, start_weights
from tests.tiny import CLASS_WORDS, FILLER, tiny_model, tiny_tokenizer

__all__ = ["csv_file", "start_weights"]  # fixtures

QUICK = ["--epochs", "1", "--batch-size", "8", "--max-length", "16", "--precision", "fp32", "--student-layers", "1"]
NAMES = ("blue", "bad", "good")  # in no order of the alphabet


def texts(rows=40):
    rng = random.Random(0)
    return [" ".join([*rng.choices(FILLER, k=5), rng.choice(rng.choice(CLASS_WORDS[:3]))]) for _ in range(rows)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    tiny_model("bert", label_names=NAMES, seed=3).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def write(path, records):
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return str(path)


def soft(path, **columns):
    rng = random.Random(1)
    rows = []
    for text in texts():
        first = rng.uniform(0, 1)
        rows.append({"text": text, "probs": {"blue": first, "bad": 1 - first, "good": 0.0}})
    return write(
        path, [{**row, **{name: values[i] for name, values in columns.items()}} for i, row in enumerate(rows)]
    )


def ran(capsys, *arguments):
    status = main(arguments)
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def refused(capsys, tmp_path, *arguments):
    assert main([*arguments, "-o", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert not list(tmp_path.rglob("student"))  # no stage was begun
    return captured.err


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv"])
def test_texts_without_labels_are_learned_from_the_teacher_alone(capsys, tmp_path, teacher, suffix):
    file = tmp_path / f"texts.{suffix}"
    lines = [json.dumps({"text": text}) for text in texts()] if suffix == "jsonl" else texts()
    file.write_text("\n".join(["text", *lines] if suffix == "csv" else lines) + "\n")
    out = ran(capsys, "distill", str(file), "--teacher", teacher, *QUICK, "-o", str(tmp_path / "run"))
    report = read_report(tmp_path / "run" / "report.json")

    assert f"{file} has no labels: the student learns from the teacher alone (no hard_label in the objective)" in out
    assert list(report.recipe["stages"]) == ["student"]
    assert "hard_label" not in report.recipe["stages"]["student"]["objective"]
    assert report.label_names == list(NAMES)
    student = report.stage("student")
    assert student.score is None and student.metrics == {} and student.fidelity.kl is not None
    assert "on held-out texts without labels" in " ".join(out.split())
    card = (tmp_path / "run" / "README.md").read_text()
    assert "accuracy" not in card and "agreement" in card
    again = ran(capsys, "distill", str(file), "--teacher", teacher, *QUICK, "-o", str(tmp_path / "run"))
    assert "are finished" in again


def test_a_student_of_texts_without_labels_is_measured_on_held_out_rows_with_labels(capsys, tmp_path, teacher):
    """They are of another source, and so may call their columns otherwise."""
    (tmp_path / "texts.txt").write_text("\n".join(texts()) + "\n")
    rows = [{"review": text, "category": NAMES[i % 3]} for i, text in enumerate(texts()[:12])]
    arguments = ["distill", str(tmp_path / "texts.txt"), "--validation", write(tmp_path / "dev.jsonl", rows)]
    out = ran(capsys, *arguments, "--teacher", teacher, "--accept-weak-teacher", *QUICK, "-o", str(tmp_path / "run"))
    assert "there is no control\n" in out and "the report is of the agreement" not in out
    student = read_report(tmp_path / "run" / "report.json").stage("student")
    assert student.score is not None and student.metrics["accuracy"] == student.score


def test_recorded_answers_are_the_reference_without_labels(capsys, tmp_path, teacher):
    file = soft(tmp_path / "soft.jsonl")
    arguments = ["distill", file, "--teacher-column", "probs", "--student", teacher, *QUICK]
    ran(capsys, *arguments, "-o", str(tmp_path / "run"))
    report = read_report(tmp_path / "run" / "report.json")

    assert [row.stage for row in report.stages] == ["column probs", "student"]
    assert report.stage("student").fidelity.agreement <= 1.0
    assert set(report.recipe["stages"]["student"]["objective"]) == {"response"}
    assert "answers recorded in the data (column `probs`)" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("some", [False, True])
def test_recorded_answers_with_labels_have_a_control(capsys, tmp_path, teacher, some):
    labels = [None if some and row % 4 == 0 else NAMES[row % 3] for row in range(40)]
    file = soft(tmp_path / "soft.jsonl", label=labels)
    arguments = ["distill", file, "--teacher-column", "probs", "--student", teacher, "--accept-weak-teacher", *QUICK]
    out = ran(capsys, *arguments, "-o", str(tmp_path / "run"))
    report = read_report(tmp_path / "run" / "report.json")

    assert [row.stage for row in report.stages] == ["column probs", "control", "student"]
    assert all(row.score is not None for row in report.stages)
    counts = [int(re.search(rf"^{stage}: .* (\d+) examples", out, re.M)[1]) for stage in ("student", "control")]
    assert counts[0] - counts[1] == (10 if some else 0)


def test_the_options_reach_the_recipe(capsys, tmp_path, teacher):
    file = soft(tmp_path / "soft.jsonl")
    options = ["--teacher-values", "probabilities", "--teacher-missing", "label"]
    out = ran(capsys, "distill", file, "--teacher-column", "probs", *options, *QUICK, "--dry-run")
    student = yaml.safe_load(out)["stages"]["student"]

    assert student["teacher"] == {"column": "probs", "values": "probabilities", "missing": "label"}
    assert student["student"] == {"from": "sentence-transformers/all-MiniLM-L6-v2", "layers": 1, "init": "teacher"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--teacher-column", "prosb"], "no column 'prosb' for the teacher's answers: did you mean 'probs'?"),
        ([], "give one of --teacher (a model) and --teacher-column"),
        (["--teacher-column", "probs", "--teacher", "x"], "give one of --teacher (a model) and --teacher-column"),
        (["--teacher-column", "probs", "--finetune-teacher"], "--finetune-teacher is for a model"),
        (["--teacher-values", "logits"], "--teacher-values tells of recorded answers"),
        (["--teacher-column", "probs", "--teacher-values", "odds"], "odds"),
        (
            ["--teacher-column", "probs", "--set", "stages.student.objective.hidden_state={}"],
            "hidden_state reads more than the logits of a teacher",
        ),
        (
            ["--teacher-column", "probs", "--set", "stages.student.objective.hard_label={}"],
            "the objective has hard_label and the training data has no label column",
        ),
        (["--teacher-column", "probs", "--set", "stages.control={model: m, training: {}}"], "label"),
    ],
)
def test_what_cannot_be_is_one_line(capsys, tmp_path, teacher, options, message):
    file = soft(tmp_path / "soft.jsonl")
    assert message in refused(capsys, tmp_path, "distill", file, "--student", teacher, *QUICK, *options)


def test_probabilities_that_sum_to_more_are_told_with_file_and_row(capsys, tmp_path, teacher):
    records = [{"text": text, "probs": [0.5, 0.5, 0.0]} for text in texts()]
    records[6]["probs"] = [0.9, 0.8, 0.0]
    file = write(tmp_path / "soft.jsonl", records)
    told = refused(capsys, tmp_path, "distill", file, "--teacher-column", "probs", "--student", teacher, *QUICK)

    assert not (tmp_path / "run").exists()
    assert f"{file}, column 'probs': row 7 has 0.9, 0.8, 0 (their sum is 1.7): probabilities from 0 to 1" in told


@pytest.mark.slow
def test_label_writes_what_distil_reads(capsys, tmp_path, teacher):
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts()) + "\n")
    output = tmp_path / "soft.jsonl"
    out = ran(capsys, "label", str(file), "--teacher", teacher, "-o", str(output))
    assert out == f"40 texts with the answers of {teacher} in {output}\n"
    arguments = ["distill", str(output), "--teacher-column", "probs", "--student", teacher, *QUICK]
    ran(capsys, *arguments, "-o", str(tmp_path / "recorded"))
    live = ["distill", str(file), "--teacher", teacher, *QUICK]
    live += ["--set", "stages.student.objective.hidden_state=null"]
    live += ["--set", "stages.student.objective.attention_scores=null"]
    ran(capsys, *live, "-o", str(tmp_path / "live"))
    same = [read_report(tmp_path / name / "report.json").stage("student").fidelity for name in ("recorded", "live")]

    assert same[0].model_dump() == pytest.approx(same[1].model_dump(), abs=1e-5)


def test_a_student_chooses_what_its_teacher_is_asked_about_next(capsys, tmp_path, teacher):
    file, output = tmp_path / "texts.txt", tmp_path / "soft.jsonl"
    file.write_text("\n".join(texts()) + "\n")
    ask = ["label", str(file), "--teacher", teacher, "-o", str(output)]
    assert ran(capsys, *ask, "--budget", "24") == f"24 more texts with the answers of {teacher} in {output}\n"
    learn = ["distill", str(output), "--teacher-column", "probs", "--student", teacher, *QUICK]
    ran(capsys, *learn, "-o", str(tmp_path / "run"))
    doubts = ["--budget", "30", "--by", "margin", "--model", str(tmp_path / "run" / "student")]
    assert ran(capsys, *ask, *doubts).startswith("6 more texts")
    assert ran(capsys, *ask, *doubts).startswith("0 more texts")
    assert len(output.read_text().splitlines()) == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "margin"], "choose the texts of a --budget"),
        (["--budget", "3", "--by", "margin"], "give --model"),
        (["--budget", "3", "--by", "margins"], "margin"),
        (["--budget", "3", "--by", "margin", "--model", "m", "--seed", "1"], "--seed is of a choice at random"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused(capsys, tmp_path, teacher, options, message):
    (tmp_path / "texts.txt").write_text("it\nthe film\n")
    asked = ["label", str(tmp_path / "texts.txt"), "--teacher", teacher, *options]
    assert main([*asked, "-o", str(tmp_path / "soft.jsonl")]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not (tmp_path / "soft.jsonl").exists()


@pytest.fixture
def parallel(tmp_path):
    path = tmp_path / "parallel.csv"
    path.write_text("en,de,es\na dog,ein Hund,un perro\na cat,eine Katze,un gato\n")
    return str(path)


VECTORS = ("--problem-type", "sentence_embedding", "--teacher", "sentence-transformers/all-MiniLM-L6-v2")


@pytest.mark.parametrize("said", [("--translation", "de, es"), ("--translation", "de", "--translation", "es")])
def test_translations_are_columns_with_commas_or_one_at_a_time(capsys, tmp_path, parallel, said):
    held_out = tmp_path / "held-out.csv"
    held_out.write_text("en,de,es\none,eins,uno\ntwo,zwei,dos\n")
    asked = ["distill", parallel, *VECTORS, "--student-layers", "1", "--text", "en", *said]
    recipe = yaml.safe_load(ran(capsys, *asked, "--validation", str(held_out), "--dry-run"))
    assert recipe["data"]["translations"] == ["de", "es"] and recipe["data"]["text"] == "en"


WRONG = {
    "source": (["--translation", "en"], "column 'en' is both the source"),
    "missing": (["--translation", "fr"], "no column 'fr' for translations"),
    "pair": (["--translation", "de", "--text-pair", "es"], "leave text_pair= out"),
    "kind": (["--translation", "de", "--problem-type", "regression"], "translations are for sentence embeddings"),
}


@pytest.mark.parametrize(("said", "told"), WRONG.values(), ids=WRONG)
def test_translations_that_cannot_be_meant_are_told_in_one_line(capsys, tmp_path, parallel, said, told):
    asked = ("distill", parallel, *VECTORS, "--student-layers", "1", "--text", "en", *said)
    assert told in refused(capsys, tmp_path, *asked)


@pytest.mark.parametrize(("said", "most"), [("needed", 47), ("20", 20)])
def test_a_student_keeps_the_tokens_that_its_texts_need(capsys, tmp_path, teacher, said, most):
    (tmp_path / "texts.txt").write_text("\n".join(texts()) + "\n")
    arguments = ["distill", str(tmp_path / "texts.txt"), "--teacher", teacher, *QUICK, "--student-vocabulary", said]
    if said != "needed":
        arguments += ["--set", "stages.student.objective.attention_scores=null"]
    out = ran(capsys, *arguments, "-o", str(tmp_path / "run"))
    size = int(re.search(r"^student: vocabulary of (\d+) of 47 tokens", out, re.M)[1])
    assert size < 47 and size <= most
    answers = ran(capsys, "predict", str(tmp_path / "run" / "student"), "--text", "the film was good")
    assert any(name in answers for name in NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--student-layers", "1", "--student-vocabulary", "some"], "--student-vocabulary is 'some': say needed"),
        (["--student-layers", "1", "--student-vocabulary", "0"], "--student-vocabulary is '0': say needed"),
        (
            ["--student-layers", "1", "--student-vocabulary", "3", *QUICK],
            "--student-vocabulary 3: stages.student: a vocabulary of 3 tokens is too small",
        ),
    ],
)
def test_a_vocabulary_that_cannot_be_made_is_refused(capsys, tmp_path, teacher, arguments, message):
    (tmp_path / "texts.txt").write_text("\n".join(texts()) + "\n")
    assert message in refused(
        capsys, tmp_path, "distill", str(tmp_path / "texts.txt"), "--teacher", teacher, *arguments
    )


def test_only_a_student_made_of_its_teacher_keeps_some_of_its_tokens(capsys, tmp_path, teacher):
    (tmp_path / "texts.txt").write_text("\n".join(texts()) + "\n")
    arguments = ["distill", str(tmp_path / "texts.txt"), "--teacher", teacher, "--student", teacher]
    told = refused(capsys, tmp_path, *arguments, "--student-vocabulary", "needed")
    assert "give --student-layers" in told
