"""DKD, DIST and logit standardisation: formulas, golden numbers, and what two classes leave of them."""

import logging
import math

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import DIST, DKD, LogitStandardization, Loss, SoftTarget
from distilnlp.outputs import Outputs
from tests.losses.cases import Case

Z_T = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
Z_S = torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64)
Y = torch.tensor([2])


def value(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
    return loss(Outputs(logits=student), Outputs(logits=teacher), {} if labels is None else {"labels": labels})


def random_pair(examples: int = 5, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z_s, z_t = (torch.randn(examples, classes, generator=generator, dtype=torch.float64) for _ in "st")
    return z_s, z_t


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


@pytest.mark.parametrize("loss", [DKD, DIST])
@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, True, "1"])
def test_a_weight_below_zero_is_refused(loss: type, bad: object) -> None:
    with pytest.raises(RequestError, match="beta must be at least 0"):
        loss(beta=bad)


def test_weights_that_leave_nothing_are_refused() -> None:
    with pytest.raises(RequestError, match="one of alpha, beta above 0"):
        DKD(alpha=0.0, beta=0.0)
    with pytest.raises(RequestError, match="one of beta, gamma above 0"):
        DIST(beta=0.0, gamma=0.0)


DIST_T = torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 1.0]], dtype=torch.float64)
DIST_S = torch.tensor([[3.0, 2.0, 1.0], [0.0, 1.0, 2.0]], dtype=torch.float64)


def test_dist_gives_the_golden_number() -> None:
    assert float(value(DIST(), DIST_S, DIST_T)) == pytest.approx(3.350213, abs=1e-6)
    assert float(value(DIST(), DIST_T, DIST_T)) == pytest.approx(0, abs=1e-9)


def test_dist_matches_the_written_definition() -> None:
    z_s, z_t = random_pair()
    q, p = (torch.softmax(z / 3, -1) for z in (z_s, z_t))
    between = [torch.corrcoef(torch.stack([q[row], p[row]]))[0, 1] for row in range(5)]
    within = [torch.corrcoef(torch.stack([q[:, c], p[:, c]]))[0, 1] for c in range(4)]
    expected = 9 * (2 * (1 - torch.stack(between).mean()) + 0.5 * (1 - torch.stack(within).mean()))
    torch.testing.assert_close(value(DIST(3.0, 2.0, 0.5), z_s, z_t), expected)


def test_dist_forgets_a_positive_affine_map_of_the_probabilities() -> None:
    """Of a row between classes: mixing with the uniform distribution is such a map. Not of the logits."""
    z_s, z_t = random_pair()
    mixed = (0.3 * torch.softmax(z_s, -1) + 0.7 / 4).log()
    between, both = DIST(gamma=0.0), DIST()
    torch.testing.assert_close(value(between, mixed, z_t), value(between, z_s, z_t))
    torch.testing.assert_close(value(both, mixed, z_t), value(both, z_s, z_t))
    assert float((value(between, 2 * z_s, z_t) - value(between, z_s, z_t)).abs()) > 1e-3


def gradient_of(loss: Loss, examples: int, classes: int) -> float:
    z_s, z_t = random_pair(examples, classes)
    z_s.requires_grad_()
    value(loss, z_s, z_t).backward()
    return 0.0 if z_s.grad is None else float(z_s.grad.abs().max())


def test_what_two_classes_or_two_examples_leave_of_dist(caplog: pytest.LogCaptureFixture) -> None:
    """A correlation of two numbers is 1 or -1: nothing to follow."""
    between, within = DIST(gamma=0.0), DIST(beta=0.0)
    assert gradient_of(between, 5, 2) < 1e-9 < 1e-3 < gradient_of(within, 5, 2)
    assert gradient_of(within, 2, 4) < 1e-9 < 1e-3 < gradient_of(between, 2, 4)
    assert gradient_of(within, 5, 4) > 1e-3
    info = Case("x").info(num_logits=2)
    with caplog.at_level(logging.WARNING, "distilnlp"):
        DIST().resolve(info, info)
    assert "dist on two classes" in caplog.text
    with pytest.raises(RequestError, match="no gradient"):
        between.resolve(info, info)


def test_one_example_has_no_relation_within_classes() -> None:
    torch.testing.assert_close(value(DIST(gamma=5.0), Z_S, Z_T), value(DIST(gamma=0.0), Z_S, Z_T))


def test_dist_without_variance_is_finite() -> None:
    flat = torch.zeros(3, 4, requires_grad=True)
    loss = value(DIST(), flat, torch.eye(3, 4))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2.0)
    assert flat.grad is not None and torch.isfinite(flat.grad).all()


def test_logit_standardization_matches_the_written_definition() -> None:
    z_s, z_t = random_pair()

    def standardised(z: Tensor) -> Tensor:
        mean = z.sum(-1, keepdim=True) / 4
        return (z - mean) / ((z - mean) ** 2 / 4).sum(-1, keepdim=True).sqrt()

    p, q = (torch.softmax(standardised(z) / 3, -1) for z in (z_t, z_s))
    torch.testing.assert_close(value(LogitStandardization(3.0), z_s, z_t), 9 * (p * (p / q).log()).sum(-1).mean())


def test_logit_standardization_forgets_shift_and_size_of_either_model() -> None:
    z_s, z_t = random_pair()
    loss = LogitStandardization()
    torch.testing.assert_close(value(loss, 3 * z_s + 2, z_t / 5 - 1), value(loss, z_s, z_t))
    assert float(value(loss, 7 * z_t - 2, z_t)) == pytest.approx(0, abs=1e-9)


def test_logit_standardization_with_the_other_standard_deviation_is_another_temperature() -> None:
    """Code that takes torch's std divides the squares by C - 1."""
    z_s, z_t = random_pair()
    p, q = (torch.softmax((z - z.mean(-1, keepdim=True)) / z.std(-1, keepdim=True) / 2, -1) for z in (z_t, z_s))
    theirs = 4 * (p * (p / q).log()).sum(-1).mean()
    ours = value(LogitStandardization(2 * math.sqrt(4 / 3)), z_s, z_t)
    torch.testing.assert_close(ours / (4 / 3), theirs)


def test_logit_standardization_on_two_classes_would_train_nothing() -> None:
    info = Case("x").info(num_logits=2)
    with pytest.raises(RequestError, match="soft_target"):
        LogitStandardization().resolve(info, info)
    with pytest.raises(RequestError, match="classes >= 3"):
        value(LogitStandardization(), *random_pair(classes=2))
