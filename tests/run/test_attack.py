"""A model is asked about the same texts with a few words changed, and its worst answer counts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distilnlp.data import load_task
from distilnlp.errors import RequestError
from distilnlp.models import Predictor
from distilnlp.models.backend import TorchBackend
from distilnlp.run.attack import attacked_scores, nearest_words, swapped
from distilnlp.run.evaluation import evaluate_model
from tests.run.conftest import csv_file, start_weights
from tests.tiny import VOCAB, tiny_model, tiny_tokenizer

__all__ = ["csv_file", "start_weights"]  # fixtures

NEAR = {"good": ["fine"], "film": ["book"]}


@pytest.fixture
def model(tmp_path: Path, csv_file: str) -> str:
    """Random, and unsure: half of the texts are of either class to it."""
    folder = tmp_path / "model"
    kind = "single_label_classification"
    unsure = tiny_model("bert", label_names=("bad", "good"), problem_type=kind)
    logits = Predictor(TorchBackend(unsure), tiny_tokenizer()).logits(
        load_task(csv_file, validation=csv_file).train["text"][:]
    )
    with torch.no_grad():
        unsure.classifier.bias[1] += float(np.median(logits[:, 0] - logits[:, 1]))
    unsure.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def test_the_worst_answer_counts_so_that_no_attack_raises_a_score_and_more_tries_lower_it(model, csv_file) -> None:
    task = load_task(csv_file, validation=csv_file)
    clean = evaluate_model(model, task)["validation"]["accuracy"]
    once, often = (attacked_scores(model, task, "word-swaps", tries=tries)["accuracy"] for tries in (1, 20))
    assert clean >= once >= often and clean > often


def test_the_same_seed_is_the_same_attack(model, csv_file) -> None:
    task = load_task(csv_file, validation=csv_file)
    assert attacked_scores(model, task, "word-swaps", tries=2) == attacked_scores(model, task, "word-swaps", tries=2)


def test_one_word_in_ten_is_changed_in_one_of_the_two_texts() -> None:
    seen = set()
    for seed in range(300):
        first, second = swapped(("a good film", "we saw it"), NEAR, np.random.default_rng(seed))
        assert (first == "a good film") or (second == "we saw it")
        seen |= {first, second}
    assert {"a fine film", "good a film", "a film", "a a good film", "we it saw"} <= seen


def test_a_text_of_one_word_is_never_emptied() -> None:
    assert {swapped(("good",), NEAR, np.random.default_rng(seed)) for seed in range(20)} == {("fine",)}
    assert swapped(("",), NEAR, np.random.default_rng(0)) == ("",)


def test_near_words_are_those_of_the_models_embeddings(model) -> None:
    predictor = Predictor.load(model)
    table = predictor.backend.model.get_input_embeddings().weight
    with torch.no_grad():
        table[VOCAB.index("film")] = table[VOCAB.index("book")] * 2
    assert nearest_words(predictor)["film"][0] == "book"


def test_what_cannot_be_misled_is_refused(model, csv_file, tmp_path) -> None:
    task = load_task(csv_file, validation=csv_file)
    with pytest.raises(RequestError, match="word-swaps"):
        attacked_scores(model, task, "word-swap")
    rows = [f'{{"tokens": ["a", "b{row}"], "tags": ["x", "y"]}}\n' for row in range(20)]
    (tmp_path / "words.jsonl").write_text("".join(rows))
    with pytest.raises(RequestError, match="one answer a text"):
        attacked_scores(model, load_task(tmp_path / "words.jsonl"), "word-swaps")


@pytest.mark.parametrize(("kind", "labels"), [("regression", 1), ("multi_label_classification", 3)])
def test_other_kinds_of_one_answer_a_text_are_misled_too(tmp_path, kind, labels) -> None:
    names = ("x", "y", "z")[:labels]
    tiny_model("bert", num_labels=labels, label_names=names, problem_type=kind).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    header, value = (
        ("label", lambda row: f"{row / 40}")
        if kind == "regression"
        else ("x,y,z", lambda row: f"{row % 2},{row // 2 % 2},1")
    )
    rows = [f"the {'film' if row % 3 else 'book'} was {VOCAB[7 + row % 30]},{value(row)}" for row in range(40)]
    (tmp_path / "rows.csv").write_text(f"text,{header}\n" + "\n".join(rows) + "\n")
    columns = {"label": "x,y,z"} if labels > 1 else {"problem_type": kind}
    task = load_task(tmp_path / "rows.csv", **columns)
    found = attacked_scores(str(tmp_path / "model"), task, "word-swaps", tries=2)
    assert found.keys() == set(task.metrics)
