"""Smoothed labels are a loss: said in Trainer's words they become it, with a word, or are refused."""

from typing import Any

import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe import Recipe, load_recipe, make_recipe

FACTOR = {"label_smoothing_factor": 0.1}
SMOOTH = {"label_smoothing": {"epsilon": 0.1}}


def recipe(*settings: str, **stage: Any) -> Recipe:
    stages = {"student": {"model": "m", "training": FACTOR, **stage}}
    return make_recipe({"data": {"task": "mrpc"}, "stages": stages}, name="mine", settings=settings)


def test_the_labels_alone_become_smoothed_ones() -> None:
    made = recipe()
    assert made.stages["student"].objective == SMOOTH
    assert made.stages["student"].training == {}
    assert made.notes == [
        "student: label_smoothing_factor 0.1 is the loss label_smoothing here, in place of hard_label"
    ]


def test_it_takes_the_place_of_hard_label_with_its_weight_and_the_order() -> None:
    objective = {"response": {"weight": 0.5}, "hard_label": {"weight": 0.3, "class_weights": "balanced"}}
    made = recipe(teacher="t", objective=objective)
    assert made.stages["student"].objective == {
        "response": {"weight": 0.5},
        "label_smoothing": {"weight": 0.3, "class_weights": "balanced", "epsilon": 0.1},
    }


def test_each_stage_of_a_shipped_recipe_learns_what_it_says() -> None:
    made = load_recipe("mrpc", ["stages.student.training.label_smoothing_factor=0.2"])
    assert made.stages["student"].objective is not None
    assert made.stages["student"].objective["label_smoothing"] == {"weight": 0.5, "epsilon": 0.2}
    assert "hard_label" not in made.stages["student"].objective
    assert made.stages["control"].objective == {"label_smoothing": {"epsilon": 0.2}}  # which is like the student
    assert made.stages["teacher"].objective is None
    assert [note.partition(":")[0] for note in made.notes] == ["control", "student"]
    assert load_recipe("mrpc").notes == []


@pytest.mark.parametrize("stage", [{"training": {"label_smoothing_factor": 0}}, {"kind": "transform"}])
def test_nothing_is_said_where_nothing_is_smoothed(stage: dict[str, Any]) -> None:
    made = recipe(**stage)
    assert (made.notes, made.stages["student"].objective, made.stages["student"].training) == ([], None, {})


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ({"training": {"label_smoothing_factor": 1}}, "is 1: a number from 0 to below 1"),
        ({"training": {"label_smoothing_factor": "much"}}, "is 'much': a number"),
        ({"training": {"label_smoothing_factor": True}}, "is True: a number"),
        ({"teacher": "t", "objective": {"response": {}}}, "has no hard_label"),
        ({"objective": {"label_smoothing": {}}}, "in the objective too"),
        ({"teacher": "t"}, "has a teacher and no 'objective'"),
    ],
)
def test_what_it_cannot_smooth_is_refused(stage: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        recipe(**stage)


def test_what_the_new_loss_lacks_is_told_where_it_was_written(tmp_path: Any) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "data: {task: mrpc}\nstages:\n  student:\n    model: m\n    objective:\n      hard_label:\n"
        "        pos_weight: 2\n    training: {label_smoothing_factor: 0.1}\n"
    )
    from distilnlp.run.plan import make_plan

    with pytest.raises(RequestError, match=r"^r.yaml line 7: .*pos_weight"):
        make_plan(load_recipe(path))
