"""What the processes of a search know together outlives each of them."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from distilnlp.errors import RequestError
from distilnlp.run.search_records import Final, Records, Spent, Teacher, Training
from distilnlp.run.search_space import Candidate
from distilnlp.run.served import Served

SMALL = Candidate(2, "last", 2, 32, 16, 50, True, "answers")
COST = Served(1.0, 2.0, 12.0, (11.0, 13.0))


def records(place: Path) -> Records:
    return Records(place / "search.db", seed=0, begun=Spent.now())


@pytest.fixture
def known(tmp_path: Path) -> Records:
    return records(tmp_path)


def test_what_one_process_notes_another_reads(known, tmp_path):
    training = Training(SMALL, 6, 0.8, 0.9, 0.1, Spent(3, 2))
    known.keep_teacher(Teacher("t", 0.9, 12.0, 90.0))
    known.keep_served(SMALL, COST)
    known.keep_training(replace(training, steps=2))
    known.keep_training(training)
    known.keep_final(SMALL, Final(0.8, COST, "too slow"))
    known.keep_run(SMALL)
    other = records(tmp_path)

    assert other.teacher() == Teacher("t", 0.9, 12.0, 90.0)
    assert other.served(replace(SMALL, layer_map="first", method="states")) == COST  # of the same shape
    assert other.training(SMALL, 6) == training
    assert other.trained() == {SMALL: training}
    assert other.final(SMALL) == Final(0.8, COST, "too slow")
    assert other.kept_run() == SMALL


def test_students_stand_beside_the_shortest_time_of_their_teacher(known):
    """Turns of a busy minute tell a speedup that does not last."""
    other = replace(SMALL, layers=3)
    known.keep_served(SMALL, Served(1.0, 2.0, 12.0, (11.0, 13.0)))
    known.keep_served(other, Served(1.5, 3.0, 9.0, (5.5, 6.0)))

    assert known.served(SMALL) == known.shapes()[SMALL.shape] == Served(1.0, 2.0, 9.0, (8.25, 9.75))
    assert known.served(other).speedup == 6.0
    assert known.beside_teacher(Served(0.5, 1.0, 8.0, (15.0, 16.5))).speedup == 16.0
    assert known.teacher_ms(10.0) == 9.0


def test_of_what_was_timed_twice_the_shorter_time_counts(known):
    """Other work only ever makes an answer take longer."""
    known.keep_served(SMALL, Served(1.0, 2.0, 12.0, (11.0, 13.0)))
    known.keep_served(SMALL, Served(1.2, 2.0, 10.0, (8.0, 9.0)))
    assert known.served(SMALL) == Served(1.0, 2.0, 10.0, (8.0, 9.0))
    known.keep_served(SMALL, Served(0.8, 2.0, 11.0, (11.0, 22.0)))
    assert known.served(SMALL) == Served(0.8, 2.0, 10.0, (10.0, 20.0))


def test_what_nobody_noted_nobody_knows(known):
    assert (known.teacher(), known.served(SMALL), known.training(SMALL, 2), known.final(SMALL)) == (None,) * 4
    assert (known.trained(), known.shapes(), known.refused(), known.kept_run()) == ({}, {}, [], None)


def test_a_search_goes_on_with_the_settings_that_it_began_with(known, tmp_path):
    known.check_settings({"goal": {"keep": 0.9}, "recipe": (1, 2)}, tmp_path)
    known.check_settings({"goal": {"keep": 0.9}, "recipe": [1, 2]}, tmp_path)
    with pytest.raises(RequestError, match="another goal: give another folder"):
        known.check_settings({"goal": {"keep": 0.8}, "recipe": [1, 2]}, tmp_path)


def test_what_is_tried_first_is_tried_once_though_it_is_said_again_with_more(known, tmp_path):
    layers = {"layers": optuna.distributions.IntDistribution(1, 6)}
    known.try_first([{"layers": 5}, {"layers": 2}])
    tried = [known.study.ask(layers).params["layers"] for _ in range(2)]
    assert not known.has_waiting()
    other = records(tmp_path)

    other.try_first([{"layers": 5}, {"layers": 2}, {"layers": 6}])

    assert [*tried, other.study.ask(layers).params["layers"]] == [5, 2, 6]
    assert not other.has_waiting()


def test_trials_of_a_process_that_is_gone_are_tried_again(known, tmp_path):
    trial = known.study.ask({"layers": optuna.distributions.IntDistribution(1, 6)})
    layers = trial.params["layers"]
    known.begin_trial(trial, SMALL)
    assert (known.under_way(), known.has_waiting()) == ([SMALL], False)
    other = records(tmp_path)

    other.take_back_what_was_broken_off()

    assert (other.under_way(), other.has_waiting()) == ([], True)
    assert other.study.ask({"layers": optuna.distributions.IntDistribution(1, 6)}).params["layers"] == layers


def test_the_time_of_all_processes_counts(tmp_path):
    first, second = records(tmp_path), records(tmp_path)
    first._process = "spent another"
    first._begun = second._begun = Spent.now() - Spent(60, 30)
    for each in (first, second, second):  # a process notes its time again and again
        each.add_spent()

    assert second.spent().clock == pytest.approx(120, abs=5)
    assert second.spent().processor == pytest.approx(60, abs=5)


def test_those_that_are_tried_first_are_known_though_more_of_them_are_said_later(known):
    """A search that goes on with more --trials says more of them, between whom others were tried."""
    for said in ([SMALL], [SMALL, replace(SMALL, layers=3)]):
        known.try_first([{"layers": each.layers} for each in said])
        known.begin_trial(known.study.ask(), said[-1])
        known.begin_trial(known.study.ask(), replace(SMALL, layers=1))

    assert known.tried_first() == [SMALL, replace(SMALL, layers=3)]
