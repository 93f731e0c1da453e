"""DIST: golden number, reference, invariances, and what two classes leave of it."""

import logging

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import DIST, Loss
from distilnlp.outputs import Outputs
from tests.losses.cases import Z_S, Z_T, Case


def value(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
    return loss(Outputs(logits=student), Outputs(logits=teacher), {} if labels is None else {"labels": labels})


DIST_T = torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 1.0]], dtype=torch.float64)


DIST_S = torch.tensor([[3.0, 2.0, 1.0], [0.0, 1.0, 2.0]], dtype=torch.float64)


def test_dist_gives_the_golden_number() -> None:
    assert float(value(DIST(), DIST_S, DIST_T)) == pytest.approx(3.350213, abs=1e-6)
    assert float(value(DIST(), DIST_T, DIST_T)) == pytest.approx(0, abs=1e-9)


def random_pair(examples: int = 5, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z_s, z_t = (torch.randn(examples, classes, generator=generator, dtype=torch.float64) for _ in "st")
    return z_s, z_t


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
