"""What the settings of several losses have in common."""

import math

import pytest

from distilnlp.errors import RequestError
from distilnlp.losses import DIST, DKD


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
