"""Runs beside each other; those that differ in their seeds alone as one, with the deviation."""

from typing import Any

import pytest

from distilnlp.html import Evidence, render_comparison
from distilnlp.html.comparison import over_runs
from distilnlp.report.schema import Report
from distilnlp.report.seeds import over_seeds

pytest.importorskip("matplotlib", reason="the page's pictures are drawn with it")


def report(finished: Evidence, seed: int, score: float, **recipe: Any) -> Report:
    values = {"name": f"run-{seed}", "seed": seed, "stages": {"student": {"training": {"seed": seed}}}, **recipe}
    stages = [row.model_copy(update={"score": score}) for row in finished.report.stages]
    return finished.report.model_copy(update={"stages": stages, "recipe": values})


def test_runs_that_differ_in_their_seeds_alone_are_averaged(finished: Evidence):
    runs = {f"run-{seed}": report(finished, seed, score) for seed, score in ((1, 0.8), (2, 0.9), (3, 1.0))}
    found = over_runs(runs)
    assert [each.stage for each in found] == ["teacher", "control", "student"]
    assert found[0].score.mean == pytest.approx(0.9)
    assert found[0].score.deviation == pytest.approx(0.1)
    page = render_comparison(runs)
    assert "student 0.900 ± 0.100" in page
    assert page.count("<table") == 2


def test_runs_that_differ_in_more_or_were_measured_on_others_are_not(finished: Evidence):
    one = report(finished, 1, 0.8)
    other_data = report(finished, 2, 0.9, data={"seed": 7})
    assert over_runs({"a": one, "b": other_data}) == []
    elsewhere = report(finished, 2, 0.9)
    rows = [row.model_copy(update={"held_out": "another"}) for row in elsewhere.stages]
    assert over_runs({"a": one, "b": elsewhere.model_copy(update={"stages": rows})}) == []


def test_other_runs_stand_beside_each_other(finished: Evidence):
    page = render_comparison({"a": report(finished, 1, 0.8), "b": report(finished, 2, 0.9, precision="fp32")})
    assert "The best student is student of b, with accuracy 0.900." in page
    assert "Over seeds: no two runs differ in their seeds alone." in page


def test_of_a_run_with_several_seeds_the_mean_is_shown_and_not_its_best(finished: Evidence):
    one = report(finished, 1, 0.8)
    *others, student = one.stages
    again = student.model_copy(update={"stage": "student-seed-2", "seed": 2, "repeats": "student", "score": 0.99})
    rows = over_seeds([*others, student.model_copy(update={"seed": 1, "score": 0.61}), again])
    page = render_comparison({"a": one.model_copy(update={"stages": rows}), "b": report(finished, 3, 0.7, data={})})
    assert "The best student is student of a, with accuracy 0.800." in page
    assert "0.990" not in page.partition("<table")[2].partition("</table>")[0]
