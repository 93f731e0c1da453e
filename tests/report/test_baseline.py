"""What needs no text is measured as a model is, and a model has to be above it by more than chance."""

import time

import numpy as np
import pytest

from distilnlp.problems import get_problem
from distilnlp.report.baseline import bootstrap_interval, measure_baseline
from distilnlp.report.predictions import Predictions

SINGLE_LABEL, REGRESSION, MULTI_LABEL = map(
    get_problem, ("single_label_classification", "regression", "multi_label_classification")
)
RNG = np.random.default_rng(0)


def answers_of(classes, labels, count=3):
    """Logits that decide for these classes."""
    return Predictions.of(list(labels), np.eye(count, dtype=np.float32)[np.asarray(classes)])


def numbers(values, labels):
    return Predictions.of(list(labels), np.asarray(values, dtype=np.float32)[:, None])


def test_classes_have_the_largest_one_of_the_training_rows():
    """Not the largest of the held-out ones, which no model has seen."""
    labels = [0, 0, 0, 2, 1]
    found = measure_baseline(
        answers_of(labels, labels), np.array([2, 2, 1, 2, 0]), SINGLE_LABEL, ["accuracy"], "accuracy"
    )
    assert found.answer == "the largest class of the training rows"
    assert (found.score, found.rows) == (0.2, 5)


@pytest.mark.parametrize(("metric", "score"), [("pearson", 0.0), ("spearmanr", 0.0), ("mse", 1.25)])
def test_numbers_have_their_mean_with_which_nothing_correlates(metric, score, caplog):
    labels = [0.0, 1.0, 2.0, 3.0]
    found = measure_baseline(numbers(labels, labels), np.array([1.0, 2.0]), REGRESSION, [metric], metric)
    assert found.score == score
    assert found.gain[0] >= 0, "an error of 0 is a gain"
    assert not caplog.records, "that it is constant is its nature"


def test_a_constant_has_no_matthews_correlation_either():
    labels = RNG.integers(0, 2, 50)
    names = ["matthews_correlation"]
    found = measure_baseline(answers_of(labels, labels), labels, SINGLE_LABEL, names, names[0])
    assert (found.score, found.is_beaten) == (0.0, True)


@pytest.mark.parametrize(("metric", "answer"), [("micro_f1", "the most frequent labels"), ("accuracy", "no label")])
def test_several_labels_have_the_better_of_none_and_the_most_frequent(metric, answer):
    """Most texts have no label: all right without any where a whole text counts, but F1 is 0 then."""
    labels = np.zeros((40, 3))
    labels[:18, 0] = 1.0
    labels[:4, 1] = 1.0
    logits = np.where(labels > 0, 1.0, -1.0).astype(np.float32)
    found = measure_baseline(Predictions.of(labels.tolist(), logits), labels, MULTI_LABEL, [metric], metric)
    assert found.answer.startswith(answer)
    assert found.score == {"micro_f1": pytest.approx(2 * 18 / (40 + 22)), "accuracy": 22 / 40}[metric]


def test_a_metric_without_thresholds_ranks_the_labels_by_how_often_they_hold():
    labels = (RNG.random((200, 3)) < [0.6, 0.3, 0.1]).astype(float)
    metrics = ["macro_average_precision", "micro_average_precision"]
    found = measure_baseline(Predictions.of(labels, labels - 0.5), labels, MULTI_LABEL, metrics, metrics[0])
    shares = labels.mean(axis=0)
    assert found.score == pytest.approx(shares.mean())
    assert found.metrics["micro_average_precision"] > shares.mean(), "pooled, the frequent label comes first"
    assert found.is_beaten


def test_a_model_is_taken_by_its_own_thresholds():
    """At 0.5 it would give no label to any text; at its own it is always right."""
    labels = (RNG.random((60, 2)) < 0.5).astype(float)
    logits = (labels * 2 - 4).astype(np.float32)
    gains = [
        measure_baseline(Predictions.of(labels, logits, own), labels, MULTI_LABEL, ["micro_f1"], "micro_f1").is_beaten
        for own in (None, (0.05, 0.05))
    ]
    assert gains == [False, True]


def test_held_out_texts_without_any_label_are_no_reason_to_warn(caplog):
    labels, metric = np.zeros((4, 2)), "micro_average_precision"
    found = measure_baseline(Predictions.of(labels, labels), np.eye(2), MULTI_LABEL, [metric], metric)
    assert (found.score, found.is_beaten) == (0.0, False)
    assert not caplog.records


def test_the_most_frequent_labels_are_those_that_give_the_best_f1_to_every_text():
    """Every set of labels is tried."""
    for _ in range(20):
        labels = (RNG.random((30, 5)) < RNG.random(5)).astype(float)
        given = MULTI_LABEL.decide(MULTI_LABEL.baselines(labels, 1)["the most frequent labels of the training rows"])[
            0
        ]
        sets = np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1).T
        f1 = {tuple(each): 2 * labels.sum(0) @ each / (30 * each.sum() + labels.sum()) for each in sets}
        assert f1[tuple(given)] == pytest.approx(max(f1.values()))


def test_a_model_that_knows_is_above_it_and_one_that_does_not_is_not():
    labels = RNG.integers(0, 3, 300)
    good = np.where(RNG.random(300) < 0.6, labels, RNG.integers(0, 3, 300))
    blind = RNG.integers(0, 3, 300)
    found = {
        name: measure_baseline(answers_of(classes, labels), labels, SINGLE_LABEL, ["accuracy"], "accuracy")
        for name, classes in (
            ("good", good),
            ("blind", blind),
            ("constant", np.full(300, np.bincount(labels).argmax())),
        )
    }
    assert {name: each.is_beaten for name, each in found.items()} == {"good": True, "blind": False, "constant": False}
    assert found["constant"].gain == (0.0, 0.0)


def test_the_interval_is_that_of_the_paired_difference():
    """Of independent samples it would be wider: both answer most examples alike."""
    labels = (RNG.random(400) < 0.4).astype(int)
    classes = np.where((labels == 1) & (RNG.random(400) < 0.3), 1, 0)
    found = measure_baseline(
        answers_of(classes, labels, 2), np.array([0, 0, 1]), SINGLE_LABEL, ["accuracy"], "accuracy"
    )
    gains = (classes == labels).astype(float) - (labels == 0)
    error = gains.std() / np.sqrt(400)
    assert found.gain == pytest.approx((gains.mean() - 1.96 * error, gains.mean() + 1.96 * error), abs=0.2 * error)


def test_the_same_answers_give_the_same_interval():
    labels = RNG.integers(0, 2, 60)
    made = [measure_baseline(answers_of(labels[::-1], labels), labels, SINGLE_LABEL, ["f1"], "f1") for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("problem", "metric", "logits", "labels"),
    [
        (SINGLE_LABEL, "macro_f1", RNG.normal(size=(40_000, 3)), RNG.integers(0, 3, 40_000)),
        (REGRESSION, "spearmanr", RNG.normal(size=(10_000, 1)), RNG.normal(size=10_000)),
        (MULTI_LABEL, "macro_f1", RNG.normal(size=(2_000, 28)), RNG.integers(0, 2, (2_000, 28)).astype(float)),
    ],
    ids=["classes", "numbers", "labels"],
)
def test_it_takes_seconds_where_the_rows_are_many(problem, metric, logits, labels):
    """A second on an idle processor; the bound is for a busy one, and far below that of a thousand resamples."""
    started = time.process_time()
    measure_baseline(Predictions.of(labels, logits.astype(np.float32)), labels, problem, [metric], metric)
    assert time.process_time() - started < 10


@pytest.mark.slow
def test_the_bootstrap_covers_at_its_level():
    """Of an accuracy of 0.8: 400 test sets of 200 rows."""
    drawn = np.random.default_rng(0).random((400, 200)) < 0.8
    ends = [bootstrap_interval(lambda rows, right=right: right[rows].mean(), 200, 300) for right in drawn]
    assert np.mean([low <= 0.8 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.025)
