"""What the choice of the held-out examples explains of a score, and of a difference of two."""

import dataclasses

import numpy as np
import pytest

from distilnlp.html import Evidence, noise
from distilnlp.html.noise import Difference, difference_of, score_intervals
from tests.html.conftest import answers


def test_an_interval_holds_the_score_and_is_narrower_of_more_examples(finished: Evidence):
    (group,) = finished.held_out
    for row in group.rows:
        low, high = score_intervals(group)[row.stage]
        assert low < row.score < high
    more = {name: answers(6000, 0.1, 0) for name in finished.predictions}
    (large,) = dataclasses.replace(finished, predictions=more).held_out
    widths = [np.ptp(score_intervals(each)["teacher"]) for each in (group, large)]
    assert widths[1] < widths[0] / 5


def test_a_difference_is_of_the_same_examples(finished: Evidence):
    """Two models that are wrong on the same ones differ by nothing, whichever examples are drawn."""
    alike = {**finished.predictions, "control": finished.predictions["student"]}
    (group,) = dataclasses.replace(finished, predictions=alike).held_out
    found = difference_of(group, group.find("student"), group.find("control"))
    assert (found.value, found.interval, found.examples) == (0.0, (0.0, 0.0), 60)


def test_where_lower_is_better_so_is_a_difference_below_zero():
    assert Difference(-0.2, (-0.3, -0.1), 60, higher_is_better=False).is_better
    assert Difference(0.2, (0.1, 0.3), 60, higher_is_better=False).is_worse
    assert not Difference(0.2, (-0.1, 0.3), 60).is_better


def test_without_right_answers_there_is_no_interval(finished: Evidence):
    unknown = {
        name: dataclasses.replace(each, labels=np.full(60, np.nan)) for name, each in finished.predictions.items()
    }
    (group,) = dataclasses.replace(finished, predictions=unknown).held_out
    assert score_intervals(group) == {}


def test_of_very_many_answers_parts_are_compared_and_the_interval_is_as_wide(finished: Evidence, monkeypatch):
    """Resampling millions of answers would take minutes."""
    many = {name: answers(20_000, 0.1, 0) for name in finished.predictions}
    (group,) = dataclasses.replace(finished, predictions=many).held_out
    drawn = score_intervals(group)["teacher"]
    monkeypatch.setattr(noise, "MOST_DECISIONS", 1000)
    parts = score_intervals(group)["teacher"]
    assert np.ptp(parts) == pytest.approx(np.ptp(drawn), rel=0.35)
    assert np.mean(parts) == pytest.approx(np.mean(drawn), abs=0.002)
