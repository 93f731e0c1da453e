"""`TaskMetric` offline and without a trace."""

import evaluate
import numpy as np
import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.report.task_metric import TaskMetric

REGRESSION, MULTI_LABEL = "regression", "multi_label_classification"


def test_task_metric_is_an_evaluate_metric():
    metric = TaskMetric(["accuracy", "f1"])
    assert isinstance(metric, evaluate.Metric)
    assert metric.compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 1]) == {"accuracy": 0.5, "f1": 0.5}


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_batches_give_what_the_whole_gives(kind):
    """F1 of the whole is not the mean of the batches' F1; and a metric can be used again."""
    predictions, references = [1, 1, 0, 1, 0], [1, 0, 0, 1, 1]
    metric = TaskMetric(["f1"])
    whole = metric.compute(predictions=kind(predictions), references=kind(references))
    for i in range(0, 5, 2):
        metric.add_batch(predictions=kind(predictions[i : i + 2]), references=kind(references[i : i + 2]))
    assert metric.compute() == whole == {"f1": pytest.approx(2 / 3)}


def test_task_metric_takes_numbers_and_rows_of_labels():
    assert TaskMetric(["mse"], REGRESSION).compute(predictions=[0.25, 2], references=[0.75, 2]) == {"mse": 0.125}
    rows = {"predictions": [[1, 0, 1], [0, 0, 1]], "references": [[1, 0, 0], [0, 0, 1]]}
    assert TaskMetric(["accuracy"], MULTI_LABEL).compute(**rows) == {"accuracy": 0.5}


def test_task_metric_takes_logits_for_what_needs_no_decision():
    metric = TaskMetric(["micro_f1", "micro_average_precision"], MULTI_LABEL)
    assert metric.reads_logits and not TaskMetric(["micro_f1"], MULTI_LABEL).reads_logits
    for logits, row in (([-1.0, -3.0], [1, 0]), ([-4.0, -2.0], [0, 1])):
        metric.add_batch(predictions=[[0, 0]], references=[row], logits=[logits])
    assert metric.compute() == {"micro_f1": 0.0, "micro_average_precision": 1.0}


def test_task_metric_does_not_cut_probabilities_to_classes():
    """evaluate's usual int64 column would make 0.9 a 0 without a word."""
    with pytest.raises(RequestError, match="class numbers"):
        TaskMetric(["accuracy"]).compute(predictions=[0.9, 0.2], references=[1, 0])


@pytest.mark.parametrize("empty", [[], np.array([])])
def test_no_examples_are_refused_in_one_line(empty):
    with pytest.raises(RequestError, match="at least one example"):
        TaskMetric(["accuracy"]).compute(predictions=empty, references=empty)


def test_task_metric_writes_nothing(tmp_path, monkeypatch):
    """evaluate makes a cache folder for each metric even when it keeps everything in memory."""
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    metric = TaskMetric(["accuracy"])
    metric.add_batch(predictions=[0], references=[0])
    assert metric.compute() == {"accuracy": 1.0}
    assert list(tmp_path.iterdir()) == []
