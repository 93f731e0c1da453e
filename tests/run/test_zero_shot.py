"""An entailment model answers about labels that it was never trained on."""

import json

import numpy as np
import pytest
from torch.multiprocessing.spawn import spawn

from distilnlp.data import load_task
from distilnlp.data.recorded import RecordedColumns
from distilnlp.errors import RequestError
from distilnlp.models import Predictor
from distilnlp.run import answering
from distilnlp.run.label import label_data
from distilnlp.run.zero_shot import Hypotheses, ZeroShot
from tests.run.test_label import OneAfterTheOther
from tests.tiny import tiny_model, tiny_tokenizer

TEXTS = [
    "a good film",
    "red book",
    "we saw it and it was dull",
    *(f"the meal was {word}" for word in ("good", "bad", "fine", "poor", "weak", "dull", "red", "blue", "one")),
]
ASKED = Hypotheses(("film", "book", "meal"), "this is a {}")


def nli(folder, names=("CONTRADICTION", "Entailment", "neutral"), kind="single_label_classification", seed=0):
    tiny_model("bert", label_names=names, problem_type=kind, seed=seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def expected(model, place):
    """The share of each label in the probabilities of entailment, by the formula."""
    asked = [(text, f"this is a {label}") for text in TEXTS for label in ASKED.labels]
    logits = Predictor.load(model).logits(asked).astype(np.float64)
    entailed = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))[:, place].reshape(-1, 3)
    return entailed / entailed.sum(-1, keepdims=True)


def written(tmp_path, teachers, **settings):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    output = tmp_path / "soft.jsonl"
    label_data(str(tmp_path / "texts.txt"), teachers, output, hypotheses=ASKED, say=lambda _: None, **settings)
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_each_text_is_asked_about_each_label_and_entailment_is_found_by_name(tmp_path):
    model = nli(tmp_path / "nli")
    rows = written(tmp_path, [model])

    assert [row["text"] for row in rows] == TEXTS and list(rows[0]["probs"]) == ["film", "book", "meal"]
    np.testing.assert_allclose([list(row["probs"].values()) for row in rows], expected(model, 1), rtol=1e-5)


def test_the_answers_teach_like_any_that_are_recorded(tmp_path):
    written(tmp_path, [nli(tmp_path / "nli")])
    task = load_task(tmp_path / "soft.jsonl", recorded=RecordedColumns(("probs",)), optional_labels=True)
    assert task.label_names == ("film", "book", "meal")


def test_models_that_count_entailment_elsewhere_are_averaged(tmp_path):
    one, two = nli(tmp_path / "one"), nli(tmp_path / "two", ("entailment", "neutral", "contradiction"), seed=1)
    rows = written(tmp_path, [one, two])
    mean = (expected(one, 1) + expected(two, 0)) / 2
    np.testing.assert_allclose([list(row["probs"].values()) for row in rows], mean, rtol=1e-5)


@pytest.mark.parametrize("start", [OneAfterTheOther, pytest.param(spawn, marks=pytest.mark.slow)])
def test_several_processes_write_the_same(tmp_path, monkeypatch, start):
    monkeypatch.setattr("distilnlp.run.label.PART_ROWS", 4)
    monkeypatch.setattr(answering, "spawn", start)
    model = nli(tmp_path / "nli")
    assert written(tmp_path, [model], processes=2) == written(tmp_path, [model])


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("good", "bad"), "single_label_classification"),
        (("entailment", "neutral"), "multi_label_classification"),
        (("entailment",), "regression"),
    ],
)
def test_a_model_that_knows_no_entailment_is_refused(tmp_path, names, kind):
    with pytest.raises(RequestError, match="trained on entailment"):
        ZeroShot(Predictor.load(nli(tmp_path / "other", names, kind)), ASKED, "other")


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        (("film",), "a {}", "two or more different"),
        (("film", "film"), "a {}", "two or more different"),
        (("film", ""), "a {}", "two or more different"),
        (("film", "book"), "a film", r"no \{\} for the label"),
    ],
)
def test_labels_that_nobody_can_be_asked_about_are_refused(labels, template, message):
    with pytest.raises(RequestError, match=message):
        Hypotheses(labels, template)


def test_pairs_leave_no_room_for_a_hypothesis(tmp_path):
    (tmp_path / "pairs.csv").write_text("premise,hypothesis\na film,a book\n")
    with pytest.raises(RequestError, match="takes the place of the second"):
        label_data(
            str(tmp_path / "pairs.csv"), [nli(tmp_path / "nli")], tmp_path / "o.jsonl", hypotheses=ASKED, say=print
        )
