"""Distances and angles between examples: golden numbers, references."""

import itertools
import math

import pytest
from torch import Tensor

from distilnlp.losses import RKDAngle, RKDDistance
from tests.losses.cases import ONE, points, random_points


def test_rkd_distance_gives_the_golden_number() -> None:
    student, teacher = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]
    assert float(RKDDistance(ONE)(points(student), points(teacher), {})) == pytest.approx(0.003481, abs=2e-6)


def distance_reference(s: Tensor, t: Tensor) -> float:
    batch, relative = len(s), []
    for x in (s, t):
        d = [[math.dist(a, b) for b in x.tolist()] for a in x.tolist()]
        mean = sum(map(sum, d)) / (batch * (batch - 1))
        relative.append([value / mean for row in d for value in row])
    gaps = [abs(a - b) for a, b in zip(*relative, strict=True)]
    return sum(gap**2 / 2 if gap < 1 else gap - 0.5 for gap in gaps) / batch**2


def test_rkd_distance_is_its_written_definition() -> None:
    s, t = random_points(0), random_points(1, width=7)  # widths are free
    got = RKDDistance(ONE)(points(s), points(t), {})
    assert float(got) == pytest.approx(distance_reference(s, t), rel=1e-5)


def test_rkd_angle_gives_the_golden_number() -> None:
    student, teacher = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]
    assert float(RKDAngle(ONE)(points(student), points(teacher), {})) == pytest.approx(0.000744, abs=2e-6)


def angle_reference(s: Tensor, t: Tensor) -> float:
    total = 0.0
    for i, j, k in itertools.permutations(range(len(s)), 3):
        cosines = []
        for x in (s, t):
            a, b = x[i] - x[j], x[k] - x[j]
            cosines.append(float((a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()))
        gap = abs(cosines[0] - cosines[1])
        total += gap**2 / 2 if gap < 1 else gap - 0.5
    return total / len(s) ** 3


def test_rkd_angle_is_its_written_definition() -> None:
    s, t = random_points(0), random_points(1, width=7)  # widths are free
    got = RKDAngle(ONE)(points(s), points(t), {})
    assert float(got) == pytest.approx(angle_reference(s, t), rel=1e-5)
