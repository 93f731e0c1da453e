from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.data.split import hold_out, subset
from distilnlp.errors import RequestError

KEYS = [0] * 700 + [1] * 200 + [2] * 100


def test_a_tenth_is_held_out_with_the_classes_shares():
    train, held_out = hold_out(KEYS, 0, "data")
    assert Counter(KEYS[row] for row in held_out) == {0: 70, 1: 20, 2: 10}
    assert sorted([*train, *held_out]) == list(range(1000))


@pytest.mark.parametrize(("rows", "expected"), [(10, 2), (100, 20), (300, 50), (2000, 200)])
def test_small_data_hold_out_more_but_a_fifth_at_most(rows, expected):
    assert len(hold_out([row % 2 for row in range(rows)], 0, "data")[1]) == expected


@given(st.lists(st.integers(0, 6), min_size=10, max_size=200), st.integers(0, 5))
def test_no_class_is_held_out_whole(keys, seed):
    """A class that only the held-out rows have could never be predicted."""
    if max(Counter(keys).values()) < 2:
        return
    train, _ = hold_out(keys, seed, "data")
    assert {keys[row] for row in train} == set(keys)


def test_targets_that_differ_everywhere_are_spread_over_their_range():
    targets = [row / 10 for row in range(1000)]
    held_out = [targets[row] for row in hold_out(targets, 0, "data")[1]]
    assert len(held_out) == 100
    assert all(sum(10 * i <= t < 10 * (i + 1) for t in held_out) == 10 for i in range(10))


def test_seed_chooses_the_rows():
    first, again, other = (hold_out(KEYS, seed, "data")[1].tolist() for seed in (1, 1, 2))
    assert first == again != other
    first, again, other = (subset(KEYS, 50, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_too_few_rows_are_refused():
    with pytest.raises(RequestError, match=r"my\.csv: 3 rows are too few"):
        hold_out([0, 1, 0], 0, "my.csv")


def test_subset_keeps_shares_and_order():
    rows = subset(KEYS, 100, 0)
    assert Counter(KEYS[row] for row in rows) == {0: 70, 1: 20, 2: 10}
    assert rows.tolist() == sorted(rows)
    assert subset(KEYS, 5000, 0).tolist() == list(range(1000))
