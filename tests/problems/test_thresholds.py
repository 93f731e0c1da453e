"""The thresholds with the best F1, against every cut tried one by one."""

import numpy as np
import pytest

from distilnlp.problems import thresholds
from distilnlp.problems.thresholds import choose_thresholds, logit, sigmoid

RNG = np.random.default_rng(0)
SHARES = np.array([0.4, 0.15, 0.1])
PRESENT = RNG.random((300, 3)) < SHARES
LOGITS = np.where(PRESENT, 1.0, -1.0) + logit(SHARES) + RNG.normal(size=(300, 3))


def f1(chosen: np.ndarray, logits: np.ndarray, present: np.ndarray) -> float:
    """Of all decisions pooled."""
    yes = logits > logit(chosen)
    return 2 * float(np.sum(yes & present)) / float(yes.sum() + present.sum())


def best_of_all(logits: np.ndarray, present: np.ndarray) -> float:
    """The highest F1 that any one cut has."""
    return max(f1(sigmoid(cut - 1e-6), logits, present) for cut in np.unique(logits))


def test_each_label_gets_the_best_f1_that_any_cut_has(monkeypatch):
    monkeypatch.setattr(thresholds, "SHARED_EXAMPLES", 0)
    chosen = np.array(choose_thresholds(LOGITS, PRESENT))
    for i in range(3):
        assert f1(chosen[i], LOGITS[:, i], PRESENT[:, i]) == pytest.approx(best_of_all(LOGITS[:, i], PRESENT[:, i]))
    assert len(set(chosen)) == 3


def test_the_fewer_examples_have_a_label_the_nearer_it_is_to_what_all_share(monkeypatch):
    drawn, (shared, *_) = choose_thresholds(LOGITS, PRESENT), choose_thresholds(LOGITS, PRESENT, one=True)
    monkeypatch.setattr(thresholds, "SHARED_EXAMPLES", 0)
    own = logit(np.array(choose_thresholds(LOGITS, PRESENT)))
    weight = PRESENT.sum(axis=0) / (PRESENT.sum(axis=0) + 10)
    assert logit(np.array(drawn)) == pytest.approx(weight * own + (1 - weight) * logit(shared), abs=1e-3)


def test_a_label_that_no_example_has_takes_the_one_of_all():
    seen = PRESENT & [True, True, False]
    assert choose_thresholds(LOGITS, seen)[2] == choose_thresholds(LOGITS, seen, one=True)[2]


def test_one_for_all_has_the_best_micro_f1():
    chosen = choose_thresholds(LOGITS, PRESENT, one=True)
    assert len(set(chosen)) == 1 and len(chosen) == 3
    assert f1(np.array(chosen), LOGITS, PRESENT) == pytest.approx(best_of_all(LOGITS, PRESENT))


def test_labels_that_never_pass_a_half_pass_their_threshold():
    """What a short training leaves: the right order, and every probability far below 0.5."""
    low = LOGITS - 8.0
    assert not (low > 0).any()
    assert f1(np.array(choose_thresholds(low, PRESENT)), low, PRESENT) > 0.6


def test_equal_probabilities_stay_on_one_side():
    logits = np.array([[2.0], [1.0], [1.0], [1.0], [-1.0]])
    present = np.array([[1], [1], [1], [0], [0]])
    (chosen,) = choose_thresholds(logits, present, one=True)
    assert (logits > logit(chosen)).ravel().tolist() == [True, True, True, True, False]


def test_what_is_chosen_lies_between_0_and_1_whatever_the_logits():
    for size in (0.0, 50.0, 1000.0):
        for value in choose_thresholds(size * LOGITS, PRESENT):
            assert 0.0 < value < 1.0
    assert choose_thresholds(LOGITS, np.zeros_like(PRESENT)) == (0.5,) * 3  # nothing to choose by
    assert 0.0 < choose_thresholds(LOGITS, np.ones_like(PRESENT))[0] < 1.0


def test_the_sigmoid_and_its_inverse_are_those_of_the_definition():
    assert sigmoid(np.array([0.0, 800.0, -800.0])).tolist() == [0.5, 1.0, 0.0]
    assert logit(sigmoid(np.array([-3.0, 2.0]))) == pytest.approx([-3.0, 2.0])
