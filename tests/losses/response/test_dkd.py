"""DKD: golden numbers, references, limits."""

import logging

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import DKD, Loss, SoftTarget
from distilnlp.outputs import Outputs
from tests.losses.cases import Z_S, Z_T, Case

Y = torch.tensor([2])


def value(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
    return loss(Outputs(logits=student), Outputs(logits=teacher), {} if labels is None else {"labels": labels})


@pytest.mark.parametrize(
    ("temperature", "alpha", "beta", "expected"),
    [(1, 1, 0, 0.995723), (1, 0, 1, 0.462117), (4, 1, 8, 5.0100435)],
)
def test_dkd_gives_the_golden_numbers(temperature: float, alpha: float, beta: float, expected: float) -> None:
    assert float(value(DKD(temperature, alpha, beta), Z_S, Z_T, Y)) == pytest.approx(expected, abs=1e-6)


def test_subtracting_1000_from_the_label_costs_digits_that_ours_keeps() -> None:
    """What the reference code does in float32 gives 5.010053 for alpha=1, beta=8, T=4; exact is 5.0100435."""
    z_s, z_t = Z_S.float() / 4, Z_T.float() / 4
    label = torch.tensor([[0.0, 0.0, 1000.0]])
    p, q = torch.softmax(z_t - label, -1), torch.log_softmax(z_s - label, -1)
    nckd = torch.nn.functional.kl_div(q, p, reduction="sum") * 16
    tckd = float(value(DKD(4.0, 1.0, 0.0), Z_S, Z_T, Y))
    assert tckd + 8 * float(nckd) == pytest.approx(5.010053, abs=2e-6)
    ours = value(DKD(4.0, 1.0, 8.0), Z_S.float(), Z_T.float(), Y)
    assert float(ours) == pytest.approx(5.0100435, abs=2e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dkd_with_the_weight_of_the_teachers_doubt_is_soft_target(temperature: float) -> None:
    """KL = TCKD + (1 - p_y) NCKD. At T = 1 the golden pair gives 1.150421."""
    doubt = 1 - float(torch.softmax(Z_T / temperature, -1)[0, 2])
    got = value(DKD(temperature, 1.0, doubt), Z_S, Z_T, Y)
    torch.testing.assert_close(got, value(SoftTarget(temperature), Z_S, Z_T))
    if temperature == 1:
        assert float(got) == pytest.approx(1.150421, abs=1e-6)


def random_pair(examples: int = 5, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z_s, z_t = (torch.randn(examples, classes, generator=generator, dtype=torch.float64) for _ in "st")
    return z_s, z_t


def test_dkd_matches_the_written_definition() -> None:
    z_s, z_t = random_pair()
    labels = torch.tensor([0, 3, 1, 2, 2])
    expected = []
    for row, label in enumerate(labels.tolist()):
        others = [c for c in range(4) if c != label]
        p, q = torch.softmax(z_t[row] / 2, -1), torch.softmax(z_s[row] / 2, -1)
        tckd = p[label] * (p[label] / q[label]).log() + (1 - p[label]) * ((1 - p[label]) / (1 - q[label])).log()
        p, q = torch.softmax(z_t[row, others] / 2, -1), torch.softmax(z_s[row, others] / 2, -1)
        expected.append(4 * (0.5 * tckd + 3 * (p * (p / q).log()).sum()))
    torch.testing.assert_close(value(DKD(2.0, 0.5, 3.0), z_s, z_t, labels), torch.stack(expected).mean())


def test_dkd_on_two_classes_is_soft_target_times_alpha_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Trap P19: most of GLUE has two classes."""
    z_s, z_t = random_pair(classes=2)
    labels = torch.tensor([0, 1, 1, 0, 1])
    torch.testing.assert_close(value(DKD(4.0, 0.5, 8.0), z_s, z_t, labels), 0.5 * value(SoftTarget(4.0), z_s, z_t))
    info = Case("x").info(num_logits=2)
    with caplog.at_level(logging.WARNING, "distilnlp"):
        DKD().resolve(info, info)
        assert "dkd on two classes" in caplog.text and "soft_target" in caplog.text
        caplog.clear()
        DKD().resolve(Case("x").info(), Case("x").info())
    assert not caplog.records
    with pytest.raises(RequestError, match="always 0"):
        DKD(alpha=0.0).resolve(info, info)


def test_dkd_is_finite_where_the_label_is_certain() -> None:
    """1 - p_y rounds to 0 there, and its logarithm would be infinite."""
    far = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    loss = value(DKD(0.5), far, torch.tensor([[-1e4, 0.0, 1e4]]), torch.tensor([0]))
    loss.backward()
    assert torch.isfinite(loss) and far.grad is not None and torch.isfinite(far.grad).all()
