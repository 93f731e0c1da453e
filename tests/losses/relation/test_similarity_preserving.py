"""Similarities between examples, row by row: golden number, reference."""

import math

import pytest
from torch import Tensor

from distilnlp.losses import SimilarityPreserving
from tests.losses.cases import ONE, points, random_points


def test_similarity_preserving_gives_the_golden_number() -> None:
    student, teacher = [[1.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]
    assert float(SimilarityPreserving(ONE)(points(student), points(teacher), {})) == pytest.approx(
        1 - 0.5**0.5, abs=2e-6
    )


def similarity_reference(s: Tensor, t: Tensor) -> float:
    total = 0.0
    for i in range(len(s)):
        rows = [[float((x[i] * x[j]).sum()) for j in range(len(x))] for x in (s, t)]
        a, b = ([value / math.hypot(*row) for value in row] for row in rows)
        total += sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    return total / len(s) ** 2


def test_similarity_preserving_is_its_written_definition() -> None:
    s, t = random_points(0), random_points(1, width=7)  # widths are free
    got = SimilarityPreserving(ONE)(points(s), points(t), {})
    assert float(got) == pytest.approx(similarity_reference(s, t), rel=1e-5)
