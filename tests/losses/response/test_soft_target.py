"""Soft targets: golden numbers, gradients, limits."""

import pytest
import torch
import torch.nn.functional as F

from distilnlp.errors import RequestError
from distilnlp.losses import BernoulliSoftTarget, LogitMSE, SoftTarget
from distilnlp.outputs import Outputs
from tests.losses.cases import Z_S, Z_T


def soft_target(temperature: float, student: torch.Tensor = Z_S, teacher: torch.Tensor = Z_T) -> torch.Tensor:
    return SoftTarget(temperature)(Outputs(logits=student), Outputs(logits=teacher), {})


@pytest.mark.parametrize(("temperature", "expected"), [(1, 1.150421), (2, 1.280627), (4, 1.319630)])
def test_soft_target_gives_the_golden_numbers(temperature: float, expected: float) -> None:
    assert float(soft_target(temperature)) == pytest.approx(expected, abs=2e-6)


def test_the_gradient_of_soft_target_is_the_difference_of_softmaxes_times_t() -> None:
    student = Z_S.clone().requires_grad_()
    soft_target(2.0, student).backward()
    torch.testing.assert_close(student.grad, torch.tensor([[0.640313, 0.0, -0.640313]]).double(), atol=1e-6, rtol=0)


def test_the_gradient_keeps_its_size_when_the_temperature_grows() -> None:
    """I8; without T^2 it would fall by 64 from T = 1 to 8."""
    norms = []
    for temperature in (1.0, 8.0):
        student = Z_S.clone().requires_grad_()
        soft_target(temperature, student).backward()
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert 0.3 < norms[1] / norms[0] < 3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 8.0])
def test_soft_target_matches_the_written_definition(temperature: float) -> None:
    """The reference forms probabilities explicitly, so it cannot share the argument order of F.kl_div."""
    generator = torch.Generator().manual_seed(0)
    z_s, z_t = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in "st")
    p, q = (torch.softmax(z / temperature, -1) for z in (z_t, z_s))
    expected = (p * (p / q).log()).sum(-1).mean() * temperature**2
    torch.testing.assert_close(soft_target(temperature, z_s, z_t), expected)


def test_soft_target_does_not_divide_by_the_number_of_classes() -> None:
    """Trap 10: torch's default reduction 'mean' gives 0.426876 for the golden pair at T = 2."""
    with pytest.warns(UserWarning, match="batchmean"):
        wrong = F.kl_div(F.log_softmax(Z_S / 2, -1), F.softmax(Z_T / 2, -1), reduction="mean") * 4
    assert float(wrong) == pytest.approx(0.426876, abs=1e-6)
    assert float(soft_target(2.0)) == pytest.approx(3 * float(wrong))


def test_soft_target_on_one_logit_is_an_error_not_a_perfect_score() -> None:
    """Trap 11: a softmax over one number is constant, so the loss is 0 and trains nothing."""
    one = Outputs(logits=torch.tensor([[1.0], [2.0]]))
    with pytest.raises(RequestError, match="logit_mse"):
        SoftTarget()(one, one, {})


def test_bernoulli_soft_target_matches_the_written_definition() -> None:
    generator = torch.Generator().manual_seed(1)
    z_s, z_t = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in "st")
    p, q = torch.sigmoid(z_t / 3), torch.sigmoid(z_s / 3)
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(-1).mean() * 9
    got = BernoulliSoftTarget(3.0)(Outputs(logits=z_s), Outputs(logits=z_t), {})
    torch.testing.assert_close(got, expected)


def test_soft_target_tends_to_centred_regression_for_large_temperatures() -> None:
    """T^2 KL -> |c(z_s) - c(z_t)|^2 / 2C, which is half of the centred logit MSE."""
    limit = LogitMSE(center=True)(Outputs(logits=Z_S), Outputs(logits=Z_T), {}) / 2
    assert float(limit) == pytest.approx(4 / 3)
    assert float(soft_target(1000.0)) == pytest.approx(4 / 3, abs=1e-5)
