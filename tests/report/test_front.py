"""Which students no other is better than, and how they are shown."""

import json
from dataclasses import replace
from pathlib import Path

from distilnlp.report.front import Front, Tried, draw_front, pareto, render_front


def tried(student: str, share: float, ms: float, mb: float) -> Tried:
    return Tried(student, {"name": student}, 90, 0.9 * share, share, ms, 10 / ms, (9.5 / ms, 10.5 / ms), mb)


ROWS = [
    tried("large", 1.0, 5.0, 40.0),
    tried("worse in all", 0.9, 6.0, 50.0),
    tried("small", 0.9, 4.0, 10.0),
    tried("fast", 0.9, 1.0, 20.0),
    tried("the same again", 1.0, 5.0, 40.0),
]


def front() -> Front:
    teacher = {"name": "t", "score": 0.9, "ms": 10.0, "mb": 90.0}
    return Front("films", "accuracy", {"keep": 0.9}, teacher, pareto(ROWS), ["6 layers: over --max-mb"])


def test_a_student_is_on_the_front_where_none_is_at_least_as_good_in_all_and_better_in_one():
    found = pareto(ROWS)

    assert {row.student for row in found if row.on_front} == {"large", "the same again", "small", "fast"}
    assert [row.ms for row in found] == sorted(row.ms for row in found)


def test_the_table_has_the_front_and_the_teacher_alone():
    table = render_front(front())

    lines = table.splitlines()
    assert lines[0].split() == ["student", "score", "kept", "ms", "speed", "spread", "MB", "steps"]
    assert lines[2].split() == ["fast", "0.8100", "90.0%", "1.00", "10.0x", "9.5-10.5", "20.0", "90"]
    assert "worse in all" not in lines[2:7]
    assert lines[6].split() == ["teacher", "0.9000", "100.0%", "10.00", "1.0x", "-", "90.0", "-"]
    assert "4 of 5 trained students" in table


def test_the_chosen_student_is_the_one_that_is_marked():
    rows = [replace(row, chosen=row.student == "fast") for row in ROWS]

    assert replace(front(), tried=rows).chosen == rows[3]
    assert front().chosen is None


def test_the_file_holds_all_that_was_tried_and_refused():
    held = json.loads(front().to_json())

    assert held["version"] == 1
    assert [row["student"] for row in held["tried"]] == [row.student for row in front().tried]
    assert held["refused"] == ["6 layers: over --max-mb"]


def test_the_plot_names_what_it_shows(tmp_path: Path):
    draw_front(replace(front(), tried=[replace(ROWS[2], chosen=True), *ROWS]), tmp_path / "front.svg")

    assert "<svg" in (tmp_path / "front.svg").read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["front.svg"]
