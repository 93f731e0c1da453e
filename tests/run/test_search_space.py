"""Which students a search looks at, and the recipe of each."""

from dataclasses import replace

import optuna
import pytest
import torch
from transformers import TrainingArguments

from distilnlp.errors import RequestError
from distilnlp.recipe import Recipe, make_recipe
from distilnlp.run.plan import make_plan
from distilnlp.run.search_space import Candidate, Space, whole_space, without_what_cannot_be
from distilnlp.students import build_student
from tests.tiny import tiny_model

OBJECTIVES = {"states": {"response": {}, "hidden_state": {}}, "answers": {"response": {}}}
BASE = {
    "data": {"task": "films.csv"},
    "stages": {"student": {"teacher": "runs/t", "student": {"from": "runs/t"}, "objective": {"response": {}}}},
}


def space(kind: str = "bert", *, int8: bool = True) -> Space:
    return whole_space(tiny_model(kind, layers=6).config, OBJECTIVES, int8=int8)


def base() -> Recipe:
    return make_recipe(BASE, name="films-search")


SMALL = Candidate(2, "last", 2, 32, 16, 50, True, "answers")


def test_the_first_of_each_choice_is_the_teacher_and_the_others_are_smaller():
    found = space()

    assert found.plain == Candidate(6, "uniform", 4, 64, None, "all", True, "states")
    assert found.layers == (6, 5, 4, 3, 2, 1)
    assert found.heads == (4, 3, 2, 1)
    assert found.units == (64, 40, 32, 24, 8)
    assert found.ranks == (None, 24, 16, 8)
    ours = {(each.layers, each.rank, each.int8) for each in found.corners()}
    assert ours == {(layers, rank, int8) for layers, rank in ((1, None), (1, 8), (0, 8)) for int8 in (False, True)}


def test_there_is_no_int8_where_it_cannot_be_made():
    assert space(int8=False).int8 == (False,)
    assert not space(int8=False).plain.int8


def test_the_recipe_of_a_candidate_says_what_the_candidate_is():
    stage = space().recipe(base(), SMALL, steps=30).to_dict()["stages"]["student"]

    assert stage["student"] == {
        "from": "runs/t",
        "init": "teacher",
        "layers": 2,
        "layer_map": "last",
        "choose": "importance",
        "architecture": "albert",
        "config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "embedding_size": 16,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        "vocabulary": {"data": True, "min_count": 1, "size": 50},
    }
    assert stage["objective"] == {"response": {}}
    assert stage["training"]["max_steps"] == 30
    make_plan(space().recipe(base(), SMALL))


def test_in_full_a_candidate_is_trained_as_the_search_was_told():
    recipe = space().recipe(base(), SMALL)

    assert "max_steps" not in recipe.to_dict()["stages"]["student"]["training"]
    assert recipe.cache == base().cache


@pytest.mark.parametrize(("kind", "given"), [("bert", "hidden_dropout_prob"), ("distilbert", "dropout")])
def test_a_candidate_of_layers_is_trained_without_dropout(kind: str, given: str):
    found = space(kind, int8=False)
    said = found.student(replace(found.plain, layers=2))

    made = build_student(tiny_model(kind, layers=6, **{given: 0.3}), **said)

    assert "choose" not in said
    assert {part.p for part in made.base_model.modules() if isinstance(part, torch.nn.Dropout)} == {0.0}


def test_the_learning_rate_of_a_candidate_is_so_many_times_the_recipes():
    stage = space().recipe(base(), replace(SMALL, rate=4.0)).to_dict()["stages"]["student"]

    assert stage["training"]["learning_rate"] == pytest.approx(4 * TrainingArguments.learning_rate)
    assert "learning_rate" not in space().recipe(base(), SMALL).to_dict()["stages"]["student"]["training"]
    assert space().words(replace(SMALL, rate=4.0)).endswith("answers, 4x learning rate")


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_a_narrower_candidate_is_a_student_that_can_be_made(kind: str):
    found = space(kind, int8=False)
    said = found.student(replace(found.plain, layers=2, heads=2, units=32)) | {"choose": "leading"}
    teacher = tiny_model(kind, layers=6)

    made = build_student(teacher, **said)

    assert made.num_parameters() < teacher.num_parameters() / 2


def test_what_cannot_be_made_is_taken_out_with_its_reason():
    def refused(candidate: Candidate) -> str | None:
        return "no map" if candidate.rank is not None else "no" if candidate.layer_map == "last" else None

    found, told = without_what_cannot_be(space(), refused)

    assert found.ranks == (None,)
    assert found.layer_maps == ("uniform", "first", "importance")
    assert found.heads == space().heads
    assert told == {"layer_map last": "no", "rank 24": "no map"}


def test_a_student_with_fewer_heads_learns_by_the_methods_that_fit_it():
    def refused(candidate: Candidate) -> str | None:
        is_narrow = candidate.heads < 4 or candidate.is_static
        return "heads one by one" if is_narrow and candidate.method == "states" else None

    found, told = without_what_cannot_be(space(), refused)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggested = [found.suggest(study.ask()) for _ in range(60)]

    assert (found.methods, found.narrow_methods, told) == (("states", "answers"), ("answers",), {})
    assert {each.method for each in suggested if each.heads < 4} == {"answers"}
    assert {each.method for each in suggested if each.heads == 4 and not each.is_static} == {"states", "answers"}
    assert {each.method for each in suggested if each.is_static} == {"answers"}


def test_candidates_of_one_shape_differ_in_their_training_alone():
    assert SMALL.shape == replace(SMALL, layer_map="first", method="states", rate=4.0).shape
    assert SMALL.shape != replace(SMALL, int8=False).shape


def test_a_neighbour_differs_in_one_choice():
    found = space()
    one = replace(found.plain, layers=3, units=40, rate=4.0)

    assert found.neighbours(one) == [
        *(replace(one, units=units) for units in (32, 64)),
        replace(one, rate=2.0),
        *(replace(one, layer_map=layer_map) for layer_map in ("first", "last", "importance")),
        replace(one, method="answers"),
    ]
    whole = found.plain
    assert found.neighbours(whole) == [
        replace(whole, units=40),
        replace(whole, rate=2.0),
        replace(whole, method="answers"),
    ]
    assert found.static is not None
    assert found.neighbours(found.static) == []


def test_a_trial_suggests_candidates_of_the_space():
    found = space()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(found.params(replace(SMALL, vocabulary="needed")))

    first = found.suggest(study.ask())
    others = [found.suggest(study.ask()) for _ in range(50)]

    assert first == replace(SMALL, vocabulary="needed")
    assert all(each.layers in (0, *found.layers) and each.units in found.units for each in others)
    assert all(each.layer_map == "uniform" for each in others if each.layers == 6)
    assert (
        {each.rate for each in others if each.layers} == {1, 2, 4} > {each.rate for each in others if not each.layers}
    )


def test_a_static_student_learns_longer_by_larger_steps():
    values = {**BASE, "stages": {"student": {**BASE["stages"]["student"], "training": {"num_train_epochs": 4}}}}
    found = space()
    small = replace(found.static, vocabulary="needed", rank=8)
    stages = [
        found.recipe(make_recipe(values, name="s"), small, steps=steps).to_dict()["stages"] for steps in (None, 9)
    ]

    assert stages[0]["student"]["student"]["architecture"] == "static"
    assert stages[0]["student"]["student"]["config"] == {"hidden_size": 8}
    assert stages[0]["student"]["training"]["num_train_epochs"] == 10
    assert stages[0]["student"]["training"]["learning_rate"] == 1e-2
    assert stages[1]["student"]["training"]["max_steps"] == 9
    assert (found.steps(small, 40), found.steps(found.plain, 40)) == (100, 40)


def test_there_is_no_static_student_where_the_kind_of_task_has_none():
    found, told = without_what_cannot_be(
        space(), lambda candidate: "answered by token" if candidate.is_static else None
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    assert (found.static, told) == (None, {"architecture static": "answered by token"})
    assert not any(found.suggest(study.ask()).is_static for _ in range(50))


def test_the_first_students_are_those_that_just_fit_the_budget():
    """A layer with all its units takes 3, others less, and at most 10 may be. The deepest is tried in three ways."""
    asked: list[Candidate] = []

    def fits(candidate: Candidate) -> bool:
        asked.append(candidate)
        return candidate.layers * {64: 3, 40: 2.5, 32: 2.2, 24: 2}[candidate.units] <= 10

    found = [(each.layers, each.units, each.rate, each.layer_map) for each in space().starts(fits)]

    assert found[:4] == [(*each, 1, "uniform") for each in ((3, 64), (2, 64), (4, 40), (5, 24))]
    assert found[4:] == [(5, 24, 4, "uniform"), (5, 24, 4, "first"), (0, 64, 1, "uniform")]
    assert len(asked) < 10


def test_without_a_budget_the_first_students_are_of_half_the_layers_and_fewer():
    assert [each.layers for each in space().starts()] == [3, 2, 0, 1, 3]


def test_a_student_is_no_smaller_than_one_that_has_no_more_of_anything():
    assert replace(SMALL, layers=3).is_no_smaller(SMALL)
    assert replace(SMALL, vocabulary="all").is_no_smaller(replace(SMALL, vocabulary="needed"))
    assert not SMALL.is_no_smaller(replace(SMALL, vocabulary="needed"))
    assert not replace(SMALL, layers=3, units=24).is_no_smaller(SMALL)
    assert not replace(SMALL, layers=3, int8=False).is_no_smaller(SMALL)
    assert not replace(SMALL, layers=3).is_no_smaller(replace(SMALL, layers=0))


def test_words_say_what_differs_from_the_teacher():
    assert space().words(SMALL) == "2 layers last, 2 heads, ffn 32, rank 16, 50 tokens, int8, answers"
    assert space(int8=False).words(replace(SMALL, layers=1, rank=None, int8=False)).startswith("1 layer last, 2 heads")


def test_a_teacher_without_layers_is_refused():
    config = tiny_model("bert").config
    config.model_type = "static"
    del config.num_hidden_layers

    with pytest.raises(RequestError, match="a static model has none: give another --teacher"):
        whole_space(config, OBJECTIVES, int8=False)
