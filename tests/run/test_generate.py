"""A student learns from texts that are made, and the training examples are never read."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from distilnlp.errors import RequestError, RunError
from distilnlp.models import Predictor
from distilnlp.recipe import GenerateSpec, make_recipe
from distilnlp.run import run_recipe
from distilnlp.run.generate import GENERATED, generate_file
from tests.masked import masked_folder, texts_alone
from tests.run.conftest import TRAINING
from tests.tiny import tiny_model, tiny_tokenizer

NAMES = ("bad", "good")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("weights") / "teacher"
    tiny_model("bert", layers=2, label_names=NAMES, problem_type="single_label_classification").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Held-out films, and a training file that cannot be read."""
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "train.csv").write_bytes(b"\xff\xfe\x00 no table at all")
    lines = [
        f"the {thing} was {word},{label}"
        for thing in ("film", "meal")
        for word, label in (("good", "good"), ("bad", "bad"))
    ]
    (folder / "validation.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return str(folder)


def recipe_values(data: str, teacher: str, **generate: Any) -> dict[str, Any]:
    return {
        "data": {"task": data, "max_length": 16},
        "precision": "fp32",
        "accept_weak_teacher": True,
        "stages": {
            "student": {
                "data": {"generate": {"kind": "random_words", "count": 24, "words": [3, 8], **generate}},
                "teacher": teacher,
                "student": {"from": teacher, "layers": 1},
                "objective": {"response": {}},
                "training": TRAINING,
            },
        },
    }


def run(values: dict[str, Any], folder: Path) -> list[str]:
    said: list[str] = []
    run_recipe(make_recipe(values, name="films"), folder, say=lambda line: said.append(str(line)))
    return said


def kept(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "student" / GENERATED).to_pylist()


def test_a_run_never_opens_the_training_examples_and_counts_what_the_teacher_answers(tmp_path, data, teacher) -> None:
    said = run(recipe_values(data, teacher), tmp_path / "run")
    rows = kept(tmp_path / "run")
    answers = Counter(row["answer"] for row in rows)

    assert len(rows) == 24 and all(3 <= len(row["text"].split()) <= 8 for row in rows)
    told = (
        f"student: 24 texts are made (random_words); the teacher answers bad {answers['bad']}, good {answers['good']}"
    )
    assert any(line.startswith(told) for line in said)


@pytest.mark.slow
def test_the_texts_are_the_same_in_another_run_and_kept_for_a_stage_that_goes_on(tmp_path, data, teacher) -> None:
    values = recipe_values(data, teacher)
    run(values, tmp_path / "one")
    run(values, tmp_path / "two")
    assert kept(tmp_path / "one") == kept(tmp_path / "two")

    (tmp_path / "one" / "student" / "metrics.json").unlink()  # as if the run had been broken off at its end
    said = run(values, tmp_path / "one")
    assert not any("texts are made" in line for line in said)
    assert kept(tmp_path / "one") == kept(tmp_path / "two")


@pytest.mark.slow
def test_a_masked_model_of_an_earlier_stage_writes_the_texts(tmp_path, data, teacher) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(texts_alone(60)["text"]) + "\n")
    values = recipe_values(data, teacher, kind="masked_words", model="writer", passes=2)
    writer = str(masked_folder(tmp_path / "masked", layers=1))
    values["stages"] = {
        "writer": {"data": {"task": str(texts)}, "problem": "masked_lm", "model": writer, "training": TRAINING},
        **values["stages"],
    }
    said = run(values, tmp_path / "run")
    assert len(kept(tmp_path / "run")) == 24 and any("24 texts are made (masked_words)" in line for line in said)


def test_balanced_texts_have_each_class_alike(tmp_path, teacher) -> None:
    output = tmp_path / "texts.jsonl"
    spec = GenerateSpec(kind="random_words", count=20, words=[1, 3], balance=True)
    said: list[object] = []
    balanced = Predictor.load(teacher)
    # A head that leans to one class only a little answers both.
    rows = generate_file(output, spec, teacher=leaning(tmp_path, balanced), say=said.append)
    assert rows == 20 and said == ["20 texts are made (random_words); the teacher answers bad 10, good 10"]


def test_a_class_that_the_teacher_never_answers_cannot_be_balanced(tmp_path, teacher) -> None:
    spec = GenerateSpec(kind="random_words", count=10, balance=True)
    with pytest.raises(RunError, match="cannot be balanced: of 100"):
        generate_file(
            tmp_path / "texts.txt", spec, teacher=leaning(tmp_path, Predictor.load(teacher), 100.0), say=print
        )


def leaning(folder: Path, predictor: Predictor, bias: float | None = None) -> str:
    """The teacher with a head whose classes meet in the middle of the answers to single words, or never."""
    import numpy as np
    import torch

    from tests.tiny import VOCAB

    model = predictor.backend.model
    logits = predictor.logits(VOCAB[5:])
    shift = float(np.median(logits[:, 0] - logits[:, 1])) if bias is None else bias
    with torch.no_grad():
        model.classifier.bias[1] += shift
    model.save_pretrained(folder / "leaning")
    tiny_tokenizer().save_pretrained(folder / "leaning")
    return str(folder / "leaning")


def test_pairs_and_their_file_are_as_the_teacher_reads_them(tmp_path, teacher) -> None:
    spec = GenerateSpec(kind="unigram", count=4)
    output = tmp_path / "pairs.parquet"
    assert generate_file(output, spec, tokenizer=teacher, pairs=True, say=print) == 4
    assert pq.read_table(output).column_names == ["text", "text_pair"]
    with pytest.raises(RequestError, match="no pairs"):
        generate_file(tmp_path / "pairs.txt", spec, tokenizer=teacher, pairs=True, say=print)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "masked_words"}, "needs a 'model'"),
        ({"kind": "masked_words", "model": "TEACHER"}, r"data.generate.model: .* a masked language model is needed"),
        ({"counts": "x.txt"}, "'counts' is for kind unigram"),
        ({"words": [9, 3]}, "the fewest and then the most"),
        ({"kind": "random"}, "random_words"),
    ],
)
def test_texts_that_cannot_be_made_are_refused(tmp_path, data, teacher, change, message) -> None:
    change = {key: teacher if value == "TEACHER" else value for key, value in change.items()}
    with pytest.raises(RequestError, match=message):
        run(recipe_values(data, teacher, **change), tmp_path / "run")
    assert not (tmp_path / "run" / "student").exists()


def test_without_a_model_that_answers_there_is_nothing_to_learn(tmp_path, data, teacher) -> None:
    values = recipe_values(data, teacher)
    del values["stages"]["student"]["teacher"], values["stages"]["student"]["objective"]
    with pytest.raises(RequestError, match="generated texts, which have no labels: give it a model as its teacher"):
        make_recipe(values, name="films")


def test_a_loss_that_reads_labels_is_refused(tmp_path, data, teacher) -> None:
    values = recipe_values(data, teacher)
    values["stages"]["student"]["objective"]["hard_label"] = {}
    with pytest.raises(RequestError, match="hard_label"):
        run(values, tmp_path / "run")


def test_the_words_of_the_training_file_are_not_counted(tmp_path, teacher) -> None:
    path = tmp_path / "train.csv"
    path.write_text("text,label\na film,good\n")
    values = recipe_values(str(path), teacher, kind="unigram", counts=str(path))
    with pytest.raises(RequestError, match=r"counts is the file of the training examples"):
        make_recipe(values, name="films")
