"""The plan as a line of text and as a graph."""

import pytest

from distilnlp.report.drawing import draw_graph, draw_line, draw_stages

LABELS = {"model": "bert"}


def recipe(**stages) -> dict[str, object]:
    return {"stages": stages}


def pupil(teacher, start: str = "bert") -> dict[str, object]:
    return {"student": {"from": start, "layers": 2}, "teacher": teacher}


@pytest.mark.parametrize(
    ("stages", "line"),
    [
        ({"teacher": LABELS}, "teacher"),
        ({"teacher": LABELS, "ta": pupil("teacher"), "student": pupil("ta")}, "teacher -> ta -> student"),
        (
            {"teacher": LABELS, "control": {"student": {"from": "teacher"}}, "student": pupil("teacher", "teacher")},
            "teacher -> student; control (from teacher)",
        ),
        (
            {"a": LABELS, "b": LABELS, "c": pupil({"kind": "ensemble", "of": ["a", "b"]})},
            "a; b; ensemble of a + b -> c",
        ),
        ({"a": LABELS, "b": pupil("a@checkpoint-8")}, "a; a@checkpoint-8 -> b"),
        ({"a": {"model": "bert", "teacher": {"kind": "average"}}}, "average -> a"),
        ({"a": pupil({"column": "probs"})}, "column probs -> a"),
        (
            {"t": LABELS, "a": pupil("t@checkpoint-1"), "b": pupil("t"), "c": pupil({"of_best": ["a", "b"]})},
            "t -> b; t@checkpoint-1 -> a; best of t@checkpoint-1 + t -> c",
        ),
        ({"a": LABELS, "b": {"model": "a", "teacher": "a"}}, "a -> b"),
    ],
)
def test_a_plan_fits_on_a_line(stages: dict[str, object], line: str):
    assert draw_line(recipe(**stages)) == line


def test_every_stage_has_a_line_of_its_own():
    lines = draw_stages(recipe(teacher=LABELS, student=pupil({"model": "teacher"}, "teacher")))
    assert lines == ["teacher  starts from bert", "student  2 layers of teacher, taught by teacher"]


def test_an_arrow_of_the_graph_goes_from_each_teacher_to_its_student():
    graph = draw_graph(recipe(teacher=LABELS, ta=pupil("teacher"), student=pupil("ta@checkpoint-8", "ta")))
    assert graph.splitlines()[:4] == ["graph LR", '  s0["teacher"]', '  s1["ta"]', '  s2["student"]']
    assert '  s0 -->|"teaches"| s1' in graph
    assert '  s1 -->|"teaches, step 8"| s2' in graph
    assert '  s1 -.->|"start"| s2' in graph


def test_no_name_can_end_a_node_or_begin_another():
    graph = draw_graph(recipe(teacher={"model": 'x"]; click s0 "javascript:1" `<b>\n```'}))
    node = next(line for line in graph.splitlines() if "javascript" in line)
    assert node.count('"') == 2
    assert not set("<>`;") & set(node.replace("#", ";").split('"')[1].replace(";", ""))
    assert "```" not in graph


def test_a_path_is_cut_to_its_last_part():
    assert "/home" not in draw_graph(recipe(teacher={"model": "/home/me/bert"}))
