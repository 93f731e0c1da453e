"""Answers that are written into a file are those of the models, and whole whenever the writing is broken off."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from distilnlp.data import load_task
from distilnlp.data.recorded import RecordedColumns
from distilnlp.errors import RequestError
from distilnlp.models import Predictor
from distilnlp.problems import TEACHER_LOGITS, get_problem
from distilnlp.run import label as label_module
from distilnlp.run.label import label_data
from tests.tiny import tiny_model, tiny_tokenizer

NAMES = ("bad", "good", "mixed")
TEXTS = ["a good film", "a bad film", "the meal was fine and very good", "red book", "poor", "we saw it"] * 4


@pytest.fixture
def teachers(tmp_path):
    for seed, names in enumerate((NAMES, ("mixed", "bad", "good"))):
        folder = tmp_path / f"teacher{seed}"
        tiny_model("bert", label_names=names, seed=seed).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    return [str(tmp_path / "teacher0"), str(tmp_path / "teacher1")]


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n\n")
    return str(path)


def labelled(texts, teachers, output, **settings):
    said: list[str] = []
    label_data(texts, teachers, output, say=said.append, batch_size=4, **settings)
    return said


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return [{**row, "probs": json.loads(row["probs"])} for row in csv.DictReader(file)]


def probabilities(teacher):
    logits = Predictor.load(teacher, batch_size=4).logits(TEXTS).astype(np.float64)
    return get_problem("single_label_classification").probabilities_of(logits)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_each_text_gets_the_probabilities_of_the_model(tmp_path, texts, teachers, suffix):
    output = tmp_path / f"soft{suffix}"
    said = labelled(texts, teachers[:1], output)
    rows = read(output)

    assert [row["text"] for row in rows] == TEXTS and list(rows[0]["probs"]) == list(NAMES)
    np.testing.assert_allclose([list(row["probs"].values()) for row in rows], probabilities(teachers[0]), rtol=1e-6)
    assert said == ["24 of 24 texts (100 %)"]


def test_an_ensemble_is_the_mean_whatever_order_its_models_have(tmp_path, texts, teachers):
    output = tmp_path / "soft.jsonl"
    labelled(texts, teachers, output)
    mean = (probabilities(teachers[0]) + probabilities(teachers[1])[:, [1, 2, 0]]) / 2

    np.testing.assert_allclose([list(row["probs"].values()) for row in read(output)], mean, rtol=1e-6)


def test_the_file_teaches_with_the_same_logits(tmp_path, texts, teachers):
    output = tmp_path / "soft.jsonl"
    labelled(texts, teachers[:1], output, values="logits")
    task = load_task(output, recorded=RecordedColumns(("logits",)))
    own = dict(zip(TEXTS, Predictor.load(teachers[0], batch_size=4).logits(TEXTS), strict=True))

    assert task.label_names == NAMES
    for text, logits in zip(task.train["text"], task.train[TEACHER_LOGITS], strict=True):
        np.testing.assert_allclose(logits, own[text], atol=1e-6)


def test_labels_are_kept_beside_the_answers(tmp_path, teachers):
    source = tmp_path / "data.csv"
    source.write_text("text,label\na good film,good\na bad film,bad\n")
    labelled(str(source), teachers[:1], tmp_path / "soft.jsonl")

    assert [row["label"] for row in read(tmp_path / "soft.jsonl")] == ["good", "bad"]


def test_a_broken_call_goes_on_and_leaves_nothing_half_written(tmp_path, texts, teachers, monkeypatch):
    monkeypatch.setattr(label_module, "PART_ROWS", 8)
    output, asked = tmp_path / "soft.jsonl", []
    answers = label_module._answers

    def break_off(rows, *rest):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(rows)
        return answers(rows, *rest)

    monkeypatch.setattr(label_module, "_answers", break_off)
    with pytest.raises(KeyboardInterrupt):
        labelled(texts, teachers[:1], output)
    assert not output.exists()
    monkeypatch.setattr(label_module, "_answers", lambda rows, *rest: asked.append(rows) or answers(rows, *rest))
    labelled(texts, teachers[:1], output)

    assert len(asked) == 3 and [row["text"] for row in read(output)] == TEXTS
    assert not list(tmp_path.glob(".soft*"))


def test_what_another_call_left_is_not_taken(tmp_path, texts, teachers, monkeypatch):
    output = tmp_path / "soft.jsonl"
    monkeypatch.setattr(label_module, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        labelled(texts, teachers[:1], output)
    monkeypatch.undo()
    labelled(texts, teachers[1:], output)

    expected = probabilities(teachers[1])
    np.testing.assert_allclose([list(row["probs"].values()) for row in read(output)], expected, rtol=1e-6)


def test_models_that_have_no_mean_are_refused(tmp_path, texts, teachers):
    tiny_model("bert", label_names=("one", "two", "three")).save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(RequestError, match=r"the labels of .*other are one, two, three and those of .*teacher0 bad"):
        labelled(texts, [teachers[0], str(tmp_path / "other")], tmp_path / "soft.jsonl")
    tiny_model("bert", num_labels=1, problem_type="regression").save_pretrained(tmp_path / "other")
    with pytest.raises(RequestError, match=r"is for regression and .* for single_label_classification"):
        labelled(texts, [teachers[0], str(tmp_path / "other")], tmp_path / "soft.jsonl")
    assert not (tmp_path / "soft.jsonl").exists()
