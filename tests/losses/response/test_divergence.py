"""Other distances between softmaxes: formulas, golden numbers, bounds."""

import math

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import Divergence, Loss, SoftCrossEntropy, SoftTarget
from distilnlp.outputs import Outputs
from tests.losses.cases import Z_S, Z_T


def value(loss: Loss, student: Tensor = Z_S, teacher: Tensor = Z_T) -> Tensor:
    return loss(Outputs(logits=student), Outputs(logits=teacher), {})


@pytest.mark.parametrize(("temperature", "expected"), [(1, 1.982816), (2, 1.340348)])
def test_soft_cross_entropy_gives_the_golden_numbers(temperature: float, expected: float) -> None:
    """A sum over classes: divided by them as well, as TinyBERT's code does, the first would be 0.660939 (trap P5).
    No T^2, or the second would be four times as large."""
    assert float(value(SoftCrossEntropy(temperature))) == pytest.approx(expected, abs=1e-6)


def random_pair(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z_s, z_t = (torch.randn(5, 4, generator=generator, dtype=torch.float64) * scale for _ in "st")
    return z_s, z_t


def test_soft_cross_entropy_is_kl_and_the_teachers_entropy() -> None:
    z_s, z_t = random_pair()
    p, q = (torch.softmax(z / 3, -1) for z in (z_t, z_s))
    torch.testing.assert_close(value(SoftCrossEntropy(3.0), z_s, z_t), -(p * q.log()).sum(-1).mean())
    entropy = -(p * p.log()).sum(-1).mean()
    torch.testing.assert_close(value(SoftCrossEntropy(3.0), z_s, z_t), value(SoftTarget(3.0), z_s, z_t) / 9 + entropy)


def test_soft_cross_entropy_has_the_gradient_of_soft_target() -> None:
    gradients = []
    for loss in (SoftCrossEntropy(2.0), SoftTarget(2.0)):
        z_s, z_t = random_pair()
        value(loss, z_s.requires_grad_(), z_t).backward()
        gradients.append(z_s.grad)
    assert gradients[0] is not None and gradients[1] is not None
    torch.testing.assert_close(gradients[0] * 4, gradients[1])


def test_jsd_gives_the_golden_number() -> None:
    assert float(value(Divergence(kind="jsd"))) == pytest.approx(0.247588, abs=1e-6)


KINDS = ["reverse_kl", "jsd", "tvd", "jeffreys"]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_divergences_match_the_written_definitions(kind: str, temperature: float) -> None:
    z_s, z_t = random_pair()
    p, q = (torch.softmax(z / temperature, -1) for z in (z_t, z_s))

    def kl(a: Tensor, b: Tensor) -> Tensor:
        return (a * (a / b).log()).sum(-1)

    m = (p + q) / 2
    expected = {
        "reverse_kl": kl(q, p) * temperature**2,
        "jsd": (kl(p, m) + kl(q, m)) / 2 * temperature**2,
        "tvd": (p - q)
        .abs()
        .max(-1)
        .values.new_tensor([float((row_p - row_q).clamp(min=0).sum()) for row_p, row_q in zip(p, q, strict=True)])
        * temperature,
        "jeffreys": ((p - q) * (p / q).log()).sum(-1) * temperature**2,
    }[kind]
    torch.testing.assert_close(value(Divergence(temperature, kind), z_s, z_t), expected.mean())  # type: ignore[arg-type]


def test_the_generalised_jsd_matches_the_written_definition() -> None:
    z_s, z_t = random_pair()
    p, q = torch.softmax(z_t, -1), torch.softmax(z_s, -1)
    m = 0.2 * p + 0.8 * q
    expected = (0.2 * p * (p / m).log() + 0.8 * q * (q / m).log()).sum(-1).mean()
    torch.testing.assert_close(value(Divergence(kind="jsd", beta=0.2), z_s, z_t), expected)
    # the other way round it is the same with the other beta
    torch.testing.assert_close(value(Divergence(kind="jsd", beta=0.8), z_t, z_s), expected)


def test_reverse_kl_is_soft_target_with_the_models_exchanged() -> None:
    z_s, z_t = random_pair()
    torch.testing.assert_close(value(Divergence(2.0, "reverse_kl"), z_s, z_t), value(SoftTarget(2.0), z_t, z_s))


@pytest.mark.parametrize("kind", ["jsd", "tvd", "jeffreys"])
def test_the_symmetric_kinds_are_symmetric(kind: str) -> None:
    z_s, z_t = random_pair()
    loss = Divergence(kind=kind)  # type: ignore[arg-type]
    torch.testing.assert_close(value(loss, z_s, z_t), value(loss, z_t, z_s))


@pytest.mark.parametrize(("kind", "bound"), [("jsd", math.log(2)), ("tvd", 1.0)])
def test_the_bounded_kinds_reach_their_bound_and_no_more(kind: str, bound: float) -> None:
    loss = Divergence(kind=kind)  # type: ignore[arg-type]
    assert 0 < float(value(loss, *random_pair(3.0))) < bound
    far = torch.tensor([[1e4, 0.0, 0.0]])
    assert float(value(loss, far, far.roll(1))) == pytest.approx(bound)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_keeps_its_size_when_the_temperature_grows(kind: str) -> None:
    norms = []
    for temperature in (1.0, 8.0):
        student = Z_S.clone().requires_grad_()
        value(Divergence(temperature, kind), student).backward()  # type: ignore[arg-type]
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert 0.3 < norms[1] / norms[0] < 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "jds"}, "did you mean 'jsd'"),
        ({"beta": 0.0}, "between 0 and 1"),
        ({"beta": True}, "between 0 and 1"),
        ({"kind": "tvd", "beta": 0.3}, "has no beta"),
        ({"temperature": -1.0}, "positive and finite"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Divergence(**settings)  # type: ignore[arg-type]
