"""Rows of several tasks: how often each is drawn, in which order, and what stays the same."""

import numpy as np
import pytest
from datasets import Dataset
from torch.utils.data import DataLoader

from distilnlp.data.mixture import TaskRows, TaskSampler, steps_of_tasks, with_task_id
from distilnlp.errors import RequestError

SIZES = {"large": 640, "middle": 160, "small": 40}


def sampler(batch=8, seed=0, power=0.75, sizes=SIZES):
    return TaskSampler({name: np.arange(size) % 9 + 3 for name, size in sizes.items()}, batch, seed, power)


def task_of(row):
    return 0 if row < 640 else 1 if row < 800 else 2


@pytest.mark.parametrize("power", [0.0, 0.5, 0.75, 1.0])
def test_steps_are_shared_out_by_size_to_the_power(power):
    steps = steps_of_tasks(SIZES, 8, power)
    total = sum(size**power for size in SIZES.values())
    assert sum(steps.values()) == 105
    for name, size in SIZES.items():
        assert abs(steps[name] - 105 * size**power / total) < 1


def test_an_epoch_has_as_many_rows_as_all_tasks_and_each_step_is_of_one_task():
    order = list(sampler())
    assert len(order) == len(sampler()) == 840
    steps = np.array(order).reshape(-1, 8)
    tasks = [{task_of(row) for row in step} for step in steps]
    assert all(len(each) == 1 for each in tasks)
    counts = [sum(each == {place} for each in tasks) for place in range(3)]
    assert counts == list(steps_of_tasks(SIZES, 8).values())


def test_an_order_follows_from_seed_and_epoch_alone():
    first, again, other = sampler(), sampler(), sampler(seed=1)
    assert list(first) == list(first) == list(again)
    assert list(first) != list(other)
    again.set_epoch(1)
    assert list(first) != list(again)
    assert [task_of(row) for row in first] != [task_of(row) for row in again]


def test_a_task_goes_through_all_of_its_rows_before_it_begins_again():
    """Over epochs too: no row is left out for good."""
    drawn = {place: [] for place in range(3)}
    made = sampler()
    for epoch in range(4):
        made.set_epoch(epoch)
        for row in made:
            drawn[task_of(row)].append(row)
    for place, size in enumerate(SIZES.values()):
        counts = np.bincount(np.array(drawn[place]) - (0, 640, 800)[place], minlength=size)
        assert counts.max() - counts.min() <= 1
        assert len(drawn[place]) > size


def test_the_rows_of_a_step_are_of_like_length():
    lengths = np.concatenate([np.arange(size) % 9 + 3 for size in SIZES.values()])
    spread = [np.ptp(lengths[step]) for step in np.array(list(sampler())).reshape(-1, 8)]
    assert np.mean(spread) < 2


def test_rows_know_their_task_and_keep_their_columns():
    parts = {
        "a": with_task_id(Dataset.from_dict({"input_ids": [[1, 2], [3]], "labels": [0, 1]}), 0),
        "b": with_task_id(Dataset.from_dict({"input_ids": [[4]], "labels": [0.5]}), 1),
    }
    rows = TaskRows(parts)
    assert [rows[place] for place in range(len(rows))] == [
        {"input_ids": [1, 2], "labels": 0, "task_id": 0},
        {"input_ids": [3], "labels": 1, "task_id": 0},
        {"input_ids": [4], "labels": 0.5, "task_id": 1},
    ]
    assert {name: each.tolist() for name, each in rows.lengths.items()} == {"a": [2, 1], "b": [1]}
    loaded = DataLoader(rows, batch_size=1, sampler=[2, 0], collate_fn=lambda batch: batch[0]["labels"])
    assert list(loaded) == [0.5, 0]


def test_a_training_that_ends_within_an_epoch_has_steps_of_every_task():
    made = TaskSampler({name: np.full(size, 5) for name, size in SIZES.items()}, 8, most=12)
    assert made.steps == {"large": 8, "middle": 3, "small": 1}
    assert {task_of(row) for row in made} == {0, 1, 2}
    with pytest.raises(RequestError, match="none of the 4 steps of an epoch is of the task small"):
        steps_of_tasks(SIZES, 8, most=4)


def test_a_task_that_would_never_be_drawn_is_refused():
    with pytest.raises(RequestError, match="none of the 4 steps of an epoch is of the task tiny, which has 2 of 402"):
        steps_of_tasks({"large": 400, "tiny": 2}, 100)
    with pytest.raises(RequestError, match="a step has 900 examples and the tasks have 840 together"):
        sampler(batch=900)
