"""`make_compute_metrics` on what a Trainer hands over."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import BertConfig, EvalPrediction

from distilnlp.errors import RequestError, RunError
from distilnlp.problems import get_problem
from distilnlp.report.metrics import make_compute_metrics

SINGLE_LABEL, REGRESSION, MULTI_LABEL = "single_label_classification", "regression", "multi_label_classification"


def test_importing_the_metrics_loads_nothing_heavy():
    """The command line reads metric names before it has shown its help."""
    code = (
        "import sys, distilnlp.report.metrics, distilnlp.report.fidelity, distilnlp.report.cost\n"
        "import distilnlp.report.compare, distilnlp.report.card\n"
        "heavy = {'torch', 'transformers', 'datasets', 'evaluate', 'huggingface_hub', 'scipy', 'sklearn'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_compute_metrics_takes_the_largest_logit_of_the_first_output():
    """A model that returns hidden states too gives the Trainer a tuple; the logits come first."""
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 0.1, 0.2], [0.0, 3.0, 1.0]])
    compute = make_compute_metrics(["accuracy"], SINGLE_LABEL)
    labels = np.array([0, 2, 2])
    assert compute(EvalPrediction((logits, np.zeros((3, 4, 8))), labels)) == {"accuracy": pytest.approx(2 / 3)}
    assert compute(EvalPrediction(logits, labels)) == {"accuracy": pytest.approx(2 / 3)}


@pytest.mark.parametrize("shape", [(3, 1), (3,)])
def test_compute_metrics_squeezes_the_logit_of_a_regression(shape):
    compute = make_compute_metrics(["pearson", "mse"], REGRESSION)
    logits = np.array([1.0, 2.0, 4.0], dtype=np.float32).reshape(shape)
    scores = compute(EvalPrediction(logits, np.array([2.0, 4.0, 8.0], dtype=np.float32).reshape(shape)))
    assert scores == {"pearson": pytest.approx(1.0), "mse": pytest.approx(7.0)}


def test_compute_metrics_decides_each_label_at_zero():
    compute = make_compute_metrics(["micro_f1", "accuracy"], MULTI_LABEL)
    logits = np.array([[0.1, -0.1, 3.0], [-2.0, 0.0, 0.5]])
    labels = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    assert compute(EvalPrediction(logits, labels)) == {"micro_f1": pytest.approx(6 / 7), "accuracy": 0.5}


def test_compute_metrics_decides_as_the_model_that_is_evaluated():
    """Its thresholds may be chosen after this was made: the config is asked at each evaluation."""
    config = BertConfig(problem_type=MULTI_LABEL, num_labels=2)
    compute = make_compute_metrics(["micro_f1", "micro_average_precision"], MULTI_LABEL, lambda: config)
    prediction = EvalPrediction(np.array([[-1.0, -3.0], [-4.0, -2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert compute(prediction) == {"micro_f1": 0.0, "micro_average_precision": 1.0}
    config.decision_thresholds = [0.1, 0.1]
    assert compute(prediction) == {"micro_f1": 1.0, "micro_average_precision": 1.0}


def test_a_misspelt_metric_is_refused_before_any_training():
    with pytest.raises(RequestError, match="did you mean 'pearson'"):
        make_compute_metrics(["pearsonr"], REGRESSION)


@pytest.mark.parametrize(
    ("shape", "problem_type", "needed"),
    [
        ((4, 1), SINGLE_LABEL, "2 or more"),
        ((4,), SINGLE_LABEL, "2 or more"),
        ((4, 2), REGRESSION, "1"),
        ((4,), MULTI_LABEL, "labels"),
    ],
)
def test_logits_of_another_head_are_refused(shape, problem_type, needed):
    with pytest.raises(RequestError, match=rf"\(examples, {needed}\); got"):
        get_problem(problem_type).decide(np.zeros(shape))


def test_logits_that_are_not_finite_stop_the_run():
    """The largest of NaNs is the first: without the check a diverged model scores as if it always said class 0."""
    with pytest.raises(RunError, match="1 of 2 examples"):
        get_problem(SINGLE_LABEL).decide([[np.nan, np.nan], [0.0, 1.0]])
