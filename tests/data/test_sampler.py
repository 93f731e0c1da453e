import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from distilnlp.data.sampler import LengthBucketSampler
from distilnlp.errors import RequestError

LENGTHS = np.random.default_rng(0).integers(3, 128, size=1003).tolist()


def order(epoch=0, seed=0, lengths=LENGTHS, batch_size=32):
    sampler = LengthBucketSampler(lengths, batch_size, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def loader(batch_size, *, processes=1, index=0, seed=3):
    plain = DataLoader(range(len(LENGTHS)), batch_size=batch_size, sampler=LengthBucketSampler(LENGTHS, 32, seed))
    return prepare_data_loader(plain, num_processes=processes, process_index=index, use_seedable_sampler=True)


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=300), size=st.integers(1, 40), seed=st.integers(0, 9))
def test_every_row_comes_once_an_epoch(lengths, size, seed):
    sampler = LengthBucketSampler(lengths, size, seed)
    assert sorted(sampler) == list(range(len(lengths)))
    assert len(sampler) == len(lengths)


@pytest.mark.parametrize("rows", [20, 64, 100])
def test_the_longest_example_is_in_the_first_batch(rows):
    """A lack of memory has to show at the first step, so it must be a full batch if there is one."""
    for longest in range(rows):
        lengths = [9] * rows
        lengths[longest] = 10
        assert longest in order(lengths=lengths)[:32]


def test_order_is_a_function_of_seed_and_epoch_alone():
    expected = order(epoch=2, seed=5)
    torch.manual_seed(1)
    np.random.seed(1)
    assert order(epoch=2, seed=5) == expected
    assert order(epoch=1, seed=5) != expected
    assert order(epoch=2, seed=6) != expected


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    order()
    assert torch.equal(before, torch.get_rng_state())


def test_batches_have_like_lengths():
    """Padding, counted: a fraction of what random batches need."""

    def padding(rows):
        batches = [[LENGTHS[row] for row in rows[start : start + 32]] for start in range(0, len(rows), 32)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    shuffled = np.random.default_rng(1).permutation(len(LENGTHS)).tolist()
    assert padding(order()) < 0.2 * padding(shuffled)


def test_batches_do_not_come_sorted():
    means = [np.mean([LENGTHS[row] for row in order()[start : start + 32]]) for start in range(0, 992, 32)]
    assert abs(np.corrcoef(means[1:], range(len(means) - 1))[0, 1]) < 0.6


def test_the_partial_batch_is_last_and_not_made_of_one_length():
    tails = [[LENGTHS[row] for row in order(epoch=epoch)[-(1003 % 32) :]] for epoch in range(3)]
    assert all(max(tail) - min(tail) > 40 for tail in tails)


@pytest.mark.parametrize(("processes", "device_batch"), [(1, 32), (1, 8), (2, 16), (2, 8), (4, 8)])
def test_an_optimizer_step_sees_the_same_rows_however_it_is_divided(processes, device_batch):
    """Trainer accumulates 32 / (processes * device batch) micro-batches of every process into one step."""
    loaders = [loader(device_batch, processes=processes, index=index) for index in range(processes)]
    for epoch in range(2):  # the second pass without a call from outside: accelerate's own epoch counter
        shards = [[batch.tolist() for batch in each] for each in loaders]
        micro = 32 // (processes * device_batch)
        expected = order(epoch, seed=3)
        for step in range(1003 // 32):
            rows = [row for shard in shards for batch in shard[step * micro : (step + 1) * micro] for row in batch]
            assert sorted(rows) == sorted(expected[step * 32 : (step + 1) * 32])


def test_accelerate_keeps_the_sampler_and_reaches_its_epoch():
    prepared = loader(16, processes=2)
    sampler = prepared.batch_sampler.batch_sampler.sampler
    prepared.set_epoch(7)
    assert isinstance(sampler, LengthBucketSampler)
    assert (sampler.seed, sampler.epoch) == (3, 7)


def test_resuming_in_the_middle_of_an_epoch_goes_on_where_it_stopped():
    prepared = loader(32)
    prepared.set_epoch(1)
    resumed = skip_first_batches(prepared, 5)
    resumed.set_epoch(1)
    rows = [row for batch in resumed for row in batch.tolist()]
    assert rows == order(epoch=1, seed=3)[5 * 32 :]


def test_resuming_with_two_processes_needs_the_epoch_set_on_the_sampler():
    """accelerate does not look below two wrappers: whoever resumes has to call the sampler's set_epoch itself."""
    prepared = loader(16, processes=2)
    sampler = prepared.batch_sampler.batch_sampler.sampler
    resumed = skip_first_batches(prepared, 4)
    sampler.set_epoch(1)
    rows = [row for batch in resumed for row in batch.tolist()]
    expected = order(epoch=1, seed=3)[4 * 32 :]
    assert rows[:16] == expected[:16]
    assert rows[16:32] == expected[32:48]


@pytest.mark.parametrize(("lengths", "size", "said"), [([], 4, "no rows"), ([1, 2], 0, "batch_size is 0")])
def test_nothing_to_sample_is_an_error(lengths, size, said):
    with pytest.raises(RequestError, match=said):
        LengthBucketSampler(lengths, size)
