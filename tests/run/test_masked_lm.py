"""Masked words through a whole run: general students, what is kept of them, and the tasks that go on from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, pipeline

from distilnlp.data import load_task
from distilnlp.errors import RequestError
from distilnlp.models.loading import load_classifier, load_config
from distilnlp.recipe import make_recipe
from distilnlp.report.predictions import predictions_file, read_predictions
from distilnlp.report.schema import Report
from distilnlp.run import run_recipe
from distilnlp.run.evaluation import answer_of, evaluate_model
from distilnlp.run.predict import predict
from tests.masked import masked_folder, texts_alone
from tests.run.conftest import TRAINING

KIND = "masked_lm"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(texts_alone(200)["text"]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(masked_folder(tmp_path_factory.mktemp("teacher") / "masked", layers=4, seed=1))


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(masked_folder(tmp_path_factory.mktemp("body") / "bare", bare=True, layers=4, seed=1))


def recipe_values(task: str, teacher: str, objective: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {
        "data": {"task": task, "max_length": 24, "problem_type": KIND, **data},
        "precision": "fp32",
        "accept_weak_teacher": True,
        "stages": {
            "student": {
                "teacher": teacher,
                "student": {"from": teacher, "layers": 2},
                "objective": objective,
                "training": TRAINING,
            },
        },
    }


ANSWERS = {"hard_label": {"weight": 2.0}, "response": {"weight": 5.0}, "hidden_state_cosine": {"layer_map": "final"}}


def run_of(values: dict[str, Any], folder: Path) -> Report:
    return run_recipe(make_recipe(values, name="masked"), folder)


@pytest.fixture(scope="module")
def run(texts: str, teacher: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    folder = tmp_path_factory.mktemp("run") / "masked"
    values = recipe_values(texts, teacher, ANSWERS)
    values["stages"]["control"] = {"like": "student", "teacher": None, "objective": None}
    return folder, run_of(values, folder)


def test_teacher_control_and_student_are_asked_for_the_same_hidden_words(
    run: tuple[Path, Report], texts: str, teacher: str
) -> None:
    folder, report = run
    task = load_task(texts, problem_type=KIND)
    kept = [read_predictions(predictions_file(folder / name)) for name in ("control", "student")]
    kept.append(answer_of(teacher, task, max_length=24).predictions)
    for other in kept[1:]:
        np.testing.assert_array_equal(other.rows, kept[0].rows)
        np.testing.assert_array_equal(other.labels, kept[0].labels)
    assert set(kept[0].rows.tolist()) == set(range(len(task.validation)))
    student = next(stage for stage in report.stages if stage.stage == "student")
    assert student.fidelity is not None and 0 <= student.fidelity.agreement <= 1
    assert student.metrics.keys() == {"masked_accuracy", "pseudo_perplexity"}
    assert student.baseline is not None and "commonest token" in student.baseline.answer


def test_no_vocabulary_is_kept_and_the_scores_follow_from_what_is(run: tuple[Path, Report]) -> None:
    folder, report = run
    table = pq.read_table(predictions_file(folder / "student"))
    assert {len(row) for row in table["logits"].to_pylist()} == {3}
    kept = read_predictions(predictions_file(folder / "student"))
    scores = next(stage.metrics for stage in report.stages if stage.stage == "student")
    assert scores["masked_accuracy"] == pytest.approx(np.mean(kept.logits[:, 0] == kept.labels))
    assert scores["pseudo_perplexity"] == pytest.approx(np.exp(-kept.logits[:, 2].astype(float).mean()))


def test_the_scores_are_those_of_the_saved_model_in_plain_transformers(run: tuple[Path, Report], texts: str) -> None:
    """Every held-out text by itself, the same tokens hidden by hand."""
    folder, report = run
    model = AutoModelForMaskedLM.from_pretrained(folder / "student").eval()
    task = load_task(texts, problem_type=KIND)
    reader = answer_reader(folder / "student")
    encoded = reader.encode({"text": task.validation["text"]})
    logs = []
    for ids, labels in zip(encoded.columns["input_ids"], encoded.columns["labels"], strict=True):
        known = torch.tensor(labels) != -100
        with torch.no_grad():
            rows = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)[known]
        logs += rows.gather(1, torch.tensor(labels)[known][:, None])[:, 0].tolist()
    scores = next(stage.metrics for stage in report.stages if stage.stage == "student")
    assert scores["pseudo_perplexity"] == pytest.approx(np.exp(-np.mean(logs)), rel=1e-4)
    again = evaluate_model(str(folder / "student"), task, max_length=24)["validation"]
    assert again == pytest.approx({name: scores[name] for name in again}, rel=1e-4)


def answer_reader(folder: Path) -> Any:
    from distilnlp.models.predictor import Predictor

    return Predictor.load(folder, max_length=24).reader.measuring()


def test_a_blank_is_filled_as_by_the_pipeline_of_transformers(run: tuple[Path, Report]) -> None:
    folder, _ = run
    (found,) = predict(str(folder / "student"), [("the [MASK] was good",)])
    expected = pipeline("fill-mask", str(folder / "student"))("the [MASK] was good")
    assert found.blanks is not None
    assert list(found.blanks[0]) == [each["token_str"] for each in expected]
    assert list(found.blanks[0].values()) == pytest.approx([each["score"] for each in expected], abs=1e-5)
    with pytest.raises(RequestError, match=r"'the film was good' has no \[MASK\]"):
        predict(str(folder / "student"), [("the film was good",)])


def test_its_card_fills_a_blank_in_plain_transformers(run: tuple[Path, Report]) -> None:
    card = (run[0] / "README.md").read_text()
    assert "pipeline_tag: fill-mask" in card
    code = card.split("```python\n")[1].split("```")[0].replace('"control"', repr(str(run[0] / "control")))
    exec(compile(code, "card", "exec"), {})


def test_a_student_is_a_start_for_a_task_with_a_new_head(run: tuple[Path, Report]) -> None:
    folder, _ = run
    assert load_config(folder / "student").problem_type == KIND
    model = load_classifier(folder / "student", label_names=("a", "b", "c"), problem="single_label_classification")
    assert type(model).__name__ == "BertForSequenceClassification" and model.config.num_labels == 3
    own = AutoModelForMaskedLM.from_pretrained(folder / "student")
    for name, weight in model.bert.embeddings.named_parameters():
        torch.testing.assert_close(weight, own.bert.embeddings.get_parameter(name))
    AutoModelForSequenceClassification.from_pretrained(folder / "student")


def test_a_teacher_without_a_head_for_masked_words_is_told(texts: str, body: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"has no masked-LM head .* take a model that was trained on masked words"):
        run_of(recipe_values(texts, body, ANSWERS), tmp_path / "run")
    assert not (tmp_path / "run" / "student").exists()


@pytest.mark.slow
def test_a_bare_encoder_teaches_what_lies_inside(texts: str, body: str, tmp_path: Path) -> None:
    said: list[str] = []
    recipe = make_recipe(recipe_values(texts, body, {"minilm": {"weight": 1.0}}), name="masked")
    report = run_recipe(recipe, tmp_path / "run", say=said.append)
    assert any("no loss reads its head, which is not trained" in line for line in said)
    assert [stage.stage for stage in report.stages] == ["student"]  # a teacher without a head is not measured


@pytest.mark.slow
def test_general_then_task_in_one_recipe(texts: str, body: str, csv_file: str, tmp_path: Path) -> None:
    values = recipe_values(csv_file, body, {"minilm": {"weight": 1.0}})
    del values["data"]["problem_type"]
    general = {**values["stages"].pop("student"), "problem": KIND, "data": {"task": texts}}
    values["stages"] = {
        "teacher": {"model": body, "training": TRAINING},
        "general": general,
        "student": {
            "model": "general",
            "teacher": "teacher",
            "objective": {"hard_label": {"weight": 0.5}, "response": {"weight": 0.5}},
            "training": TRAINING,
        },
    }
    report = run_of(values, tmp_path / "run")
    metrics = {stage.stage: stage.main_metric for stage in report.stages}
    assert metrics == {"teacher": "accuracy", "general": "masked_accuracy", "student": "accuracy"}
    config = load_config(tmp_path / "run" / "student")
    assert config.num_hidden_layers == 2 and config.problem_type == "single_label_classification"


@pytest.mark.slow
def test_the_share_of_hidden_tokens_is_kept_with_the_model(texts: str, teacher: str, tmp_path: Path) -> None:
    run_of(recipe_values(texts, teacher, ANSWERS, mask_share=0.4), tmp_path / "run")
    assert load_config(tmp_path / "run" / "student").distilnlp_reading == {"mask_share": 0.4}


@pytest.mark.slow
def test_a_student_may_be_of_another_architecture(texts: str, teacher: str, tmp_path: Path) -> None:
    values = recipe_values(texts, teacher, ANSWERS)
    values["stages"]["student"]["student"]["architecture"] = "distilbert"
    run_of(values, tmp_path / "run")
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "student")).__name__ == "DistilBertForMaskedLM"
