from collections import Counter

import numpy as np
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


def test_equal_rows_stay_together_and_the_shares_roughly():
    groups = np.repeat(np.arange(300), 4)
    keys = np.repeat([0] * 210 + [1] * 60 + [2] * 30, 4)
    train, held_out = hold_out(keys, 0, "data", groups)
    assert not set(groups[train]) & set(groups[held_out])
    assert Counter(keys[held_out].tolist()) == {0: 84, 1: 24, 2: 12}


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=60, max_size=300), st.integers(0, 5))
def test_no_class_is_held_out_whole_though_rows_belong_together(rows, seed):
    keys, texts = (np.array(column) for column in zip(*rows, strict=True))
    groups = np.unique(texts, return_inverse=True)[1]
    try:
        train, held_out = hold_out(keys, seed, "data", groups)
    except RequestError:
        return
    assert len(held_out) > 0
    if set(groups[train]) & set(groups[held_out]):
        assert held_out.tolist() == hold_out(keys, seed, "data")[1].tolist()
    assert set(keys[train]) == set(keys)


def test_a_text_that_fills_the_data_stays_in_train():
    groups = np.array([0] * 500 + list(range(1, 501)))
    keys = np.arange(1000) % 2
    held_out = hold_out(keys, 0, "data", groups)[1]
    assert 0 not in groups[held_out]
    assert len(held_out) == 100


def test_groups_of_many_sizes_give_about_as_many_rows():
    sizes = np.random.default_rng(0).geometric(0.3, 1000)
    groups = np.repeat(np.arange(1000), sizes)
    for seed in range(5):
        held_out = hold_out(groups % 3, seed, "data", groups)[1]
        assert len(held_out) == pytest.approx(len(groups) / 10, rel=0.1)


def test_a_few_texts_in_many_rows_are_split_by_rows():
    keys = groups = np.array([0, 1] * 29 + [0, 2])  # two texts of a class, and one of the other in every second row
    classes = (keys > 0).astype(int)
    train, held_out = hold_out(classes, 0, "data", groups)
    assert held_out.tolist() == hold_out(classes, 0, "data")[1].tolist()
    assert set(classes[train]) == set(classes[held_out]) == {0, 1}


def test_a_class_of_one_text_is_no_reason_to_hold_out_the_other_class_alone():
    groups = np.array([0] * 40 + [1 + row // 2 for row in range(20)])
    held_out = hold_out((groups > 0).astype(int), 0, "data", groups)[1]
    assert set(groups[held_out] > 0) == {False, True}


def test_where_the_others_can_be_held_out_a_class_of_one_text_stays_in_train():
    groups = np.array([0] * 40 + [1 + row // 2 for row in range(40)])
    classes = np.where(groups > 0, 1 + groups % 2, 0)
    train, held_out = hold_out(classes, 0, "data", groups)
    assert not set(groups[train]) & set(groups[held_out])
    assert set(classes[held_out]) == {1, 2}


def test_a_rare_class_is_no_reason_to_go_through_equal_texts():
    groups = np.arange(2000) // 2
    rare = (groups < 3).astype(int)  # of 2,000 rows six
    train, held_out = hold_out(rare, 0, "data", groups)
    assert not set(groups[train]) & set(groups[held_out])


def test_a_few_numbers_in_many_rows_are_split_by_rows():
    targets = np.array([0.5, 1.5] * 30)
    held_out = hold_out(targets, 0, "data", np.arange(60) % 2)[1]
    assert set(targets[held_out]) == {0.5, 1.5}


def test_one_text_in_all_rows_is_refused():
    with pytest.raises(RequestError, match=r"60 rows with 1 different texts are too few"):
        hold_out(np.arange(60) % 2, 0, "my.csv", np.zeros(60, dtype=int))


def test_too_few_rows_are_refused():
    with pytest.raises(RequestError, match=r"my\.csv: 3 rows are too few"):
        hold_out([0, 1, 0], 0, "my.csv")


def test_subset_keeps_shares_and_order():
    rows = subset(KEYS, 100, 0)
    assert Counter(KEYS[row] for row in rows) == {0: 70, 1: 20, 2: 10}
    assert rows.tolist() == sorted(rows)
    assert subset(KEYS, 5000, 0).tolist() == list(range(1000))
