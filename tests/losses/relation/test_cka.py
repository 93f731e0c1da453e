"""Centred kernel alignment: golden number, references, small batches."""

import pytest
import torch
from torch import Tensor

from distilnlp.losses import CKA
from distilnlp.losses.relation.base import warn_of_small_batch
from tests.losses.cases import ONE, points, random_points


def test_unbiased_cka_is_that_of_song_et_al() -> None:
    """Their formula with traces; the code centres the kernels instead."""
    s, t = random_points(0), random_points(1)
    n, one = 5, torch.ones(5, dtype=torch.float64)

    def hsic(a: Tensor, b: Tensor) -> Tensor:
        k, m = (x @ x.T - torch.diag((x @ x.T).diagonal()) for x in (a, b))
        terms = (k @ m).trace() + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return (terms - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))

    expected = 1 - hsic(s, t) / (hsic(s, s) * hsic(t, t)).sqrt()
    torch.testing.assert_close(CKA(ONE, unbiased=True)(points(s), points(t), {}), expected)


def test_cka_sees_an_anisotropic_scale() -> None:
    s = random_points(0, batch=50, width=2)
    assert float(CKA(ONE)(points(s * torch.tensor([1.0, 5.0])), points(s), {})) > 0.01


def test_the_unbiased_estimate_of_three_texts_is_zero_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_small_batch.cache_clear()
    s, t = random_points(0, batch=3), random_points(1, batch=3)
    assert float(CKA(ONE, unbiased=True)(points(s), points(t), {})) == 0
    assert "cka with unbiased is 0 for a batch of fewer than 4" in caplog.text


def test_cka_gives_the_golden_number() -> None:
    student, teacher = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    assert float(CKA(ONE)(points(student), points(teacher), {})) == pytest.approx(1 - 0.316228, abs=2e-6)


def cka_reference(s: Tensor, t: Tensor) -> float:
    s, t = s - s.mean(0), t - t.mean(0)
    norms = [(x.T @ x).square().sum().sqrt() for x in (s, t)]
    return float(1 - (s.T @ t).square().sum() / (norms[0] * norms[1]))


def test_cka_is_its_written_definition() -> None:
    s, t = random_points(0), random_points(1, width=7)  # widths are free
    got = CKA(ONE)(points(s), points(t), {})
    assert float(got) == pytest.approx(cka_reference(s, t), rel=1e-5)
