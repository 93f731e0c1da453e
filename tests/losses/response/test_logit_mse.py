"""Regression onto logits: golden numbers, and what centring forgets."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import LogitMSE
from distilnlp.outputs import Outputs
from tests.losses.cases import Z_S, Z_T


def test_logit_mse_gives_the_golden_number_and_centring_forgets_a_shift() -> None:
    plain = LogitMSE()(Outputs(logits=Z_S), Outputs(logits=Z_T), {})
    assert float(plain) == pytest.approx(2.666667, abs=1e-6)
    shifted = Outputs(logits=Z_S + 5)
    assert float(LogitMSE()(shifted, Outputs(logits=Z_T), {})) == pytest.approx(2.666667 + 25, abs=1e-5)
    assert float(LogitMSE(center=True)(shifted, Outputs(logits=Z_T), {})) == pytest.approx(2.666667, abs=1e-6)


def test_centring_one_logit_is_refused() -> None:
    one = Outputs(logits=torch.ones(2, 1))
    with pytest.raises(RequestError, match="center"):
        LogitMSE(center=True)(one, one, {})
