"""Finished runs looked at closer: what is found follows from their kept answers, and nothing is changed in them."""

import json
from pathlib import Path

import pytest

from distilnlp.analysis.calibration import calibration_of
from distilnlp.cli import main
from distilnlp.errors import RequestError
from distilnlp.recipe import make_recipe
from distilnlp.report.predictions import predictions_file, read_predictions
from distilnlp.report.schema import read_report
from distilnlp.run import run_recipe
from distilnlp.run.analyse import KINDS, Finding, analyse_runs, findings_to_json, render_findings
from tests.run.conftest import recipe_values


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, start_weights: str, csv_file: str) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "films"
    values = recipe_values(start_weights, csv_file) | {"report": {"html": False}}
    run_recipe(make_recipe(values, name="films"), folder)
    return folder


@pytest.fixture(scope="module")
def found(finished: Path) -> dict[str, Finding]:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    made = {each.what: each for each in analyse_runs([finished], train_rows=8)}
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()} == before
    return made


def test_a_run_of_classes_has_all_kinds(found: dict[str, Finding]) -> None:
    assert tuple(found) == KINDS


def test_calibration_is_that_of_the_kept_answers(found: dict[str, Finding], finished: Path) -> None:
    rows = {row[0]: row for row in found["calibration"].rows}
    assert rows.keys() == {"teacher", "control", "student"}
    kept = read_predictions(predictions_file(finished / "student"))
    assert rows["student"][1] == pytest.approx(calibration_of(kept.logits, kept.labels).ece)
    assert rows["student"][8] <= rows["student"][5], "the best temperature makes the NLL no larger"


def test_fidelity_is_that_of_the_report_and_told_on_training_texts_too(
    found: dict[str, Finding], finished: Path
) -> None:
    rows = [row for row in found["fidelity"].rows if row[0] == "student"]
    report = read_report(finished / "report.json")
    of_student = report.stage("student")
    assert of_student is not None and of_student.fidelity is not None
    (held_out,) = (row for row in rows if row[2] == "held out")
    assert held_out[4] == pytest.approx(of_student.fidelity.agreement)
    (training,) = (row for row in rows if row[2] == "training")
    assert training[3] == 8


def test_cka_has_a_row_for_each_layer_and_a_map_for_the_recipe(found: dict[str, Finding]) -> None:
    assert len(found["cka"].rows) == 2 and len(found["cka"].header) == 5  # one layer of three, and the embeddings
    assert any("layer_map: [[1, " in note for note in found["cka"].notes)


def test_dark_knowledge_opens_with_the_temperature(found: dict[str, Finding]) -> None:
    entropies = [row[2] for row in found["dark-knowledge"].rows]
    assert entropies == sorted(entropies) and len(entropies) == 4


def test_what_is_shown_and_the_json_hold_the_same(found: dict[str, Finding]) -> None:
    read = json.loads(findings_to_json(list(found.values())))["findings"]
    assert [each["what"] for each in read] == list(found)
    shown = render_findings(list(found.values()))
    assert f"{read[0]['rows'][0][1]:.3f}" in shown


@pytest.mark.slow
def test_a_kind_without_a_meaning_is_refused_and_left_out_unasked(
    tmp_path_factory: pytest.TempPathFactory, start_weights: str, tmp_path: Path
) -> None:
    data = tmp_path / "numbers.csv"
    lines = [f"the film was {word} {row},{row / 10}" for row in range(30) for word in ("good", "bad")]
    data.write_text("\n".join(["text,label", *lines]))
    values = recipe_values(start_weights, str(data)) | {"report": {"html": False}}
    values["stages"]["student"]["objective"] = {"hard_label": {}, "response": {}}
    run_recipe(make_recipe(values, name="numbers"), tmp_path / "run")
    with pytest.raises(RequestError, match="calibration is of probabilities"):
        analyse_runs([tmp_path / "run"], ["calibration"])
    assert {each.what for each in analyse_runs([tmp_path / "run"], train_rows=0)} == {"fidelity", "cka", "gap"}


def test_what_is_no_run_or_no_kind_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", str(tmp_path / "none")]) == 2
    assert main(["analyse", str(tmp_path)]) == 2
    assert main(["analyse", str(tmp_path), "--what", "calibraton"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in errors] == ["distilnlp"] * 3
    assert "is not a folder" in errors[0] and "did you mean 'calibration'" in errors[2]
