"""What losses refuse."""

import math

import pytest
import torch
from torch import nn

from distilnlp.errors import RequestError
from distilnlp.losses import DIST, DKD
from distilnlp.losses.checks import check_count, check_same_tokens, require_module


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


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_a_count_is_a_whole_number_above_zero(bad: object) -> None:
    check_count("queue", 1)
    with pytest.raises(RequestError, match="queue must be a whole number of at least 1"):
        check_count("queue", bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("teacher", [(2, 4), (3, 3)])
def test_both_models_read_as_many_texts_of_as_many_tokens(teacher: tuple[int, int]) -> None:
    check_same_tokens("nst", (2, 3), torch.zeros(2, 3).shape)
    with pytest.raises(RequestError, match="nst compares tokens one by one"):
        check_same_tokens("nst", (2, 3), teacher)


@pytest.mark.parametrize("module", [None, nn.Identity()])
def test_an_auxiliary_module_of_another_kind_is_as_good_as_none(module: nn.Module | None) -> None:
    linear = nn.Linear(1, 1)
    assert require_module("vid", linear, nn.Linear) is linear
    with pytest.raises(RequestError, match="vid needs its auxiliary module"):
        require_module("vid", module, nn.Linear)
