"""What batches are made of, and what a micro-batch weighs in its step."""

import pytest
import torch

from distilnlp.training.batches import examples, share_of_step


@pytest.mark.parametrize("sizes", [[8], [4, 4], [4, 1], [3, 3, 2]])
def test_the_weighted_means_of_micro_batches_are_the_mean_over_the_step(sizes: list[int]) -> None:
    """Trainer divides each by their number."""
    parts = torch.arange(sum(sizes), dtype=torch.float64).split(sizes)
    weighted = [part.mean() * share_of_step(len(part), sum(sizes), len(sizes)) / len(sizes) for part in parts]
    torch.testing.assert_close(sum(weighted), torch.cat(parts).mean())


def test_what_was_not_counted_weighs_what_it_is() -> None:
    assert share_of_step(3, None, 4) == 1.0


def test_a_batch_tells_its_examples() -> None:
    assert examples({"input_ids": torch.zeros(5, 7), "labels": torch.zeros(5)}) == 5
