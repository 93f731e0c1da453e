"""A temperature for each example: their mean, and no gradient through them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import CWSM, FLSW, Loss, SoftTarget
from distilnlp.losses.response.base import Head
from distilnlp.outputs import Outputs
from tests.losses.cases import Case

LABELS = torch.tensor([0, 2, 1, 1, 3])


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z_s, z_t = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in "st")
    return z_s, z_t


def value(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor = LABELS) -> Tensor:
    return loss(Outputs(logits=student), Outputs(logits=teacher), {"labels": labels})


def temperatures(loss: FLSW | CWSM, z_s: Tensor, z_t: Tensor) -> list[float]:
    """From the formulas of the paper, row by row."""
    hard = []
    for s, t in zip(z_s, z_t, strict=True):
        if isinstance(loss, FLSW):
            hard.append(float(1 - (s @ t) / (s @ s).sqrt() / (t @ t).sqrt()) ** loss.gamma)
        else:
            hard.append(float(s.exp().sum() / s.exp().max()))
    return [loss.temperature + loss.beta * (sum(hard) / len(hard) - w) for w in hard]


by_example = pytest.mark.parametrize("loss", [FLSW(6.0, 2.0, 1.5), CWSM(9.0, 2.0)], ids=["flsw", "cwsm"])


@by_example
def test_each_example_has_its_temperature_and_their_mean_is_the_base(loss: FLSW | CWSM) -> None:
    z_s, z_t = pair()
    head = Head(loss.name, Outputs(logits=z_s), {})
    taus = loss.temperatures(z_s[:, None], z_t[:, None], head).flatten().tolist()
    assert taus == pytest.approx(temperatures(loss, z_s, z_t))
    assert sum(taus) / 5 == pytest.approx(loss.temperature) and max(taus) - min(taus) > 0.5
    rows = [float(value(SoftTarget(tau), z_s[i : i + 1], z_t[i : i + 1])) for i, tau in enumerate(taus)]
    assert float(value(loss, z_s, z_t)) == pytest.approx(sum(rows) / 5)


@by_example
def test_the_gradient_takes_the_temperatures_for_constants(loss: FLSW | CWSM) -> None:
    z_s, z_t = pair()
    tau = torch.tensor(temperatures(loss, z_s, z_t), dtype=torch.float64)[:, None]
    leaf = z_s.clone().requires_grad_()
    value(loss, leaf, z_t).backward()
    torch.testing.assert_close(leaf.grad, tau * ((z_s / tau).softmax(-1) - (z_t / tau).softmax(-1)) / 5)


@by_example
def test_an_example_alone_has_the_base_temperature(loss: FLSW | CWSM) -> None:
    z_s, z_t = (z[:1] for z in pair())
    torch.testing.assert_close(value(loss, z_s, z_t), value(SoftTarget(loss.temperature), z_s, z_t))


def test_flsw_cools_what_points_apart_and_cwsm_what_the_student_is_unsure_of() -> None:
    z_t = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]]).double()
    z_s = torch.tensor([[2.0, 0.1, 0.0], [0.1, 0.2, 0.0]]).double()
    for loss in (FLSW(), CWSM()):
        same, apart = temperatures(loss, z_s, z_t)
        got = loss.temperatures(z_s[:, None], z_t[:, None], Head(loss.name, Outputs(logits=z_s), {})).flatten()
        assert got.tolist() == pytest.approx([same, apart]) and got[1] < loss.temperature < got[0]


@pytest.mark.parametrize(
    ("loss", "classes", "least"), [(FLSW(4.0, 1.0, 2.0), 3, 4), (CWSM(8.0, 1.0), 9, 8), (CWSM(2.0, 1.0), 3, 2)]
)
def test_a_base_from_which_a_temperature_could_fall_to_0_is_refused(
    loss: FLSW | CWSM, classes: int, least: int
) -> None:
    case = Case("x")
    with pytest.raises(RequestError, match=f"must be above {least}, or that of a hard example could fall to 0"):
        loss.resolve(case.info(num_logits=classes), case.info(num_logits=classes))
    z = F.one_hot(torch.arange(classes)).double()
    with pytest.raises(RequestError, match=f"must be above {least},"):
        value(loss, z, z.roll(1, 0))
