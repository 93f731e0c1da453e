"""One vector for each example out of its tokens."""

import pytest

from distilnlp.errors import RequestError
from distilnlp.losses import CKA
from distilnlp.losses.pooling import pool
from tests.losses.cases import ONE, tokens


def test_pooling_takes_the_first_real_token_or_the_mean_of_the_real_ones() -> None:
    right, left = tokens([[1.0], [3.0], [9.0]], [1, 1, 0]), tokens([[9.0], [1.0], [3.0]], [0, 1, 1])
    for out in (right, left):
        assert pool(out, 1, "cls").item() == 1 and pool(out, 1, "mean").item() == 2
    with pytest.raises(RequestError, match="no valid token"):
        pool(tokens([[1.0]], [0]), 1, "cls")
    with pytest.raises(RequestError, match="pooling"):
        CKA(ONE, pooling="max")  # type: ignore[arg-type]
