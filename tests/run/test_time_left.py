"""On a simulated clock: what is told after a tenth of a stage is within 20 % of what it takes then."""

import random
from collections.abc import Callable

import pytest

from distilnlp.run.time_left import PASS_SHARE, TimeLeft, as_time


def told_and_true(
    steps: int,
    step_seconds: Callable[[int], float],
    every: int,
    measuring: float,
    *,
    begun: int = 0,
    loading: float = 0.0,
    end: float | None = None,
) -> tuple[float, float]:
    """Seconds left as told after a tenth of what is to be trained, and as they were.

    Args:
        every: how many steps lie between two measurements; one of ``end`` seconds (default: as the others) ends it.
    """
    now = loading
    left = TimeLeft(steps, lambda step: steps // every - step // every + 1, PASS_SHARE * 4, lambda: now)
    left.begin(begun)
    told = None
    for step in range(begun + 1, steps + 1):
        now += step_seconds(step)
        left.step(step)
        if step % every == 0:
            now += measuring
            left.measured()
        if told is None and step - begun >= (steps - begun) / 10:
            told, then = left.seconds(), now
    now += measuring if end is None else end
    assert told is not None
    return told, now - then


NOISE = random.Random(0)


@pytest.mark.parametrize(
    ("step_seconds", "every", "measuring"),
    [
        (lambda step: 0.5, 1000, 1.0),
        (lambda step: 30.0 if step == 1 else 0.5, 1000, 1.0),  # what is compiled in the first step
        (lambda step: NOISE.uniform(0.1, 0.9), 1000, 1.0),  # batches of texts of all lengths
        (lambda step: 0.5, 100, 1.0),  # measured each epoch, not once before the time is told
        (lambda step: 0.5, 10, 6.0),  # measuring takes longer than training
        (lambda step: 0.3 if step % 50 else 3.0, 1000, 1.0),  # a checkpoint now and then
    ],
)
def test_after_a_tenth_it_is_within_a_fifth(
    step_seconds: Callable[[int], float], every: int, measuring: float
) -> None:
    told, true = told_and_true(400, step_seconds, every, measuring)
    assert told == pytest.approx(true, rel=0.2)


def test_measurements_count_though_none_was_seen() -> None:
    """A quarter of the time goes into them, and the first comes after a third of the stage."""
    told, true = told_and_true(300, lambda step: 1.0, 100, 25.0)
    left = TimeLeft(300, lambda step: 4 - step // 100, 25.0, lambda: 0.0)
    assert left.guess == 25.0
    without = 270.0
    assert without < told < true


def test_steps_of_an_earlier_start_and_loading_are_not_counted() -> None:
    told, true = told_and_true(400, lambda step: 0.5, 1000, 1.0, begun=200, loading=600.0)
    assert told == pytest.approx(true, rel=0.05)


def test_a_machine_that_became_slower_is_believed_soon() -> None:
    now = 0.0
    left = TimeLeft(1000, lambda step: 0, 0.0, lambda: now)
    for step in range(1, 401):
        now += 0.1 if step <= 200 else 0.4
        left.step(step)
    assert left.seconds() == pytest.approx(600 * 0.4, rel=0.05)


def test_time_passes_within_a_step_and_is_never_negative() -> None:
    now = 0.0
    left = TimeLeft(3, lambda step: 0, 0.0, lambda: now)
    assert left.seconds() is None
    for step in (1, 2):
        now += 10
        left.step(step)
    now += 4
    assert left.seconds() == pytest.approx(6)
    now += 400
    assert left.seconds() == 0


def test_sets_of_one_measurement_are_one() -> None:
    now = 0.0
    left = TimeLeft(4, lambda step: 1, 0.0, lambda: now)
    for step in (1, 2):
        now += 1
        left.step(step)
    for more in (False, True):
        now += 5
        left.measured(more=more)
    assert left.seconds() == pytest.approx(2 + 10)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (45, "45 s"), (200, "3 min 20 s"), (3599.8, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_as_time(seconds: float, text: str) -> None:
    assert as_time(seconds) == text
