"""Drawings of a run, and the table that a notebook shows."""

import sys
from pathlib import Path
from typing import Any

import pytest

from distilnlp import Run
from distilnlp.errors import RequestError
from distilnlp.report.schema import Cost, Report, StageResult, to_json

HOSTILE = "<script>alert(1)</script>&\"'|`$x$\n\x07\u202e" + "n" * 10_000


def run_of(folder: Path, *stages: StageResult, recipe: dict[str, Any] | None = None) -> Run:
    report = Report(stages=list(stages), main_metric="accuracy", recipe=recipe or {})
    (folder / "report.json").write_text(to_json(report))
    return Run(folder)


def row(name: str, **changes: object) -> StageResult:
    return StageResult.model_validate({"stage": name, "role": "student", "main_metric": "accuracy", **changes})


def test_the_table_of_a_notebook_shows_names_as_text(tmp_path):
    shown = run_of(tmp_path, row(HOSTILE, score=0.5))._repr_html_()
    assert "<script" not in shown and "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in shown
    assert "\u202e" not in shown and "\x07" not in shown
    assert shown.count("<tr>") == 2 and shown.count("<td>") == shown.count("<th>")
    assert "0.500" in shown


def test_scores_are_drawn_without_a_screen(tmp_path):
    pytest.importorskip("matplotlib")
    costs = Cost(parameters=3_000_000, latency_p50_ms=2.0)
    run = run_of(tmp_path, row("teacher", role="teacher", score=0.75), row(HOSTILE, score=0.5, cost=costs))
    figure = run.plot("scores")
    assert [axes.get_title() for axes in figure.axes] == ["accuracy", "parameters (millions)", "ms a text (median)"]
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0.75, 0.5]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_an_unknown_drawing_names_those_that_exist(tmp_path):
    run = run_of(tmp_path, row("student"))
    with pytest.raises(
        RequestError, match=r"unknown drawing 'score': did you mean 'scores'\? accepted: curves, scores"
    ):
        run.plot("score")
    with pytest.raises(RequestError, match="nothing to draw"):
        run.plot("scores")
    with pytest.raises(RequestError, match="no log of a training"):
        run.plot()


def test_without_matplotlib_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RequestError, match=r"pip install 'distilnlp\[report\]'"):
        run_of(tmp_path, row("student", score=0.5)).plot("scores")


def test_a_damaged_report_is_one_line(tmp_path):
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(RequestError, match="not valid JSON"):
        Run(tmp_path)
