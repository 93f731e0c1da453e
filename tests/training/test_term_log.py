"""The log of the terms: means since the last call, over all processes, and a stop at what is not a number."""

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RunError
from distilnlp.losses import HardLabel, Objective, Schedule, SoftTarget
from distilnlp.training.term_log import TermLog


def two_terms() -> TermLog:
    return TermLog(Objective([(2.0, HardLabel()), (Schedule("linear", 1.0, 0.0), SoftTarget())]))


def alone(tensor: Tensor) -> Tensor:
    return tensor


def test_the_means_are_of_what_was_noted_since_the_last_call() -> None:
    log = two_terms()
    log.note(torch.tensor([9.0, 9.0]), 0.0, 0)
    log.means(1, alone)
    log.note(torch.tensor([1.0, 4.0]), 0.25, 1)
    log.note(torch.tensor([3.0, 8.0]), 0.5, 2)
    assert log.means(3, alone) == {
        "raw/hard_label": 2.0,
        "weighted/hard_label": 4.0,
        "raw/soft_target": 6.0,
        "weighted/soft_target": (0.75 * 4 + 0.5 * 8) / 2,
        "scheduled/soft_target.weight": 0.5,
    }
    assert log.means(4, alone) == {}


def test_the_means_are_over_all_processes() -> None:
    log = two_terms()
    log.note(torch.tensor([1.0, 1.0]), 0.0, 0)
    assert log.means(1, lambda mine: torch.cat([mine, 3 * mine]))["raw/hard_label"] == 2.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_term_that_is_not_a_finite_number_is_named_until_it_is_forgotten(bad: float) -> None:
    log = two_terms()
    for _ in range(2):
        with pytest.raises(RunError, match="the loss term soft_target is not a finite number at step 8"):
            log.note(torch.tensor([1.0, bad]), 0.0, 7)
    with pytest.raises(RunError, match="step 9"):
        log.means(8, alone)
    log.reset()
    log.check(9)
