"""The overlap of the tokens that count most, by hand and by lot."""

import numpy as np
import pytest

from distilnlp.analysis.attribution import chance_overlap, top_overlap
from distilnlp.errors import RequestError


def test_it_is_the_intersection_over_the_union_of_the_top_tokens():
    first, second = [[5.0, -4.0, 1.0, 0.0, 0.5]], [[5.0, 0.1, 1.0, -4.0, 0.0]]
    assert top_overlap(first, second, 0.4) == pytest.approx(1 / 3)  # {0, 1} and {0, 3}
    assert top_overlap(first, second, 0.2) == 1.0  # {0} and {0}
    assert top_overlap([*first, [1.0, 0.0]], [*second, [0.0, 1.0]], 0.2) == 0.5  # the mean of the texts


def test_it_is_symmetric_and_1_with_itself_whatever_the_ties():
    rng = np.random.default_rng(0)
    first, second = ([rng.integers(3, size=9) for _ in range(20)] for _ in range(2))
    assert top_overlap(first, second, 0.3) == top_overlap(second, first, 0.3)
    assert top_overlap(first, first, 0.3) == 1.0
    assert top_overlap(first, second, 1.0) == 1.0


def test_by_lot_it_is_what_chance_gives():
    rng = np.random.default_rng(0)
    first, second = ([rng.random(10) for _ in range(4000)] for _ in range(2))
    assert top_overlap(first, second, 0.3) == pytest.approx(chance_overlap([10], 0.3), abs=0.01)
    assert chance_overlap([4], 0.25) == pytest.approx(1 / 4)
    assert chance_overlap([4, 7], 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [([[1.0]], [[1.0]], 0.0), ([[1.0]], [[1.0]], 1.1), ([], [], 0.2), ([[1.0, 2.0]], [[1.0]], 0.2), ([[]], [[]], 0.2)],
)
def test_what_has_no_overlap_is_refused(first, second, share):
    with pytest.raises(RequestError):
        top_overlap(first, second, share)
