"""MobileBERT's transfer of feature maps."""

import dataclasses

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import Outputs
from tests.losses.cases import LENGTHS, ONE, outputs

MAP = {"layer_map": [[1, 2], [2, 3]]}


def test_mobilebert_is_its_formula() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = torch.zeros((), dtype=torch.float64)
    for j, i in ((1, 2), (2, 3)):
        for n, length in enumerate(LENGTHS):
            for token in range(length):
                s, t = student.hidden_states[j][n, token], teacher.hidden_states[i][n, token]
                v_s, v_t = ((x - x.mean()).pow(2).mean() for x in (s, t))
                features = ((s - s.mean()) / v_s.sqrt() - (t - t.mean()) / v_t.sqrt()).pow(2).mean()
                term = 100 * features + 5000 * (s.mean() - t.mean()) ** 2 + 5 * (v_s - v_t).abs()
                expected = expected + term / (length * 4 * 2)
    torch.testing.assert_close(get_loss("mobilebert", **MAP)(student, teacher, {}), expected)


def states(h: Tensor) -> Outputs:
    return Outputs(hidden_states={1: h})


def test_mobilebert_features_ignore_the_scale_and_shift_of_each_token() -> None:
    """They are what the other two terms are for."""
    h = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    changed = h * torch.tensor([1.0, 2.0, 3.0])[:, None] + torch.tensor([0.0, -1.0, 4.0])[:, None]
    features = get_loss("mobilebert", layer_map=ONE, mean_factor=0, variance_factor=0)
    assert features(states(changed), states(h), {}).item() == pytest.approx(0, abs=1e-12)
    for only in ("mean_factor", "variance_factor"):
        others = {name: 0 for name in ("feature_factor", "mean_factor", "variance_factor") if name != only}
        assert get_loss("mobilebert", layer_map=ONE, **others)(states(changed), states(h), {}).item() > 1


def test_mobilebert_reads_only_the_teacher_layer_of_the_map() -> None:
    """The released code compares the statistics of every teacher layer with each student layer."""
    student, teacher = outputs(0), outputs(1)
    other = dataclasses.replace(teacher, hidden_states={**teacher.hidden_states, 3: teacher.hidden_states[3] + 5})
    loss = get_loss("mobilebert", layer_map=[[1, 1]])
    torch.testing.assert_close(loss(student, other, {}), loss(student, teacher, {}))


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_mobilebert_refuses_factors_that_would_unlearn(factor: float) -> None:
    with pytest.raises(RequestError, match="mean_factor must be at least 0"):
        get_loss("mobilebert", mean_factor=factor)


def test_mobilebert_refuses_to_train_nothing() -> None:
    with pytest.raises(RequestError, match="feature_factor, mean_factor, variance_factor above 0"):
        get_loss("mobilebert", feature_factor=0, mean_factor=0, variance_factor=0)
