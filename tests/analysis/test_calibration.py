"""Calibration by its formulas, beside scikit-learn, and the temperature with the least loss."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from distilnlp.analysis.calibration import TEMPERATURES, best_temperature, calibration_of
from distilnlp.errors import RequestError


def logits_of(confidences: list[float]) -> NDArray[np.float64]:
    """Two classes, of which the first has these probabilities."""
    first = np.array(confidences)
    return np.log(np.stack([first, 1 - first], axis=1))


def drawn(rows: int, classes: int, sharpness: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits, and labels drawn by their probabilities; the logits are then made sharper than they are right."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(rows, classes)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    return sharpness * logits, labels


def test_the_golden_example_of_four_decisions() -> None:
    """Each in a bin of its own: (0.05 + 0.15 + 0.75 + 0.35) / 4."""
    found = calibration_of(logits_of([0.95, 0.85, 0.75, 0.65]), [0, 0, 1, 0], bins=10)
    assert found.ece == pytest.approx(0.325)
    assert found.mce == pytest.approx(0.75)
    assert [each.count for each in found.bins] == [1, 1, 1, 1]
    assert found.adaptive_ece == pytest.approx(0.325)  # ten bins of four decisions: one each


def test_the_bins_of_equal_width_are_those_of_scikit_learn() -> None:
    logits, labels = drawn(2000, 4, sharpness=2.0)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    right, sure = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
    accuracy, confidence = calibration_curve(right, sure, n_bins=15)
    found = calibration_of(logits, labels)
    assert [each.accuracy for each in found.bins] == pytest.approx(accuracy)
    assert [each.confidence for each in found.bins] == pytest.approx(confidence)
    assert found.nll == pytest.approx(log_loss(labels, probabilities))
    assert found.ece == pytest.approx(
        sum(each.count * abs(each.accuracy - each.confidence) for each in found.bins) / 2000
    )


def test_several_labels_a_text_are_decisions_of_their_own() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 3)), rng.integers(0, 2, (50, 3))
    found = calibration_of(logits, labels)
    chances = 1 / (1 + np.exp(-logits))
    assert found.decisions == 150
    assert found.brier == pytest.approx(brier_score_loss(labels.ravel(), chances.ravel()))
    assert found.nll == pytest.approx(log_loss(labels.ravel(), chances.ravel()))


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_best_temperature_takes_back_what_made_a_model_too_sure(sharpness: float) -> None:
    logits, labels = drawn(20_000, 3, sharpness)
    found = best_temperature(logits, labels)
    assert found == pytest.approx(sharpness, rel=0.05)
    mended, plain = calibration_of(logits, labels, temperature=found), calibration_of(logits, labels)
    assert mended.nll <= plain.nll and mended.ece < 0.02
    nearby = [calibration_of(logits, labels, temperature=found * by).nll for by in (0.97, 1.03)]
    assert mended.nll <= min(nearby)


def test_the_best_temperature_of_several_labels() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(5000, 2)) * 2
    labels = (rng.random((5000, 2)) < 1 / (1 + np.exp(-logits))).astype(int)
    assert best_temperature(2 * logits, labels) == pytest.approx(2.0, rel=0.08)


def test_a_model_that_is_right_everywhere_has_an_end_of_the_range() -> None:
    assert best_temperature([[1.0, 0.0], [0.0, 1.0]], [0, 1]) == pytest.approx(TEMPERATURES[0], rel=1e-3)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[1.0, 2.0]], [2], "labels from 0 to 1"),
        ([[1.0, 2.0]], [0, 1], r"got \(1, 2\) and \(2,\)"),
        ([[float("nan"), 2.0]], [0], "finite logits"),
        (np.zeros((0, 2)), [], "needs finite logits"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(logits: object, labels: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        calibration_of(logits, labels)  # type: ignore[arg-type]


def test_a_temperature_or_a_number_of_bins_that_means_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="temperature is 0"):
        calibration_of([[1.0, 2.0]], [0], temperature=0)
    with pytest.raises(RequestError, match="bins is 0"):
        calibration_of([[1.0, 2.0]], [0], bins=0)
