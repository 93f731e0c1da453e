"""A run in which several models teach: its report, who is compared with whom, and what a recipe may not say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilnlp.errors import RequestError, RunError
from distilnlp.recipe import make_recipe
from distilnlp.report.compare import relative_lines
from distilnlp.run import make_plan, run_recipe
from distilnlp.run.folder import RunFolder
from tests.run.conftest import TRAINING
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def several(values: dict[str, Any]) -> dict[str, Any]:
    """Two teachers of other sizes, a control and a student."""
    stages = values["stages"]
    other = {"model": stages["teacher"]["model"], "training": {**TRAINING, "seed": 7}}
    small = {"student": {"from": "teacher", "layers": 2}, "training": TRAINING}
    stages["student"]["teacher"] = {"kind": "ensemble", "of": ["teacher", "small"], "combine": "probabilities"}
    stages["student"]["objective"]["hidden_state"] = {"teacher": "teacher"}
    values["stages"] = {"teacher": other, "small": small, "control": stages["control"], "student": stages["student"]}
    return values


@pytest.fixture
def outsider(tmp_path: Path) -> str:
    """A model of another order of the labels, from outside of the run."""
    tiny_model("bert", layers=2, label_names=["good", "bad"], seed=4).save_pretrained(tmp_path / "outside")
    tiny_tokenizer().save_pretrained(tmp_path / "outside")
    return str(tmp_path / "outside")


@pytest.mark.slow
def test_the_ensemble_has_a_row_and_the_student_is_compared_with_it(
    several: dict[str, Any], tmp_path: Path, outsider: str
) -> None:
    several["stages"]["student"]["teacher"]["of"].append(outsider)
    recipe = make_recipe(several, name="films")
    report = run_recipe(recipe, tmp_path / "run")
    assert report is not None
    name = f"ensemble of teacher, small, {outsider} (combine: probabilities)"
    rows = {row.stage: row for row in report.stages}
    assert list(rows) == [name, outsider, "teacher", "small", "control", "student"]
    assert rows[name].role == "teacher" and rows[name].baseline is not None and rows[name].cost is None
    assert rows["student"].fidelity is not None and rows["control"].fidelity is not None
    folder = RunFolder(tmp_path / "run")
    student = folder.predictions("student")
    # Of those two that are stages the answers are kept; the third one's are worked out of the agreement.
    assert 0 <= rows["student"].fidelity.agreement <= 1 and len(student.logits) == 12
    assert any("of the teacher's accuracy" in line for line in relative_lines(report.stages))
    card = (tmp_path / "run" / "README.md").read_text()
    assert "ensemble of teacher" in card and "{'kind'" not in card


@pytest.mark.slow
def test_the_row_is_what_the_members_answer_together(several: dict[str, Any], tmp_path: Path) -> None:
    several["stages"]["student"]["teacher"]["weights"] = [3, 1]
    report = run_recipe(make_recipe(several, name="films"), tmp_path / "run")
    assert report is not None
    folder = RunFolder(tmp_path / "run")
    teacher, small, student = (folder.predictions(name) for name in ("teacher", "small", "student"))

    def softmax(logits: Any) -> Any:
        return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)

    together = 0.75 * softmax(teacher.logits) + 0.25 * softmax(small.logits)
    score = float((together.argmax(-1) == teacher.labels).mean())
    agreement = float((together.argmax(-1) == student.logits.argmax(-1)).mean())
    row = next(row for row in report.stages if row.stage.startswith("ensemble"))
    assert row.score == pytest.approx(score)
    fidelity = next(row for row in report.stages if row.stage == "student").fidelity
    assert fidelity is not None and fidelity.agreement == pytest.approx(agreement)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"weights": "loss"}, {"combine": "stochastic"}])
def test_an_ensemble_without_an_answer_of_its_own_has_no_row(
    several: dict[str, Any], tmp_path: Path, settings: dict[str, Any]
) -> None:
    several["stages"]["student"]["teacher"] = {"kind": "ensemble", "of": ["teacher", "small"], **settings}
    report = run_recipe(make_recipe(several, name="films"), tmp_path / "run")
    assert report is not None
    assert [row.stage for row in report.stages] == ["teacher", "small", "control", "student"]


def test_a_weak_member_stops_the_run_before_anybody_learns_from_it(
    several: dict[str, Any], tmp_path: Path, outsider: str
) -> None:
    del several["accept_weak_teacher"]
    several["stages"]["student"]["teacher"]["of"].append(outsider)
    with pytest.raises(RunError, match=r"outside: accuracy .* so that student would take over nothing from it"):
        run_recipe(make_recipe(several, name="films"), tmp_path / "run")
    assert not (tmp_path / "run" / "teacher").exists()


def test_the_reference_is_the_ensemble(several: dict[str, Any]) -> None:
    plan = make_plan(make_recipe(several, name="films"))
    assert plan.reference_teacher == "ensemble of teacher, small (combine: probabilities)"
    assert [stage.name for stage in plan.pupils("small")] == ["student"]


@pytest.mark.parametrize(
    ("teacher", "hidden_state", "told"),
    [
        (
            ["teacher", "small"],
            {"teacher": "smal"},
            "stages.student.objective.hidden_state.teacher: unknown teacher 'smal': did you mean 'small'?",
        ),
        ("teacher", {"teacher": "small"}, "objective.hidden_state.teacher is for a stage with several teachers"),
        (["teacher", "small"], {"teacher": 3}, "objective.hidden_state.teacher is 3: should be a valid string"),
        (
            {"kind": "ensemble", "of": ["teacher", "small"], "combine": "mean"},
            None,
            "stages.student.teacher.combine: EnsembleTeacher: combine is 'mean'",
        ),
        (
            {"kind": "ensemble", "of": ["teacher", "small"], "wieghts": [1]},
            None,
            "unknown key 'wieghts' in stages.student.teacher: did you mean 'weights'?",
        ),
        ({"kind": "ensemble"}, None, "ensemble is made of other teachers: name them in 'of'"),
    ],
)
def test_what_no_plan_can_be_made_of(several: dict[str, Any], teacher: Any, hidden_state: Any, told: str) -> None:
    several["stages"]["student"]["teacher"] = teacher
    if hidden_state is None:
        del several["stages"]["student"]["objective"]["hidden_state"]
    else:
        several["stages"]["student"]["objective"]["hidden_state"] = hidden_state
    with pytest.raises(RequestError) as caught:
        make_plan(make_recipe(several, name="films"))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden_state": {}}, "stages.student: hidden_state reads more than logits"),
        ({"weights": [1.0, 2.0, 3.0]}, "stages.student: weights has 3 numbers, and there are 2 teachers"),
        ({"weights": [1.0, 0.0]}, "stages.student: of the teacher small nothing is read"),
        ({"outsider": True}, "the labels of the data are bad, good and the model's are up, down"),
    ],
)
def test_members_that_do_not_fit_are_told_before_anything_is_trained(
    several: dict[str, Any], tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    student = several["stages"]["student"]
    if "hidden_state" in changes:
        student["objective"]["hidden_state"] = changes["hidden_state"]
    if "weights" in changes:
        student["teacher"]["weights"] = changes["weights"]
    if "outsider" in changes:
        tiny_model("bert", layers=2, label_names=["up", "down"]).save_pretrained(tmp_path / "other")
        tiny_tokenizer().save_pretrained(tmp_path / "other")
        student["teacher"]["of"].append(str(tmp_path / "other"))
        told = f"stages.student: {tmp_path / 'other'}: {told}"
    with pytest.raises(RequestError) as caught:
        run_recipe(make_recipe(several, name="films"), tmp_path / "run")
    assert told in str(caught.value)
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.slow
def test_two_terms_of_one_loss_compare_with_two_teachers(several: dict[str, Any], tmp_path: Path) -> None:
    student = several["stages"]["student"]
    student["objective"] |= {
        "hidden_state": {"teacher": "teacher", "weight": 0.5},
        "hidden_state_2": {"teacher": "small", "weight": 0.25},
    }
    recipe = make_recipe(several, name="films")
    terms = {term.name: (term.teacher, term.weight) for term in make_plan(recipe).stages["student"].objective or ()}
    assert terms["hidden_state"] == ("teacher", 0.5) and terms["hidden_state_2"] == ("small", 0.25)
    report = run_recipe(recipe, tmp_path / "run", say=lambda line: None)
    assert report is not None and report.stages[-1].score is not None
    card = (tmp_path / "run" / "README.md").read_text()
    assert "`hidden_state` (teacher teacher, weight 0.5), `hidden_state_2` (teacher small, weight 0.25)" in card


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (
            {"hidden_state_2": {"teacher": "small"}},
            "objective.hidden_state_2: hidden_state_2 is one more hidden_state",
        ),
        (
            {"hidden_state": {"teacher": "teacher"}, "hidden_state_2": {"teacher": "smal"}},
            "stages.student.objective.hidden_state_2.teacher: unknown teacher 'smal': did you mean 'small'?",
        ),
        (
            {"hidden_state": {"teacher": "teacher"}, "hidden_state_2": {"techer": "small"}},
            "unknown key 'techer' in stages.student.objective.hidden_state_2",
        ),
        ({"hidden_stat_2": {}}, "unknown loss 'hidden_stat_2'"),
    ],
)
def test_a_second_term_of_a_loss_is_checked_as_the_first(several: dict[str, Any], objective: Any, told: str) -> None:
    several["stages"]["student"]["objective"] = {"soft_target": {}, **objective}
    with pytest.raises(RequestError) as caught:
        make_plan(make_recipe(several, name="films"))
    assert told in str(caught.value)


def test_peers_are_made_of_no_other_teacher(several: dict[str, Any]) -> None:
    """A recipe's peers are made of the student; models of one's own are given in Python."""
    several["stages"]["student"]["teacher"] = {"kind": "peers", "of": ["teacher", "small"]}
    del several["stages"]["student"]["objective"]["hidden_state"]
    with pytest.raises(
        RequestError, match=r"stages.student.teacher.of: peers is made of no other teacher: leave 'of'"
    ):
        make_plan(make_recipe(several, name="films"))
