"""Students of a table of embeddings in a run: trained on the teacher's answers, saved, loaded, and asked."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from distilnlp.cli import main
from distilnlp.errors import RequestError
from distilnlp.hub.files import files_to_push
from distilnlp.models import Predictor, load_classifier, load_tokenizer
from distilnlp.models.sentence_encoder import SentenceEncoder
from distilnlp.recipe import load_recipe, make_recipe
from distilnlp.report.schema import read_report
from distilnlp.run import run_recipe
from distilnlp.run.vectors import make_vectors
from tests.models.test_sentence_encoder import PLAIN, tiny_encoder
from tests.run.conftest import TRAINING
from tests.tiny import VOCAB, tiny_tokenizer, toy_dataset

OF_TEXTS = {"hard_label": {"weight": 0.5}, "soft_target": {"weight": 0.5}}
FAST = {**TRAINING, "num_train_epochs": 6, "learning_rate": 3e-2, "save_steps": 100}


def with_student(values: dict[str, Any], objective: dict[str, Any] | None = None, **student: Any) -> dict[str, Any]:
    """The recipe of the fixture with a student of another architecture."""
    stage = {"teacher": "teacher", "student": {"from": "teacher", **student}, "training": FAST}
    stages = {"teacher": values["stages"]["teacher"], "student": {**stage, "objective": objective or OF_TEXTS}}
    return {**values, "stages": stages}


def run(values: dict[str, Any], folder: Any) -> list[str]:
    said: list[str] = []
    run_recipe(make_recipe(values, name="films"), folder, say=said.append)
    return said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["static", "bilstm"])
@pytest.mark.parametrize("vocabulary", [None, {}])
def test_a_student_of_words_is_trained_saved_and_asked(values, tmp_path, kind, vocabulary, capsys):
    student = {} if vocabulary is None else {"vocabulary": vocabulary}
    run(with_student(values, architecture=kind, **student), tmp_path)
    folder = tmp_path / "student"
    model, tokenizer = load_classifier(folder, require_head=True), load_tokenizer(folder)
    assert model.config.model_type == kind and model.config.vocab_size == len(tokenizer)
    assert (len(tokenizer) == len(VOCAB)) == (vocabulary is None)
    row = read_report(tmp_path / "report.json").stage("student")
    assert row.score == 1.0 and row.cost.parameters == model.num_parameters()
    published = files_to_push(tmp_path, "student")
    assert {"config.json", "model.safetensors", "tokenizer.json", "report.json", "README.md"} <= published.keys()
    assert "load_classifier(name)" in (tmp_path / "README.md").read_text()
    answers = Predictor.load(str(folder)).answers(["the film was lovely, very good", "the film was awful, very bad"])
    assert [each.label for each in answers] == ["good", "bad"]
    assert main(["predict", str(folder), "--text", "the film was lovely"]) == 0
    assert "good" in capsys.readouterr().out


@pytest.mark.slow
def test_vectors_of_a_layer_are_compared_where_they_are_of_a_text(values, tmp_path):
    run(with_student(values, {**OF_TEXTS, "rkd_distance": {"pooling": "mean"}}, architecture="static"), tmp_path)


@pytest.mark.parametrize(
    ("student", "objective", "message"),
    [
        ({"architecture": "static"}, {"hidden_state": {}}, "hidden_state compares layers, and .* has none"),
        ({"architecture": "static"}, {"rkd_distance": {}}, "set pooling: mean"),
        ({"architecture": "bilstm"}, {"attention_scores": {}}, "attention_scores compares attention"),
        ({"architecture": "static", "layers": 1}, {}, "a static student has no layers"),
        ({"architecture": "bilstm", "layers": [1, 2]}, {}, "leave out layer_map and a list of layers"),
        ({"architecture": "static", "config": {"hidden_size": 64}}, {}, "hidden_size is 64: 1 to 32 is needed"),
        ({"architecture": "bilstm", "config": {"hidden_size": 7}}, {}, "hidden_size is 7: an even number"),
        ({"architecture": "static", "config": {"hiden_size": 7}}, {}, "did you mean 'hidden_size'"),
    ],
)
def test_what_such_a_student_has_not_is_told_before_the_first_stage(values, tmp_path, student, objective, message):
    with pytest.raises(RequestError, match=message):
        run(with_student(values, {**OF_TEXTS, **objective}, **student), tmp_path / "run")
    assert not (tmp_path / "run" / "teacher" / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["static", "bilstm"])
def test_padding_changes_nothing(values, tmp_path, kind):
    run(with_student(values, architecture=kind), tmp_path)
    model, tokenizer = load_classifier(tmp_path / "student"), load_tokenizer(tmp_path / "student")
    found = []
    for side in ("right", "left"):
        tokenizer.padding_side = side
        batch = tokenizer(["the film was lovely", "good"], padding="max_length", max_length=9, return_tensors="pt")
        with torch.no_grad():
            found.append(model(batch["input_ids"], batch["attention_mask"]).logits)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("width", [32, 8])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_static_encoder_is_loaded_by_sentence_transformers_with_the_same_vectors(tmp_path, width, normalize):
    """As its module StaticEmbedding, which reads no special tokens and knows nothing of ours."""
    from sentence_transformers import SentenceTransformer

    (tmp_path / "texts.txt").write_text("\n".join([*toy_dataset(60, seed=0)["text"], "a book"]))
    tiny_encoder(modules=replace(PLAIN, normalize=normalize)).save_pretrained(tmp_path / "teacher")
    tiny_tokenizer().save_pretrained(tmp_path / "teacher")
    settings = [
        f"data.task={tmp_path / 'texts.txt'}",
        "data.max_length=32",
        f"stages.student.teacher={tmp_path / 'teacher'}",
        f"stages.student.student.from={tmp_path / 'teacher'}",
        "stages.student.student.layers=null",
        "stages.student.student.architecture=static",
        "stages.student.student.vocabulary={}",
        f"stages.student.student.config={{hidden_size: {width}}}",
        "stages.student.training.per_device_train_batch_size=16",
        "precision=fp32",
        "stages.control=null",
    ]
    run_recipe(load_recipe("embeddings/_base.yaml", settings), tmp_path / "run", say=lambda _: None)
    folder = str(tmp_path / "run" / "student")
    student = load_classifier(folder)
    assert isinstance(student, SentenceEncoder) and student.dimension == 32
    texts = ["a book", "the film was very good", "we saw"]
    ours = make_vectors(folder, texts)
    theirs = SentenceTransformer(folder, device="cpu", local_files_only=True)
    assert next(type(each).__name__ for each in theirs) == "StaticEmbedding"
    np.testing.assert_allclose(ours, theirs.encode(texts), atol=1e-6)
    assert "modules.json" in files_to_push(tmp_path / "run", "student")
    assert "SentenceTransformer(name)" in (tmp_path / "run" / "README.md").read_text()
    assert len(ours) == 3 and np.abs(ours).sum() > 0
