"""Similarities between examples as probabilities: golden number, reference."""

import math

import pytest
import torch
from torch import Tensor

from distilnlp.losses import PKT
from tests.losses.cases import ONE, points, random_points


def test_pkt_gives_the_golden_number() -> None:
    student, teacher = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    # The authors' code divides by the batch once more.
    assert float(PKT(ONE, include_self=True)(points(student), points(teacher), {})) == pytest.approx(
        3 * 0.027626, abs=2e-6
    )


def pkt_reference(s: Tensor, t: Tensor) -> float:
    total = 0.0
    for i in range(len(s)):
        rows = []
        for x in (s, t):
            kernel = [(float(torch.cosine_similarity(x[i], x[j], dim=0)) + 1) / 2 for j in range(len(x)) if j != i]
            rows.append([value / sum(kernel) for value in kernel])
        total += sum(p * math.log(p / q) for q, p in zip(*rows, strict=True))
    return total / len(s)


def test_pkt_is_its_written_definition() -> None:
    s, t = random_points(0), random_points(1, width=7)  # widths are free
    got = PKT(ONE)(points(s), points(t), {})
    assert float(got) == pytest.approx(pkt_reference(s, t), rel=1e-5)
