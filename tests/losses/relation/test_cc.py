"""Correlation congruence: golden number, references."""

import math

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import CC, get_loss
from tests.losses.cases import ONE, points, random

X, Y = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


def test_cc_gives_the_golden_number() -> None:
    assert float(CC(ONE)(points(Y), points(X), {})) == pytest.approx(0.103534, abs=1e-6)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_cc_is_its_written_definition(order: int) -> None:
    """Of unit vectors and squared (traps P8 and P9: two other libraries have it without the one or the other)."""
    s, t = random(0, 5, 4), random(1, 5, 7)
    expected = 0.0
    for i in range(5):
        for j in range(5):
            kernels = []
            for x in (s, t):
                cosine = float(torch.cosine_similarity(x[i], x[j], dim=0))
                series = sum((0.6 * cosine) ** p / math.factorial(p) for p in range(order + 1))
                kernels.append(math.exp(-0.6) * series)
            expected += (kernels[0] - kernels[1]) ** 2 / 25
    got = CC(ONE, gamma=0.3, order=order)(points(s), points(t), {})
    assert float(got) == pytest.approx(expected, rel=1e-9)


def test_cc_of_a_long_series_compares_gaussian_kernels() -> None:
    s, t = random(0, 5, 4), random(1, 5, 4)
    gaussian = [
        torch.exp(-0.4 * torch.cdist(u, u).square()) for u in (torch.nn.functional.normalize(x) for x in (s, t))
    ]
    expected = (gaussian[0] - gaussian[1]).square().mean()
    torch.testing.assert_close(CC(ONE, order=30)(points(s), points(t), {}), expected)


@pytest.mark.parametrize("settings", [{"gamma": 0.0}, {"order": 0}, {"order": 1.5}])
def test_cc_refuses_what_is_no_kernel(settings: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=next(iter(settings))):
        get_loss("cc", **settings)
