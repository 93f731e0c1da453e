"""Variational information distillation: golden number, the best variance, what it refuses."""

import math

import pytest
import torch
from torch import nn

from distilnlp.errors import RequestError
from distilnlp.losses import VID
from tests.losses.cases import ONE, Case, tokens


def vid_module(loss: VID, mean: float = 1.0, variance: float | None = None) -> nn.ModuleDict:
    """``mu`` is the identity times ``mean``."""
    module = loss.make_module(Case("x").info(width=1), Case("x").info(width=1))
    assert isinstance(module, nn.ModuleDict)
    with torch.no_grad():
        module["1"].mean.weight.fill_(mean)
        module["1"].mean.bias.zero_()
        if variance is not None:
            module["1"].raw_variance.fill_(math.log(math.expm1(variance - VID.floor)))
    return module


def test_vid_gives_the_golden_number_at_a_perfect_mean_and_may_be_negative() -> None:
    loss, same = VID(ONE), tokens([[1.0], [2.0]])
    assert loss(same, same, {}, vid_module(loss)).item() == pytest.approx(0.804719, abs=1e-6)
    assert loss(same, same, {}, vid_module(loss, variance=0.1)).item() < 0


def test_the_best_variance_of_vid_is_the_mean_squared_error() -> None:
    loss, student, teacher = VID(ONE), tokens([[0.0], [0.0]]), tokens([[1.0], [3.0]])
    values = {v: loss(student, teacher, {}, vid_module(loss, 1.0, v)).item() for v in (4.0, 5.0, 6.0)}
    assert min(values, key=values.__getitem__) == 5.0
    assert values[5.0] == pytest.approx(5 / 10 + math.log(5) / 2)
    module = vid_module(loss, 1.0, 5.0)
    loss(student, teacher, {}, module).backward()
    assert float(module["1"].raw_variance.grad.abs()) < 1e-6


def test_vid_needs_its_module_and_a_variance_above_its_floor() -> None:
    with pytest.raises(RequestError, match="make_module"):
        VID(ONE)(tokens([[1.0]]), tokens([[1.0]]), {})
    with pytest.raises(RequestError, match="above"):
        VID(ONE, variance=1e-6)
