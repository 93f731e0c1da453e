"""What is asked of a student that is searched for, and by how much one misses it."""

import math

import pytest

from distilnlp.errors import RequestError
from distilnlp.run.search_goal import Goal, SearchSettings
from distilnlp.run.search_records import Spent
from distilnlp.run.served import Served


def served(ms: float, mb: float, teacher_ms: float = 20) -> Served:
    return Served(ms, mb, teacher_ms, (teacher_ms / ms,) * 2)


def test_a_goal_says_by_how_much_a_student_is_over_it():
    goal = Goal(0.9, max_ms=2, speedup=10, max_mb=20)

    assert goal.over(served(ms=1, mb=10)) == {}
    assert goal.over(served(ms=4, mb=10)) == {"--max-ms": 2.0, "--speedup": 2.0}
    assert goal.words() == "--keep 0.9 --max-ms 2 --speedup 10 --max-mb 20"


def test_without_a_budget_no_student_is_over_it():
    assert not Goal(0.9).has_budget
    assert Goal(0.9).over(served(ms=1e9, mb=1e9)) == {}


def test_the_smallest_is_looked_for_where_only_its_size_is_bounded():
    assert Goal(0.9, max_mb=1).by_size
    assert not Goal(0.9, max_mb=1, speedup=2).by_size
    assert not Goal(0.9).by_size


def test_more_than_what_is_to_be_kept_is_worth_nothing_and_twice_the_speed_half_a_percent():
    goal = Goal(0.9)

    assert goal.value(0.95, 0, served(1, 10), 90) == goal.value(0.9, 0, served(1, 10), 90)
    assert goal.value(0.9, 0, served(1, 10), 90) - goal.value(0.9, 0, served(2, 10), 90) == pytest.approx(0.005)
    assert goal.value(0.8, 0, served(1, 10), 90) - goal.value(0.9, 0, served(1, 10), 90) == pytest.approx(-0.1)


def test_of_two_with_one_score_the_one_that_answers_more_as_its_teacher_is_worth_more():
    near, far, elsewhere = (Goal(0.9).value(0.8, distance, served(1, 10), 90) for distance in (0.1, 0.4, math.inf))

    assert near > far > elsewhere
    assert near - elsewhere < 0.05


@pytest.mark.parametrize("budget", [{"max_ms": float("nan")}, {"speedup": 0}, {"max_mb": -1}, {"keep": 1.1}])
def test_a_goal_that_is_none_is_refused(budget):
    with pytest.raises(RequestError, match="is needed"):
        Goal(**{"keep": 0.9, **budget})


@pytest.mark.parametrize("settings", [{"trials": 0}, {"jobs": 0}, {"minutes": -1}, {"processor_minutes": 0}])
def test_a_search_of_no_time_or_nobody_is_refused(settings):
    with pytest.raises(RequestError, match="is needed"):
        SearchSettings(**settings)


def test_what_is_left_of_a_search_is_by_the_clock_and_by_the_processor():
    left = SearchSettings(minutes=2).left(Spent.now() - Spent(60, 1000))

    assert left.clock == pytest.approx(60, abs=5)
    assert Spent(50, 1e9).fits(left)
    assert not Spent(70, 0).fits(left)
