"""Models are timed in turns, and other work on the machine does not tell which is the faster."""

import itertools
import random
import time
from collections.abc import Callable

import numpy as np
import pytest

from distilnlp.report.timing import REPEATS, Turns, take_turns


class Clock:
    """Stands still but for what the models take, and what other work takes from them."""

    def __init__(self, other_work: Callable[[], float] = lambda: 0.0) -> None:
        self.now = 0.0
        self.order: list[str] = []
        self.other_work = other_work

    def __call__(self) -> float:
        return self.now

    def model(self, name: str, seconds: float, inputs: int = 4) -> list[Callable[[], object]]:
        def answer() -> None:
            self.order.append(name)
            self.now += seconds + self.other_work()

        return [answer] * inputs


def turns(clock: Clock, rounds: tuple[int, int] = (12, 12), seconds: float = 1e9) -> Turns:
    work = {"teacher": clock.model("teacher", 0.012), "student": clock.model("student", 0.001)}
    return take_turns(work, rounds=rounds, seconds=seconds, clock=clock, wall=clock)


def test_models_answer_each_input_in_turns_and_the_first_round_is_not_counted():
    clock = Clock()
    found = turns(clock, (2, 2))

    assert clock.order == ([*["teacher"] * REPEATS, *["student"] * REPEATS]) * 4 * 3
    assert found.rounds == 2
    assert found.seconds["teacher"].shape == (2, 4)


def test_other_work_changes_neither_time_nor_ratio():
    """It holds up three quarters of the answers, by up to eight times what the teacher takes."""
    drawn = random.Random(0)
    found = turns(Clock(lambda: max(0.0, drawn.uniform(-0.03, 0.1))), (30, 30))

    assert found.best("student") == pytest.approx(0.001, rel=0.01)
    assert found.speedup("student", "teacher") == pytest.approx(12, rel=0.01)
    means = [np.mean(found.seconds[name]) for name in ("teacher", "student")]
    assert means[0] / means[1] != pytest.approx(12, rel=0.2)  # what means would have told


def test_the_spread_says_how_far_thirds_of_the_rounds_differ():
    quiet = turns(Clock()).spread("student", "teacher")
    drawn = random.Random(0)
    busy = turns(Clock(lambda: drawn.uniform(0, 0.01))).spread("student", "teacher")

    assert quiet == (pytest.approx(12), pytest.approx(12))
    assert busy[0] < busy[1] < 12


def test_a_ratio_of_one_round_has_no_spread():
    found = turns(Clock(), (1, 1))

    assert found.spread("student", "teacher") == (found.speedup("student", "teacher"),) * 2


@pytest.mark.parametrize(("seconds", "rounds"), [(1e9, 9), (0.6, 4), (0.0, 1), (0.09, 3)])
def test_it_takes_as_many_rounds_as_there_is_time_for(seconds: float, rounds: int):
    """A round takes 156 ms."""
    assert turns(Clock(), (3, 9), seconds).rounds == rounds


def test_more_rounds_are_taken_while_they_tell_different_things():
    """Other work ends after 2 s here; where it never does, four times the seconds are all there is."""
    drawn = random.Random(0)

    quiet, busy, hopeless = Clock(), Clock(), Clock()
    busy.other_work = lambda: drawn.uniform(0.01, 0.03) if busy.now < 2 else 0.0
    calls = itertools.count(1)
    hopeless.other_work = lambda: 0.01 * 1.05 ** next(calls)  # more and more of it

    settled = [turns(clock, (3, 1000), 1.5).is_settled for clock in (quiet, busy, hopeless)]

    assert settled == [True, True, False]
    assert 1.5 < quiet.now < 2
    assert 2 < busy.now < 4
    assert hopeless.now > 6


def test_what_counts_is_the_time_that_this_thread_works_and_not_that_it_waits():
    """As it does while other work has the processor."""
    work = {"waits": [lambda: time.sleep(0.05)], "works": [lambda: sum(range(100_000))]}

    found = take_turns(work, rounds=(2, 2), seconds=1)

    assert found.best("waits") < found.best("works")


def test_models_that_answer_different_inputs_are_not_compared():
    clock = Clock()

    with pytest.raises(ValueError, match="same inputs"):
        take_turns({"a": clock.model("a", 1, 2), "b": clock.model("b", 1, 3)}, rounds=(1, 1), seconds=1)
