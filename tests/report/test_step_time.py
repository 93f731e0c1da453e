"""What a step took is kept beside the model, and told apart from a file that is damaged."""

import json

import pytest

from distilnlp.errors import RequestError
from distilnlp.report.step_time import PHASES, STEP_TIME, StepTime, read_step_time, write_step_time

SECONDS = {"teacher": 0.6, "data": 0.2, "rest": 0.2}


def test_what_is_read_is_what_was_written_by_the_order_of_a_step(tmp_path):
    write_step_time(tmp_path, StepTime(device="cpu", steps=12, measured=10, seconds=SECONDS))
    got = read_step_time(tmp_path)
    assert got == StepTime(device="cpu", steps=12, measured=10, seconds=SECONDS)
    assert got.milliseconds == pytest.approx({"data": 20.0, "teacher": 60.0, "rest": 20.0})
    assert list(got.seconds) == [name for name in PHASES if name in SECONDS]
    assert got.whole == pytest.approx(100.0)


def test_a_stage_of_an_older_version_has_none(tmp_path):
    assert read_step_time(tmp_path) is None


GOOD = {"device": "cpu", "steps": 2, "measured": 2, "seconds": SECONDS}


@pytest.mark.parametrize(
    "values",
    [
        GOOD | {"measured": 0},
        GOOD | {"seconds": {"coffee": 1.0}},
        GOOD | {"seconds": {"data": -1.0}},
        GOOD | {"version": 99},
        [],
    ],
    ids=["nothing measured", "an unknown part", "negative", "another version", "a list"],
)
def test_a_damaged_file_is_named(tmp_path, values):
    (tmp_path / STEP_TIME).write_text(json.dumps(values))
    with pytest.raises(RequestError, match=r"step_time\.json' (cannot be read|is of version 99)"):
        read_step_time(tmp_path)
