"""Which stages several seeds repeat, what the further ones are called, and what cannot be meant."""

from typing import Any

import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe import Recipe, load_recipe, make_recipe
from distilnlp.recipe.seeds import models_by_seed, repeated_stages, stages_of_seeds
from distilnlp.yaml_text import read_yaml

TEACHER = {"model": "owner/start"}
STUDENT = {"teacher": "teacher", "student": {"from": "teacher", "layers": 1}, "objective": {"soft_target": {}}}
CONTROL = {"like": "student", "teacher": None, "objective": None}
PLAIN = {"teacher": TEACHER, "control": CONTROL, "student": STUDENT}


def recipe(stages: dict[str, Any] = PLAIN, **more: Any) -> Recipe:
    return make_recipe({"data": {"task": "films.csv"}, "seeds": [1, 2], "stages": stages, **more}, name="films")


def test_control_and_student_are_repeated_and_the_teacher_is_not():
    made = recipe()
    assert [*made.stages] == ["teacher", "control", "student", "control-seed-2", "student-seed-2"]
    assert {name: stage.training.get("seed") for name, stage in made.stages.items()} == {
        "teacher": None,
        "control": 1,
        "student": 1,
        "control-seed-2": 2,
        "student-seed-2": 2,
    }
    again = made.stages["student-seed-2"]
    assert again.model_copy(update={"training": {}}) == made.stages["student"].model_copy(update={"training": {}})


def test_the_first_seed_says_nothing_where_it_is_the_recipes_own():
    """So that a run of one seed can go on with more."""
    made = recipe(seed=1)
    assert made.stages["student"] == recipe(seed=1, seeds=None).stages["student"]


def test_a_recipe_is_kept_as_it_was_written():
    made = recipe()
    kept = made.to_dict()
    assert [*kept["stages"]] == ["teacher", "control", "student"] and kept["seeds"] == [1, 2]
    assert make_recipe(read_yaml(made.to_yaml(), "kept")[0], name="films").stages == made.stages


@pytest.mark.parametrize(("said", "seeds"), [(3, [42, 43, 44]), ([5], [5]), ([9, 0], [9, 0])])
def test_a_number_counts_on_from_the_recipes_seed(said, seeds):
    made = recipe(seeds=said)
    assert made.seeds == seeds
    assert len(made.stages) == 1 + 2 * len(seeds)


@pytest.mark.parametrize(
    ("stages", "again"),
    [
        # an assistant is taught, so that it is another one for each seed
        ({**PLAIN, "ta": STUDENT, "small": {**STUDENT, "teacher": "ta"}}, ["control", "student", "ta", "small"]),
        # what students are cut from or start from is made once
        (
            {
                "teacher": TEACHER,
                "cut": {"kind": "transform", "student": {"from": "teacher", "layers": 2}},
                "student": {**STUDENT, "student": None, "model": "cut"},
            },
            ["student"],
        ),
        # what is made of a student follows it, trained or not
        (
            {"teacher": TEACHER, "student": STUDENT, "small": {"kind": "transform", "student": {"from": "student"}}},
            ["student", "small"],
        ),
        # a model that nobody is made of is the one that is compared
        ({"teacher": TEACHER}, ["teacher"]),
        ({"teacher": TEACHER, "other": TEACHER, "student": STUDENT}, ["other", "student"]),
        ({"first": TEACHER, "further": {"model": "first"}}, ["first", "further"]),
        (
            {**PLAIN, "small": {"kind": "transform", "student": {"from": "control", "layers": 1}}},
            ["control", "student", "small"],
        ),
        # what writes the texts gives data, which are alike for all seeds
        (
            {
                "writer": {"model": "owner/masked-lm"},
                "teacher": TEACHER,
                "student": {**STUDENT, "data": {"generate": {"kind": "masked_words", "model": "writer"}}},
            },
            ["student"],
        ),
    ],
)
def test_what_is_compared_is_repeated(stages, again):
    stages = {name: {k: v for k, v in stage.items() if v is not None} for name, stage in stages.items()}
    stages = {name: CONTROL if "like" in stage else stage for name, stage in stages.items()}
    assert repeated_stages(recipe(stages).to_dict()) == again


def test_a_stage_that_is_repeated_is_made_of_those_with_its_seed():
    stages = {
        "teacher": TEACHER,
        "ta": STUDENT,
        "voted": {**STUDENT, "teacher": {"kind": "ensemble", "of": ["teacher", "ta", "owner/model"]}},
        "late": {**STUDENT, "parts": {"some_part": {"model": "ta"}}},
        "best": {**STUDENT, "teacher": {"of_best": ["ta", "late"]}},
        "small": {**STUDENT, "teacher": {"model": "ta@checkpoint-200"}, "student": {"from": "ta", "layers": 1}},
        "terms": {**STUDENT, "teacher": ["teacher", "ta"], "objective": {"soft_target": {"teacher": "ta"}}},
    }
    made = stages_of_seeds(recipe(stages).to_dict())
    assert made["voted-seed-2"]["teacher"]["of"] == ["teacher", "ta-seed-2", "owner/model"]
    assert made["best-seed-2"]["teacher"]["of_best"] == ["ta-seed-2", "late-seed-2"]
    assert made["small-seed-2"]["teacher"] == "ta-seed-2@checkpoint-200"
    assert made["small-seed-2"]["student"]["from"] == "ta-seed-2"
    assert made["late-seed-2"]["parts"]["some_part"]["model"] == "ta-seed-2"
    assert made["terms-seed-2"]["objective"]["soft_target"]["teacher"] == "ta-seed-2"
    assert made["small"]["student"]["from"] == "ta", "the first seed keeps its names"


def test_of_several_tasks_each_has_a_model_for_each_seed():
    student = {
        "student": {"from": "owner/start", "layers": 1},
        "data": {"tasks": {"a": {"task": "a.csv"}, "b": {"task": "b.csv"}}},
    }
    made = recipe({"student": student, "after": {"kind": "transform", "student": {"from": "student-a"}}})
    assert made.owners["student-seed-2-a"] == ("student-seed-2", "a")
    assert made.stages["after-seed-2"].start == "student-seed-2-a"
    assert models_by_seed(made.to_dict()) == {
        "student-a": ("student-a", 1),
        "student-b": ("student-b", 1),
        "after": ("after", 1),
        "student-seed-2-a": ("student-a", 2),
        "student-seed-2-b": ("student-b", 2),
        "after-seed-2": ("after", 2),
    }


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (0, "seeds is 0: should be how many, 1 to 1000, or a list of seeds"),
        (-3, "seeds is -3: should be how many"),
        ([], r"seeds is \[\]: should be how many"),
        ([1, 5, 1], "should be different seeds, and 1 is there twice"),
        ([1, -5], "seeds.1 is -5: should be greater than or equal to 0"),
        ([2**32], "should be less than 4294967296"),
        (["a"], "seeds.0 is 'a': should be a valid integer"),
        (True, "seeds is True: should be a valid list"),
        (1.5, "seeds is 1.5: should be a valid list"),
    ],
)
def test_seeds_that_are_none_are_refused(seeds, message):
    with pytest.raises(RequestError, match=message):
        recipe(seeds=seeds)


def test_a_seed_of_its_own_contradicts(tmp_path):
    own = {**STUDENT, "training": {"seed": 7}}
    with pytest.raises(RequestError, match=r"stages.student.training.seed is 7, and seeds trains it with 1, 2"):
        recipe({"teacher": TEACHER, "student": own})
    kept = recipe({"teacher": {**TEACHER, "training": {"seed": 7}}, "student": STUDENT})
    assert kept.stages["teacher"].training == {"seed": 7}, "what is made once may have one"


def test_a_name_that_a_seed_needs_is_not_taken_twice():
    with pytest.raises(RequestError, match=r"seeds makes a stage 'student-seed-2', and there is one of this name"):
        recipe({**PLAIN, "student-seed-2": STUDENT})
    long = "s" * 99
    with pytest.raises(RequestError, match="at most 100; it names a folder"):
        recipe({"teacher": TEACHER, long: STUDENT})


def test_a_mistake_in_a_stage_is_told_at_its_line(tmp_path):
    file = tmp_path / "films.yaml"
    file.write_text(
        "seeds: 2\ndata: {task: films.csv}\nstages:\n  student:\n    model: owner/start\n    training: {}\n"
    )
    made = load_recipe(file)
    assert str(made.error(("stages", "student-seed-43", "model"), "wrong")) == "films.yaml line 5: wrong"
