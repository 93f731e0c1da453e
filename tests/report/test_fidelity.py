"""Fidelity against its definitions written out, and its fixed points."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import cohen_kappa_score

from distilnlp.errors import RequestError, RunError
from distilnlp.report.fidelity import fidelity

SINGLE_LABEL, REGRESSION, MULTI_LABEL = "single_label_classification", "regression", "multi_label_classification"

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, 50, 3))


def kl(p, q):
    return p * np.log(p / q)


def test_classes_match_the_written_definition():
    q, p = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (STUDENT, TEACHER))
    got = fidelity(STUDENT, TEACHER, SINGLE_LABEL)
    assert got["agreement"] == np.mean(q.argmax(1) == p.argmax(1))
    assert got["kl"] == pytest.approx(kl(p, q).sum(axis=1).mean())
    assert got["kl"] == pytest.approx(scipy.stats.entropy(p, q, axis=1).mean())


def test_kl_is_of_the_teacher_against_the_student():
    """The other direction is another number, so swapping the arguments must show."""
    forth, back = fidelity(STUDENT, TEACHER, SINGLE_LABEL), fidelity(TEACHER, STUDENT, SINGLE_LABEL)
    assert forth["agreement"] == back["agreement"]
    assert forth["kl"] != pytest.approx(back["kl"], rel=1e-3)


def test_multi_label_matches_the_written_definition():
    q, p = (1 / (1 + np.exp(-z)) for z in (STUDENT, TEACHER))
    got = fidelity(STUDENT, TEACHER, MULTI_LABEL)
    assert got["agreement"] == np.mean((q > 0.5) == (p > 0.5))
    assert got["kl"] == pytest.approx((kl(p, q) + kl(1 - p, 1 - q)).sum(axis=1).mean())


def test_kappa_is_cohens():
    expected = cohen_kappa_score(STUDENT.argmax(axis=1), TEACHER.argmax(axis=1))
    assert fidelity(STUDENT, TEACHER, SINGLE_LABEL)["kappa"] == pytest.approx(expected)
    one_label = [
        fidelity(s[:, None], t[:, None], MULTI_LABEL)["kappa"] for s, t in zip(STUDENT.T, TEACHER.T, strict=True)
    ]
    assert one_label == pytest.approx(
        [cohen_kappa_score(s > 0, t > 0) for s, t in zip(STUDENT.T, TEACHER.T, strict=True)]
    )


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL])
@pytest.mark.parametrize("answer", [[-3.0, -2.0, -1.0], [2.0, -1.0, -1.0]])
def test_two_models_that_ignore_the_text_agree_by_chance_alone(problem_type, answer):
    """They answer alike every time, which says nothing of what they know: no label for any text, or one for each."""
    student, teacher = (np.tile(answer, (20, 1)) * factor for factor in (1.0, 1.5))
    got = fidelity(student, teacher, problem_type)
    assert (got["agreement"], got["kappa"]) == (1.0, 0.0)


@pytest.mark.parametrize("shape", [(150,), (150, 1)])
def test_regression_is_correlation_and_distance(shape):
    student, teacher = STUDENT.reshape(shape), TEACHER.reshape(shape)
    got = fidelity(student, teacher, REGRESSION)
    assert got["agreement"] == pytest.approx(scipy.stats.pearsonr(student.ravel(), teacher.ravel()).statistic)
    assert got["mae"] == pytest.approx(np.mean(np.abs(student - teacher)))


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_student_agrees_with_itself(problem_type, dtype):
    logits = (STUDENT * 20).astype(dtype)
    assert fidelity(logits, logits, problem_type) == {"agreement": 1.0, "kappa": 1.0, "kl": 0.0}


@pytest.mark.parametrize("values", [STUDENT[:, :1], np.full((5, 1), 2.5)])
def test_a_regression_agrees_with_itself(values):
    """A constant has no correlation; that it agrees with itself is true all the same."""
    assert fidelity(values, values, REGRESSION) == {"agreement": 1.0, "mae": 0.0}


def test_a_constant_student_of_a_regression_does_not_agree(caplog):
    assert fidelity([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], REGRESSION) == {"agreement": 0.0, "mae": 1.0}
    assert "agreement with the teacher is not defined" in caplog.text


@pytest.mark.parametrize(("problem_type", "expected"), [(SINGLE_LABEL, 2000.0), (MULTI_LABEL, 2 * 1000.0)])
def test_extreme_logits_give_a_finite_kl(problem_type, expected):
    """Probabilities of exactly 0 and 1 in float64: exp(-2000) has no logarithm, its log-softmax has."""
    student, teacher = np.array([[1000.0, -1000.0]]), np.array([[-1000.0, 1000.0]])
    assert fidelity(student, teacher, problem_type)["kl"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("student", "teacher", "problem_type"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), SINGLE_LABEL),
        (np.zeros((0, 2)), np.zeros((0, 2)), SINGLE_LABEL),
        (np.zeros((3, 1)), np.zeros((3, 1)), SINGLE_LABEL),
        (np.zeros((3, 2)), np.zeros((3, 2)), REGRESSION),
        (np.zeros((3, 2)), np.zeros((3, 2)), "classes"),
    ],
)
def test_logits_that_cannot_be_compared_are_refused(student, teacher, problem_type):
    with pytest.raises(RequestError):
        fidelity(student, teacher, problem_type)


def test_a_diverged_student_stops_the_run():
    with pytest.raises(RunError, match="not finite"):
        fidelity([[np.inf, 0.0]], [[1.0, 0.0]], SINGLE_LABEL)
