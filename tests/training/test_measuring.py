"""What an evaluation tells while training is what the report tells of the same model: of texts, not of windows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, List, Value
from transformers import PreTrainedModel

from distilnlp.data import load_task
from distilnlp.losses import HardLabel, Objective
from distilnlp.models.backend import TorchBackend
from distilnlp.models.heads import model_from_config
from distilnlp.models.predictor import Predictor
from distilnlp.models.reading import remember_reading
from distilnlp.problems import get_problem
from distilnlp.problems.answers import exact_match, token_f1
from distilnlp.report.scores import compute_scores
from distilnlp.training.trainer import DistillationTrainer
from tests.runs import arguments
from tests.tiny import tiny_model, tiny_tokenizer

LENGTH = 14
WORDS = ["the", "film", "was", "very", "good", "and", "it", "is", "on", "a", "meal"]
COLOURS = ("blue", "green", "red")
QUESTIONS = get_problem("question_answering")


def questions(count: int, *, without: int = 0) -> Dataset:
    """Each answer is one of two colours in a context of several windows; every so many have none."""
    rows = []
    for row in range(count):
        words, colour = WORDS * (1 + row % 3), COLOURS[row % 3]
        has = not (without and row % without == 0)
        if has:
            words[(row * 5) % len(words)] = colour
            words[(row * 5 + 1 + row % 4) % len(words)] = COLOURS[(row + 1 + row % 2) % 3]
        context = " ".join(words)
        answer = (
            {"text": [colour], "answer_start": [context.index(colour)]} if has else {"text": [], "answer_start": []}
        )
        rows.append({"text": "which colour", "text_pair": context, "label": answer})
    kinds = QUESTIONS.feature(None)
    return Dataset.from_list(rows).cast_column("label", kinds)


def span_model(seed: int = 0) -> PreTrainedModel:
    config = tiny_model("bert").config
    config.update(QUESTIONS.config_settings(None))
    torch.manual_seed(seed)
    model = model_from_config(config)
    remember_reading(model.config, {"stride": 2})
    return model


def trainer(folder: Path, model: PreTrainedModel, train: Dataset, held_out: Any, **args: Any) -> DistillationTrainer:
    settings = {"learning_rate": 0.05, **args}
    return DistillationTrainer(
        model,
        None,
        Objective([(1.0, HardLabel())]),
        arguments(folder, **settings),
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=tiny_tokenizer(),
        max_length=LENGTH,
    )


def expected(model: PreTrainedModel, data: Dataset, threshold: float | None) -> dict[str, float]:
    """By the model's own answers to the texts, one after the other."""
    predictor = Predictor(TorchBackend(model, torch.device("cpu")), tiny_tokenizer(), max_length=LENGTH)
    found = predictor.answered(list(zip(data["text"], data["text_pair"], strict=True)))
    kind = QUESTIONS.decided_by(None if threshold is None else (threshold,))
    pairs = list(zip(kind.decisions(found.logits, found.found), (row["text"] for row in data["label"]), strict=True))
    return {
        "eval_answer_f1": float(np.mean([token_f1(*pair) for pair in pairs])),
        "eval_exact_match": float(np.mean([exact_match(*pair) for pair in pairs])),
    }


@pytest.mark.parametrize(("without", "threshold"), [(0, None), (3, 0.5)])
@pytest.mark.parametrize("sampling", ["random", "group_by_length"])
def test_an_evaluation_tells_the_f1_of_whole_contexts(
    tmp_path: Path, without: int, threshold: float | None, sampling: str
) -> None:
    model, held_out = span_model(), questions(11, without=without)
    made = trainer(tmp_path, model, questions(12), held_out, train_sampling_strategy=sampling)
    made.train()
    scores = made.evaluate()
    wanted = expected(model, held_out, threshold)
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted)
    assert ("eval_answer_f1[unanswerable]" in scores) == bool(without)
    assert 0 < scores["eval_answer_f1"] < 1  # else any model would do


@pytest.mark.slow
def test_the_best_model_by_f1_is_what_is_left_at_the_end(tmp_path: Path) -> None:
    model, held_out = span_model(), questions(11)
    made = trainer(
        *(tmp_path, model, questions(24), held_out),
        num_train_epochs=4,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="answer_f1",
    )
    made.train()
    told = [log["eval_answer_f1"] for log in made.state.log_history if "eval_answer_f1" in log]
    assert len(told) == 4 and made.state.best_metric == max(told)
    assert expected(made.model, held_out, None)["eval_answer_f1"] == pytest.approx(max(told))


def test_each_of_several_sets_has_its_own_texts(tmp_path: Path) -> None:
    model, sets = span_model(), {"one": questions(7), "two": questions(5, without=2)}
    made = trainer(tmp_path, model, questions(12), sets)
    scores = made.evaluate()
    for name, threshold in (("one", None), ("two", 0.5)):
        wanted = expected(model, sets[name], threshold)["eval_answer_f1"]
        assert scores[f"eval_{name}_answer_f1"] == pytest.approx(wanted)
    assert made.predict(sets["two"]).metrics["test_answer_f1"] == pytest.approx(scores["eval_two_answer_f1"])


def test_tokens_without_their_texts_tell_the_loss_alone(tmp_path: Path) -> None:
    made = trainer(tmp_path, span_model(), questions(12), questions(5))
    tokens = made.eval_dataset
    alone = trainer(tmp_path, span_model(), questions(12), tokens).evaluate()
    assert "eval_answer_f1" in made.evaluate() and "eval_answer_f1" not in alone
    assert alone["eval_loss"] == pytest.approx(made.evaluate()["eval_loss"])


def test_the_windows_of_a_long_text_are_joined_before_classes_are_counted(tmp_path: Path) -> None:
    model = tiny_model("bert", label_names=("bad", "good"), problem_type="single_label_classification", seed=4)
    remember_reading(model.config, {"long": "windows", "window": LENGTH, "stride": 2, "join": "max"})
    texts = [" ".join((WORDS * (1 + row % 4))[row:]) + f" {COLOURS[row % 3]}" for row in range(9)]
    data = Dataset.from_dict({"text": texts, "label": [row % 2 for row in range(9)]})
    made = trainer(tmp_path, model, data, data)
    decided = Predictor(TorchBackend(model, torch.device("cpu")), tiny_tokenizer(), max_length=LENGTH).decide(texts)
    assert made.evaluate()["eval_accuracy"] == pytest.approx(np.mean(decided == np.array(data["label"])))
    assert len(made.eval_dataset) > len(data)


def test_entities_that_windows_cut_are_counted_whole(tmp_path: Path) -> None:
    names = ("O", "B-x", "I-x")
    config = tiny_model("bert", label_names=names).config
    config.update(get_problem("token_classification").config_settings(names))
    torch.manual_seed(2)
    model = model_from_config(config)
    words = [WORDS * (1 + row % 3) for row in range(6)]
    tags = [[(row + place) % 3 for place in range(len(own))] for row, own in enumerate(words)]
    data = Dataset.from_dict({"text": words, "label": tags}).cast_column(
        "label", get_problem("token_classification").feature(names)
    )
    made = trainer(tmp_path, model, data, data)
    found = Predictor(TorchBackend(model, torch.device("cpu")), tiny_tokenizer(), max_length=LENGTH).answered(
        [(own,) for own in words]
    )
    problem = get_problem("token_classification")
    wanted = compute_scores(
        problem.metrics,
        *(problem.decide(found.logits), np.concatenate(tags), problem),
        examples=found.example,
        names=names,
    )
    scores = made.evaluate()
    assert {name: scores[f"eval_{name}"] for name in wanted} == pytest.approx(wanted)


# ---- answers that no window holds ----


def squad(folder: Path, answers: list[tuple[str, str]]) -> Path:
    rows = [
        {"question": f"which colour {row}", "context": context, "answers": {"text": [text], "answer_start": [start]}}
        for row, (context, text) in enumerate(answers)
        for start in [context.index(text)]
    ]
    file = folder / "train.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def test_answers_that_windows_cut_are_counted_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each has 10 tokens, and a window room for 14 - 3 - 3 of the context."""
    context = " ".join(WORDS * 3)
    long = " ".join(WORDS[:10])
    data = load_task(squad(tmp_path, [(context, "film"), (context, "meal")] * 10 + [(context, long)] * 4)).train
    made = sum(label["text"] == [long] for label in data["label"])
    with caplog.at_level("WARNING"):
        trainer(tmp_path, span_model(), data, None)
    assert f"{made} of {len(data)} answers stand whole in no window of max_length={LENGTH} tokens" in caplog.text


def test_answers_of_which_none_can_be_learned_are_refused(tmp_path: Path) -> None:
    context, long = " ".join(WORDS * 3), " ".join(WORDS[:10])
    data = questions(6, without=1)
    lost = [{"text": [long], "answer_start": [0]}] * len(data)
    data = data.remove_columns(["label", "text_pair"]).add_column("text_pair", [context] * len(data))
    data = data.add_column(
        "label", lost, feature={"text": List(Value("string")), "answer_start": List(Value("int32"))}
    )
    with pytest.raises(ValueError, match=r"none of the 6 answers stands whole in a window of max_length=14 tokens"):
        trainer(tmp_path, span_model(), data, None)


def test_answers_that_are_too_long_to_be_given_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, context = span_model(), " ".join(WORDS * 2)
    remember_reading(model.config, {"stride": 4, "longest_answer": 2})
    data = load_task(squad(tmp_path, [(context, "film was very"), (context, "meal")] * 10)).train
    made = sum(len(label["text"][0].split()) == 3 for label in data["label"])
    with caplog.at_level("WARNING"):
        trainer(tmp_path, model, data, None)
    assert f"{made} of {len(data)} answers have more tokens than longest_answer" in caplog.text
