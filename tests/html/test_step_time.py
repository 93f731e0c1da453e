"""What a step took its time for: in a picture, in words, in numbers; and of how many steps."""

import dataclasses

import pytest

from distilnlp.html import Evidence
from distilnlp.html.blocks import LeftOut, Notes, Picture, Table
from distilnlp.html.step_time import step_time_section
from distilnlp.report.step_time import StepTime

pytest.importorskip("matplotlib", reason="the page's pictures are drawn with it")


def test_the_picture_says_what_is_to_be_seen(finished: Evidence):
    (picture,) = (block for block in step_time_section(finished).blocks if isinstance(block, Picture))
    assert picture.says == (
        "What an optimizer step took its time for, by stage. "
        "teacher 350 ms: data 3 %, student 29 %, losses 0 %, backward 57 %, optimizer 11 %; "
        "student 250 ms: data 4 %, teacher 40 %, student 20 %, losses 2 %, backward 30 %, rest 4 %."
    )


def test_the_table_has_the_milliseconds_of_a_step_and_the_share_of_each_part(finished: Evidence):
    (table,) = (block for block in step_time_section(finished).blocks if isinstance(block, Table))
    assert table.header == ("stage", "step", "data", "teacher", "student", "losses", "backward", "optimizer", "rest")
    assert [cell.text for cell in table.rows[1]] == ["student", "250", "10", "100", "50", "5", "75", "0", "10"]
    assert [cell.note for cell in table.rows[1][2:]] == ["4 %", "40 %", "20 %", "2 %", "30 %", "0 %", "4 %"]


def test_it_is_said_how_many_steps_were_measured(finished: Evidence):
    (notes,) = (block for block in step_time_section(finished).blocks if isinstance(block, Notes))
    assert notes.lines[:2] == [
        "teacher: measured in all 12 steps, on cpu.",
        "student: measured in all 8 steps after step 4, where the process that was broken off had come, on cpu.",
    ]
    assert not any("overlap" in line for line in notes.lines)
    sampled = StepTime(device="cuda", steps=1200, measured=24, seconds={"teacher": 1.2})
    section = step_time_section(dataclasses.replace(finished, step_times={"student": sampled}))
    (notes,) = (block for block in section.blocks if isinstance(block, Notes))
    assert notes.lines[0] == "student: measured in 24 of 1,200 steps, on cuda."
    assert any("they may overlap" in line for line in notes.lines)


def test_a_run_of_an_older_version_has_none(finished: Evidence):
    left = step_time_section(dataclasses.replace(finished, step_times={}))
    assert left == LeftOut(
        "Time of a step", "no stage has kept it: none was trained, or by an older version, or for a few steps only"
    )
