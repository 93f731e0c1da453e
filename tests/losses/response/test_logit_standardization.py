"""Soft targets of standardised logits: references and invariances."""

import math

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import LogitStandardization, Loss
from distilnlp.outputs import Outputs
from tests.losses.cases import Case


def value(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
    return loss(Outputs(logits=student), Outputs(logits=teacher), {} if labels is None else {"labels": labels})


def random_pair(examples: int = 5, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z_s, z_t = (torch.randn(examples, classes, generator=generator, dtype=torch.float64) for _ in "st")
    return z_s, z_t


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
