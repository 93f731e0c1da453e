"""Results are typed and versioned: what is read is what was written, and anything else is refused by name."""

import json

import numpy as np
import pytest

from distilnlp.errors import RequestError
from distilnlp.report.schema import (
    VERSION,
    Baseline,
    Cost,
    Fidelity,
    Report,
    StageResult,
    read_report,
    read_stage_result,
    to_json,
)

RESULT = StageResult(
    stage="student",
    role="student",
    kind="distill",
    task="mrpc",
    problem_type="single_label_classification",
    main_metric="f1",
    score=0.9,
    metrics={"f1": 0.9, "accuracy": float("inf")},
    extra={"mismatched": {"f1": 0.8}},
    baseline=Baseline(answer="the largest class", score=0.8, metrics={"f1": 0.8}, gain=(0.05, 0.15), rows=408),
    seconds=1.5,
    steps=20,
)
REPORT = Report(
    name="films",
    task="mrpc",
    stages=[
        RESULT.model_copy(update={"cost": Cost(parameters=3), "fidelity": Fidelity(agreement=1.0, kappa=0.5, kl=0.0)})
    ],
    sources={"hard_label": "the usual losses"},
)


def test_a_report_is_read_as_it_was_written(tmp_path):
    (tmp_path / "report.json").write_text(to_json(REPORT))
    assert read_report(tmp_path / "report.json") == REPORT
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["version"] == VERSION
    assert values["stages"][0]["fidelity"] == {"agreement": 1.0, "kappa": 0.5, "kl": 0.0}
    assert "run" not in values["stages"][0]


def test_a_stage_is_read_as_it_was_written(tmp_path):
    (tmp_path / "metrics.json").write_text(to_json(RESULT))
    assert read_stage_result(tmp_path / "metrics.json") == RESULT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": None}, "without a version, of an older distilnlp"),
        ({"version": VERSION + 1}, f"of version {VERSION + 1}, and this one reads version {VERSION}"),
        ({"version": True}, "of version True"),
        ({"version": 1}, "of version 1, and this one reads version 2"),
        ({"score": "high"}, r"damaged \(score: "),
        ({"problem_type": "rerank"}, r"damaged \(problem_type: .*unknown problem_type 'rerank'"),
        ({"fidelity": {"agreement": 1.0, "kl": "low"}}, r"damaged \(fidelity\.kl: "),
        ({"scoer": 0.5}, r"damaged \(scoer: "),
    ],
)
def test_what_is_damaged_or_of_another_version_is_refused_with_the_file_and_the_way_out(tmp_path, change, message):
    values = {key: value for key, value in {**json.loads(to_json(RESULT)), **change}.items() if value is not None}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(values))
    with pytest.raises(RequestError, match=message) as error:
        read_stage_result(path)
    assert str(path) in str(error.value)
    assert "--fresh" in str(error.value)


def test_a_number_that_is_not_finite_is_kept_in_json_that_any_tool_reads(tmp_path):
    values = {"f1": float("nan"), "mse": float("inf"), "pearson": float("-inf")}
    result = RESULT.model_copy(update={"metrics": values, "fidelity": Fidelity(agreement=1.0, kl=float("inf"))})
    (tmp_path / "metrics.json").write_text(to_json(result))
    json.loads(to_json(result), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    read = read_stage_result(tmp_path / "metrics.json")
    assert np.isnan(read.metrics.pop("f1"))
    assert read.metrics == {"mse": float("inf"), "pearson": float("-inf")}
    assert read.fidelity == result.fidelity


def test_a_file_of_another_version_is_said_to_be_one_whatever_else_it_holds(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"version": VERSION + 1, "models": []}))
    with pytest.raises(RequestError, match=f"of version {VERSION + 1}"):
        read_report(tmp_path / "report.json")


def test_a_damaged_report_does_not_cost_the_finished_stages(tmp_path):
    """It is written from them; only a stage whose own result is damaged has to be trained again."""
    (tmp_path / "report.json").write_text("")
    with pytest.raises(RequestError, match="delete it and run the recipe again, which keeps the finished stages"):
        read_report(tmp_path / "report.json")
    (tmp_path / "metrics.json").write_text("")
    with pytest.raises(
        RequestError, match=f"delete '{tmp_path}' and run the recipe again, or start over with --fresh"
    ):
        read_stage_result(tmp_path / "metrics.json")


def test_what_cannot_be_read_is_not_called_damaged(tmp_path):
    for read in (read_report, read_stage_result):
        with pytest.raises(RequestError, match=r"cannot be read \(Is a directory\)"):
            read(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"stages": []}', "[" * 100_000])
def test_an_empty_or_broken_report_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(RequestError, match=str(path)):
        read_report(path)


def test_the_problem_is_one_class_a_text_where_it_is_not_told():
    assert StageResult(stage="a").problem.name == "single_label_classification"
    assert StageResult(stage="a", problem_type="regression").problem.name == "regression"
