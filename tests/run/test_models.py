"""The models of a run that are neither a start nor a teacher: what a part works with."""

from pathlib import Path
from typing import Any

import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe import make_recipe
from distilnlp.run import make_plan, run_recipe
from tests.killing import largest_difference
from tests.masked import masked_folder
from tests.run.conftest import TRAINING
from tests.tiny import piece_tokenizer

PART = {"generator_steps": 1, "student_steps": 2, "weight": 0.5}
WRITER = {"problem": "masked_lm", "training": {**TRAINING, "max_steps": 1, "save_strategy": "no"}}


def with_part(values: dict[str, Any], model: Any, **stages: Any) -> dict[str, Any]:
    """A teacher, and a student whose texts a model changes; other stages between them."""
    student = values["stages"]["student"]
    objective = {key: value for key, value in student["objective"].items() if key != "hidden_state"}
    named = {} if model is None else {"model": model}
    student = {**student, "objective": objective, "parts": {"adversarial_text": {**PART, **named}}}
    return {**values, "stages": {"teacher": values["stages"]["teacher"], **stages, "student": student}}


def run(values: dict[str, Any], folder: Path, **settings: Any) -> None:
    run_recipe(make_recipe(values, name="films"), folder, say=lambda line: None, **settings)


@pytest.mark.slow
def test_a_model_from_outside_changes_the_texts_and_is_told_apart_when_a_run_goes_on(values, tmp_path) -> None:
    outside = masked_folder(tmp_path / "writer", layers=1)
    run(with_part(values, str(outside)), tmp_path / "run")
    run(with_part(values, str(outside)), tmp_path / "run")  # all is finished
    masked_folder(tmp_path / "writer", layers=1, seed=5)
    with pytest.raises(RequestError, match=r"the model .*writer changed: its model.safetensors is now"):
        run(with_part(values, str(outside)), tmp_path / "run")


@pytest.mark.slow
def test_the_model_of_an_earlier_stage_does_too_and_the_stage_is_needed(values, start_weights, tmp_path) -> None:
    recipe = with_part(values, "writer", writer={**WRITER, "model": start_weights})
    with pytest.raises(RequestError, match="the stage 'student' needs 'writer', and it is not finished"):
        run(recipe, tmp_path / "some", stages="teacher,student")
    run(recipe, tmp_path / "whole")
    run(recipe, tmp_path / "some", stages="teacher..writer")
    run(recipe, tmp_path / "some", stages="student")
    models = [tmp_path / each / "student" / "model.safetensors" for each in ("whole", "some")]
    assert largest_difference(*models) == 0.0


def test_the_stage_that_writes_the_texts_of_another_is_needed_by_it(values, start_weights, tmp_path) -> None:
    recipe = with_part(values, "writer", writer={**WRITER, "model": start_weights})
    student = recipe["stages"]["student"]
    student.pop("parts")
    student["objective"] = {"soft_target": {}}
    student["data"] = {
        "generate": {"kind": "masked_words", "model": "writer", "count": 8},
        "validation": values["data"]["task"],
    }
    with pytest.raises(RequestError, match="the stage 'student' needs 'writer', and it is not finished"):
        run(recipe, tmp_path / "some", stages="teacher,student")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "stages.student.parts.adversarial_text works with a model: give 'model'"),
        (3, "stages.student.parts.adversarial_text works with a model: give 'model'"),
        ("student", "'student', a stage that does not come earlier"),
        ("teecher", "did you mean 'teacher'"),
        ("teacher", "stages.student: adversarial_text changes texts with a masked language model, and .* is for"),
        ("PIECES", "stages.student: the model of adversarial_text does not read the student's tokens"),
    ],
)
def test_a_model_that_would_not_do_is_refused_before_anything_is_trained(values, tmp_path, model, message) -> None:
    if model == "PIECES":
        folder = masked_folder(tmp_path / "pieces", vocab_size=len(piece_tokenizer()))
        piece_tokenizer().save_pretrained(folder)
        model = str(folder)
    with pytest.raises(RequestError, match=message):
        run(with_part(values, model), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*/model.safetensors"))


@pytest.mark.slow
def test_a_checkpoint_of_a_stage_is_kept_for_a_part(values, start_weights, tmp_path) -> None:
    training = {**TRAINING, "max_steps": 4, "save_steps": 2}
    writer = {**WRITER, "model": start_weights, "training": training}
    recipe = with_part(values, "writer@checkpoint-2", writer=writer)
    assert make_plan(make_recipe(recipe, name="films")).stages["writer"].checkpoints == {2}
    run(recipe, tmp_path / "run")


def test_a_part_without_a_model_has_none(values) -> None:
    values["stages"]["student"]["parts"] = {"early_exits": {"model": "teacher"}}
    with pytest.raises(RequestError, match=r"unknown key 'model' in stages\.student\.parts\.early_exits"):
        make_plan(make_recipe(values, name="films"))


@pytest.mark.slow
def test_the_folder_of_a_model_is_in_no_card(values, tmp_path) -> None:
    outside = masked_folder(tmp_path / "a-secret-place" / "writer", layers=1)
    run(with_part(values, str(outside)), tmp_path / "run")
    assert "a-secret-place" not in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.slow
def test_what_changes_texts_may_have_another_body(values, tmp_path) -> None:
    """Another architecture with the same vocabulary."""
    outside = masked_folder(tmp_path / "writer", "distilbert", layers=1)
    run(with_part(values, str(outside)), tmp_path / "run")
