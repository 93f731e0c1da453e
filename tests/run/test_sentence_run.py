"""A run that distils sentence vectors, from texts to the report, on tiny models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from distilnlp.data.load_measured import load_pairs
from distilnlp.errors import RequestError
from distilnlp.models.loading import load_model
from distilnlp.models.sentence_encoder import SentenceEncoder
from distilnlp.recipe import load_recipe
from distilnlp.report.schema import Report
from distilnlp.run import run_recipe
from distilnlp.run.evaluation import evaluate_model
from distilnlp.run.vectors import gives_vectors, make_vectors
from tests.models.test_sentence_encoder import PLAIN, tiny_encoder
from tests.tiny import tiny_model, tiny_tokenizer, toy_dataset
from tests.training.test_own_tokens import bilingual_encoder, bilingual_tokenizer, translated

PAIRS = (
    "text,text_pair,score\nthe film was great,the film was superb,5\na book,a dull meal,1\nthe meal,it was on,0.5\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Texts, pairs with a score, and a folder of sentence-transformers."""
    rows = toy_dataset(60, seed=0)["text"][:]
    (tmp_path / "texts.txt").write_text("\n".join([*rows, "", "a book"]))
    (tmp_path / "pairs.csv").write_text(PAIRS)
    tiny_encoder(modules=PLAIN).save_pretrained(tmp_path / "teacher")
    tiny_tokenizer().save_pretrained(tmp_path / "teacher")
    return tmp_path


def run(place: Path, *changes: str, folder: str = "run", teacher: str = "teacher") -> Report:
    settings = [
        f"data.task={place / 'texts.txt'}",
        f"data.validation={place / 'pairs.csv'}",
        "data.max_length=32",
        f"stages.student.teacher={place / teacher}",
        f"stages.student.student.from={place / teacher}",
        "stages.student.student.layers=1",
        "stages.student.training.per_device_train_batch_size=16",
        "precision=fp32",
        *changes,
    ]
    report = run_recipe(load_recipe("embeddings/_base.yaml", settings), place / folder, say=lambda _: None)
    assert report is not None
    return report


@pytest.mark.slow
def test_a_run_compares_teacher_control_and_student_on_pairs(place: Path) -> None:
    report = run(place)
    assert [stage.role for stage in report.stages] == ["teacher", "control", "student"]
    assert report.main_metric == "spearmanr" and report.problem.vectors
    student = report.stages[-1]
    assert student.fidelity is not None and student.fidelity.agreement > 0.9
    card = (place / "run" / "README.md").read_text()
    assert "library_name: sentence-transformers" in card and "pipeline_tag: sentence-similarity" in card
    assert "SentenceTransformer(name)" in card
    assert evaluate_of(place, "student") == pytest.approx(student.score)


def evaluate_of(place: Path, stage: str) -> float:
    scores = evaluate_model(str(place / "run" / stage), load_pairs(place / "pairs.csv"), max_length=32)
    return scores["validation"]["spearmanr"]


def test_the_student_of_a_run_is_loaded_by_sentence_transformers_with_the_same_vectors(place: Path) -> None:
    from sentence_transformers import SentenceTransformer

    run(place)
    folder = str(place / "run" / "student")
    assert gives_vectors(folder)
    theirs = SentenceTransformer(folder, device="cpu", local_files_only=True).encode(["a book", "the film"])
    np.testing.assert_allclose(make_vectors(folder, ["a book", "the film"]), theirs, atol=1e-6)


def test_a_run_that_is_started_again_is_finished(place: Path) -> None:
    first = run(place)
    assert run(place) == first


def test_a_student_of_shorter_vectors_learns_the_main_components_of_its_teachers(place: Path) -> None:
    run(place, "stages.student.student.dimension=4", "stages.student.training.num_train_epochs=3")
    model, whole = load_model(place / "run" / "student")
    assert isinstance(model, SentenceEncoder) and whole and model.dimension == 4
    control, _ = load_model(place / "run" / "control")
    assert isinstance(control, SentenceEncoder) and control.dimension == 4
    assert not torch.equal(model.dense[0].linear.weight, control.dense[0].linear.weight)  # type: ignore[union-attr]


def test_a_narrower_student_keeps_its_projection_in_the_folder(place: Path) -> None:
    run(place, "stages.student.student.config={hidden_size: 16}")
    assert make_vectors(str(place / "run" / "student"), ["a book"]).shape == (1, 32)
    assert json.loads((place / "run/student/2_Dense/config.json").read_text())["in_features"] == 16


@pytest.mark.slow
def test_a_bare_encoder_teaches_where_the_recipe_says_how_it_is_pooled(place: Path) -> None:
    tiny_model("bert").base_model.save_pretrained(place / "bare")
    tiny_tokenizer().save_pretrained(place / "bare")
    with pytest.raises(RequestError, match="pooling: mean"):
        run(place, teacher="bare")
    report = run(place, "stages.student.pooling=cls", teacher="bare")
    assert report.stages[-1].stage == "student"
    saved = json.loads((place / "run/student/1_Pooling/config.json").read_text())
    assert saved["pooling_mode_cls_token"] and not saved["pooling_mode_mean_tokens"]


def test_two_poolings_of_one_model_are_refused_with_the_line(place: Path) -> None:
    with pytest.raises(RequestError, match=r"modules\.json that it pools by mean"):
        run(place, "stages.student.pooling=cls")


def test_texts_that_are_all_empty_are_refused_and_nothing_is_written(place: Path) -> None:
    (place / "empty.csv").write_text('text,n\n"",1\n" ",2\n')
    with pytest.raises(RequestError, match="2 are empty"):
        run(place, f"data.task={place / 'empty.csv'}", folder="none")
    assert not (place / "none" / "control").exists()


def test_a_teacher_that_gives_zeros_is_refused_before_anything_is_trained(place: Path) -> None:
    model = tiny_encoder(modules=PLAIN.projected(32, 8))
    with torch.no_grad():
        for parameter in model.dense.parameters():
            parameter.zero_()
    model.save_pretrained(place / "zeros")
    tiny_tokenizer().save_pretrained(place / "zeros")
    with pytest.raises(RequestError, match="vectors of zeros"):
        run(place, teacher="zeros", folder="none")


def test_a_classifier_is_no_teacher_of_vectors(place: Path) -> None:
    tiny_model("bert").save_pretrained(place / "classifier")
    tiny_tokenizer().save_pretrained(place / "classifier")
    with pytest.raises(RequestError, match="pooling: mean"):
        run(place, teacher="classifier", folder="none")


def parallel_place(place: Path, rows: int = 60) -> None:
    """A file of texts with two translations, and a student that has tokens for all of them."""
    bilingual_encoder().save_pretrained(place / "bilingual")
    bilingual_tokenizer().save_pretrained(place / "bilingual")
    texts = sorted(set(toy_dataset(rows, seed=0)["text"]))
    lines = [f"{text},{translated(text)},{translated(' '.join(reversed(text.split())))}" for text in texts]
    (place / "parallel.csv").write_text("\n".join(["en,x,back", *lines]))


def cross(place: Path, *changes: str, folder: str = "cross") -> Report:
    settings = [
        f"data.task={place / 'parallel.csv'}",
        "data.text=en",
        "data.translations=[x, back]",
        "data.max_length=32",
        f"stages.student.teacher={place / 'teacher'}",
        f"stages.student.student.from={place / 'bilingual'}",
        "stages.student.student.layers=1",
        "stages.student.training.per_device_train_batch_size=16",
        "stages.student.training.num_train_epochs=8",
        "stages.student.training.learning_rate=0.005",
        "precision=fp32",
        *changes,
    ]
    report = run_recipe(load_recipe("embeddings/cross-lingual.yaml", settings), place / folder, say=lambda _: None)
    assert report is not None
    return report


@pytest.mark.slow
def test_a_run_across_languages_is_measured_by_the_translations_that_are_found(place: Path) -> None:
    parallel_place(place)
    report = cross(place)
    teacher, control, student = report.stages
    assert report.main_metric == student.main_metric == "translation_accuracy"
    assert student.metrics.keys() == {
        "translation_accuracy",
        "translation_accuracy[x]",
        "translation_accuracy[back]",
    }
    assert student.score is not None and control.score is not None and teacher.score is not None
    assert student.score > max(control.score, teacher.score)
    assert student.fidelity is not None and control.fidelity is not None
    assert student.fidelity.agreement > control.fidelity.agreement
    assert "translation_accuracy" in (place / "cross" / "README.md").read_text()
    task = load_pairs(place / "parallel.csv", text="en", translations=["x"])
    scores = evaluate_model(str(place / "cross" / "student"), task, max_length=32)
    assert scores["validation"]["translation_accuracy"] > control.score


@pytest.mark.slow
def test_a_student_of_another_width_is_told_how_it_gets_the_teachers(place: Path) -> None:
    wide = tiny_model("bert", hidden=64, layers=1)
    wide.base_model.save_pretrained(place / "wide")
    tiny_tokenizer().save_pretrained(place / "wide")
    changes = [f"stages.student.student.from={place / 'wide'}", "stages.student.pooling=mean"]
    with pytest.raises(RequestError, match=r"student's have 64 and the teacher's 32; give the student as many"):
        run(place, *changes, folder="none")
    run(place, *changes, "stages.student.student.dimension=32")
    assert make_vectors(str(place / "run" / "student"), ["a book"]).shape == (1, 32)


def test_a_run_across_languages_that_compares_tokens_is_refused_with_its_line(place: Path) -> None:
    parallel_place(place)
    with pytest.raises(RequestError, match=r"stages\.student: hidden_state compares what the models have for"):
        cross(place, "stages.student.objective.hidden_state={weight: 1.0}", folder="none")
    assert not (place / "none" / "control").exists()


def test_other_translations_are_other_data_for_a_run_that_goes_on(place: Path) -> None:
    parallel_place(place)
    cross(place, "stages.student.training.num_train_epochs=1")
    text = (place / "parallel.csv").read_text()
    (place / "parallel.csv").write_text(text.replace("xthe", "xa"))
    with pytest.raises(RequestError, match="the data changed"):
        cross(place, "stages.student.training.num_train_epochs=1")


def test_texts_without_scored_pairs_are_held_out_and_the_report_is_the_agreement(place: Path) -> None:
    report = run(place, "data.validation=null", folder="unscored")
    student = report.stages[-1]
    assert student.score is None and student.metrics == {} and "texts without scores are held out" in report.source
    assert student.fidelity is not None and student.fidelity.agreement > 0.9
    assert "agreement" in (place / "unscored" / "README.md").read_text()
