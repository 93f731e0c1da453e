"""Angles between vectors and the directions of their classes, and what a linear student needs of them."""

import numpy as np
import pytest

from distilnlp.analysis.geometry import class_angles
from distilnlp.errors import RequestError


def test_with_two_classes_it_is_the_angle_to_the_one_direction():
    weights = np.array([[0.0, -1.0], [0.0, 1.0]])
    features = [[0.0, 3.0], [1.0, 1.0], [2.0, 0.0], [0.0, -1.0], [0.0, 0.0]]
    assert class_angles(features, weights, [1] * 5) == pytest.approx([0, 45, 90, 180, 90])
    assert class_angles(features, weights, [0] * 5) == pytest.approx([180, 135, 90, 0, 90])


def test_what_all_classes_share_and_the_size_of_vectors_change_nothing():
    rng = np.random.default_rng(0)
    features, weights, classes = rng.normal(size=(20, 6)), rng.normal(size=(4, 6)), rng.integers(4, size=20)
    angles = class_angles(features, weights, classes)
    assert class_angles(7 * features, 3 * weights + rng.normal(size=6), classes) == pytest.approx(angles)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert class_angles(features @ rotation, weights @ rotation, classes) == pytest.approx(angles)


def test_a_linear_student_comes_nearer_to_its_teacher_with_every_text_in_expectation():
    """Gradient descent on a linear teacher's answers ends in its weights, projected on the span of the texts."""
    rng = np.random.default_rng(0)
    curve = np.zeros(12)
    for _ in range(200):
        teacher, texts = rng.normal(size=12), rng.normal(size=(12, 12))
        for count in range(12):
            basis = np.linalg.qr(texts[: count + 1].T)[0]
            student = basis @ (basis.T @ teacher)
            curve[count] += class_angles([student], [-teacher, teacher], [1])[0] / 200
    assert (np.diff(curve) < 0).all() and curve[-1] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("features", "weights", "classes", "message"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]], [0], "give two or more"),
        ([[1.0, 2.0]], [[1.0], [2.0]], [0], "angles need"),
        ([[1.0]], [[1.0], [2.0]], [0, 1], "angles need"),
    ],
)
def test_what_has_no_angle_is_refused(features, weights, classes, message):
    with pytest.raises(RequestError, match=message):
        class_angles(features, weights, classes)
