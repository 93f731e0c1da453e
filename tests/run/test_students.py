"""Students that a recipe makes smaller: measured on the stage's own texts, refused before step 0, plain in the end."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, pipeline

from distilnlp.data import load_task
from distilnlp.errors import RequestError
from distilnlp.recipe import load_recipe, make_recipe, shipped_recipes
from distilnlp.run import run_recipe
from tests.run.conftest import TRAINING
from tests.run.test_schemes import settings_for

STUDENTS = [name for name in shipped_recipes() if name.startswith("students/")]


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_a_recipe_of_students_runs_to_its_end(name: str, tmp_path: Path, start_weights: str, csv_file: str) -> None:
    recipe = load_recipe(name, [*settings_for(name, start_weights, csv_file), *smaller(name)])
    rows = {row.stage: row for row in run_recipe(recipe, tmp_path / "run").stages}
    assert recipe.stages.keys() <= rows.keys()
    for stage in recipe.stages:
        assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / stage).num_labels == 2


def smaller(name: str) -> list[str]:
    """The sizes of a student of a tiny teacher, 32 wide with 64 feed-forward units."""
    sizes = {"intermediate_size": 24, "hidden_size": 16, "embedding_size": 12, "num_hidden_groups": 1}
    stages = load_recipe(name).stages.items()
    pruned = [
        f"stages.{stage}.parts.pruning.intermediate_size=24"
        for stage, spec in stages
        if "pruning" in (spec.parts or {})
    ]
    return pruned + [
        f"stages.{stage}.student.config.{key}={sizes[key]}"
        for stage, spec in stages
        for key in (() if spec.student is None else spec.student.config or {})
        if key in sizes
    ]


def pruned(values: dict[str, Any], **student: Any) -> dict[str, Any]:
    del values["stages"]["control"]
    made = {"from": "teacher", "layers": 2, "layer_map": "importance", "choose": "importance"}
    values["stages"]["student"]["student"] = {**made, "config": {"intermediate_size": 24}, **student}
    return values


@pytest.mark.slow
def test_a_pruned_student_is_a_plain_model_and_learns_from_the_layers_that_it_has(
    values: dict[str, Any], tmp_path: Path
) -> None:
    values["stages"]["student"]["objective"]["attention_scores"] = {}
    run_recipe(make_recipe(pruned(values), name="films"), tmp_path / "run")
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "student")
    assert student.config.num_hidden_layers == len(student.config.distilnlp_kept_layers) == 2
    assert student.bert.encoder.layer[1].intermediate.dense.weight.shape == (24, 32)


@pytest.mark.slow
def test_heads_that_differ_in_number_are_compared_as_before(values: dict[str, Any], tmp_path: Path) -> None:
    values = pruned(values, config={"hidden_size": 16})
    values["stages"]["student"]["objective"]["attention_scores"] = {}
    with pytest.raises(RequestError, match="heads: mean"):
        run_recipe(make_recipe(values, name="films"), tmp_path / "run")
    values["stages"]["student"]["objective"]["attention_scores"] = {"heads": "mean"}
    run_recipe(make_recipe(values, name="films"), tmp_path / "run")
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "student")
    assert (student.config.hidden_size, student.config.num_attention_heads) == (16, 2)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"config": None}, r"stages.student: choose .importance. has nothing to choose from"),
        ({"layers": None}, "as many layers as 'layers' says"),
        ({"init": "random"}, "init 'random' keeps none"),
        ({"layer_map": None, "choose": None, "texts": 9}, "'texts' is for"),
        ({"texts": 0}, "texts"),
    ],
)
def test_what_cannot_be_chosen_is_told_before_anything_is_trained(
    values: dict[str, Any], tmp_path: Path, student: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        run_recipe(make_recipe(pruned(values, **student), name="films"), tmp_path / "run")
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.slow
def test_importance_is_measured_on_texts_that_the_stage_learns_from(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, csv_file: str
) -> None:
    """So many as are wanted, in the length that the recipe cuts them to; where they are made, on those."""
    seen: list[Any] = []
    monkeypatch.setattr(
        "distilnlp.students.build.important_layers", lambda model, count, batches: _noted(seen, batches)
    )
    values = pruned(values, choose=None, texts=7)
    run_recipe(make_recipe(values, name="films"), tmp_path / "run")
    assert [len(batch["input_ids"]) for batch in seen] == [7]
    train = load_task(csv_file).train
    assert train is not None and len(train) > 7
    assert seen[0]["input_ids"].shape[1] <= 16

    seen.clear()
    values["data"]["validation"] = csv_file
    values["stages"]["student"] |= {
        "data": {"generate": {"kind": "random_words", "count": 5, "words": [3, 3]}},
        "objective": {"soft_target": {}},
        "training": {**TRAINING, "max_steps": 1},
    }
    run_recipe(make_recipe(values, name="films"), tmp_path / "made")
    assert [len(batch["input_ids"]) for batch in seen] == [5]


def _noted(seen: list[Any], batches: Any) -> tuple[int, ...]:
    seen[:] = batches
    return (1, 3)


@pytest.mark.slow
def test_a_student_of_another_architecture_reads_the_teachers_tokens(values: dict[str, Any], tmp_path: Path) -> None:
    """The rank is made for the texts of the stage; the folder has all that a pipeline needs."""
    values["stages"]["student"]["student"] = {
        "from": "teacher",
        "layers": 2,
        "architecture": "albert",
        "config": {"embedding_size": 12, "num_hidden_groups": 1},
        "texts": 20,
    }
    values["stages"]["student"]["objective"]["attention_scores"] = {}
    del values["stages"]["control"]
    run_recipe(make_recipe(values, name="films"), tmp_path / "run")
    answer = pipeline("text-classification", str(tmp_path / "run" / "student"))("the film was good")
    assert answer[0]["label"] in ("good", "bad")
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "student")
    assert (student.config.model_type, student.config.embedding_size) == ("albert", 12)
