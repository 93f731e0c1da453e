"""A student of private votes: what it costs stands in report and card, and what would not be private is refused."""

from pathlib import Path
from typing import Any

import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe import make_recipe
from distilnlp.run import run_recipe
from distilnlp.teachers.privacy import vote_epsilon
from tests.run.conftest import TRAINING


@pytest.fixture
def private(start_weights: str, csv_file: str) -> dict[str, Any]:
    """Two teachers and a student, each on a third of the texts."""
    training = {**TRAINING, "save_strategy": "no", "max_steps": 2}
    stages: dict[str, Any] = {
        f"teacher-{place}": {"model": start_weights, "data": {"shard": [place, 3]}, "training": training}
        for place in (1, 2)
    }
    stages["student"] = {
        "student": {"from": start_weights, "layers": 1},
        "teacher": {"kind": "ensemble", "of": [*stages], "combine": "noisy_vote", "sigma": 4.0},
        "data": {"shard": [3, 3]},
        "objective": {"soft_target": {"temperature": 1.0}},
        "training": training,
    }
    data = {"task": csv_file, "max_length": 16}
    return {"data": data, "precision": "fp32", "accept_weak_teacher": True, "stages": stages}


@pytest.mark.slow
def test_what_the_votes_cost_stands_in_report_and_card(private: dict[str, Any], tmp_path: Path) -> None:
    said: list[str] = []
    report = run_recipe(make_recipe(private, name="private"), tmp_path / "run", say=said.append)
    assert report is not None
    assert [row.stage for row in report.stages] == ["teacher-1", "teacher-2", "student"]
    found = report.stages[-1].privacy
    assert found is not None and (found.queries, found.teachers, found.sigma, found.delta) == (16, 2, 4.0, 1e-5)
    assert found.epsilon == vote_epsilon(16, 4.0, 1e-5)
    assert f"student: 16 votes cost epsilon {found.epsilon:.3f} at delta 1e-05" in said
    card = " ".join((tmp_path / "run" / "README.md").read_text().split())
    assert f"Its weights have ({found.epsilon:.3f}, 1e-05)-differential privacy for each row" in card
    assert report.stages[0].privacy is None


@pytest.mark.parametrize(
    ("stage", "change", "told"),
    [
        ("teacher-2", {"data": {"shard": [1, 3]}}, "the teachers teacher-1 and teacher-2 have 16 texts in common"),
        ("teacher-2", {"data": {"shard": [1, 2]}}, "the teachers teacher-1 and teacher-2 have"),
        ("teacher-2", {"model": "teacher-1"}, "the teachers teacher-1 and teacher-2 have 16 texts in common"),
        ("student", {"data": {"shard": [1, 3]}}, "the student (or its start) and its teacher teacher-1 have 16 texts"),
        ("student", {"data": None}, "the student (or its start) and its teacher teacher-1 have 16 texts"),
        ("student", {"student": {"from": "teacher-2", "layers": 1}}, "its start) and its teacher teacher-2 have 16"),
    ],
)
def test_a_text_in_two_places_is_refused(
    private: dict[str, Any], tmp_path: Path, stage: str, change: dict[str, Any], told: str
) -> None:
    private["stages"][stage].update(change)
    with pytest.raises(RequestError) as caught:
        run_recipe(make_recipe(private, name="private"), tmp_path / "run")
    assert told in str(caught.value) and str(caught.value).count("\n") == 0
    assert not (tmp_path / "run" / "teacher-1").exists()


def test_a_teacher_from_outside_cannot_vote(private: dict[str, Any], tmp_path: Path, start_weights: str) -> None:
    private["stages"]["student"]["teacher"]["of"] = ["teacher-1", start_weights]
    with pytest.raises(RequestError, match="teachers that vote are stages"):
        run_recipe(make_recipe(private, name="private"), tmp_path / "run")


@pytest.mark.parametrize("shard", [[0, 3], [4, 3], [1], [1, 2, 3], ["a", 2]])
def test_a_part_that_cannot_be_is_refused(private: dict[str, Any], shard: list[Any]) -> None:
    private["stages"]["student"]["data"] = {"shard": shard}
    with pytest.raises(RequestError, match=r"stages\.student\.data\.shard"):
        make_recipe(private, name="private")
