"""The recipes by paper run to their end, on tiny models: what they name exists, and their stages fit one another."""

from pathlib import Path

import pytest

from distilnlp.recipe import load_recipe, shipped_recipes
from distilnlp.run import run_recipe
from tests.run.conftest import TRAINING

METHODS = [name for name in shipped_recipes() if name.startswith("methods/")]


def settings_for(name: str, start_weights: str, csv_file: str) -> list[str]:
    """The recipe's stages on a tiny start of three layers, 32 wide, for a step or two."""
    stages = load_recipe(name).stages
    settings = [f"data={{task: {csv_file}, max_length: 16}}", "precision=fp32", "accept_weak_teacher=true"]
    settings.append(f"stages.teacher.model={start_weights}")
    if "random" in stages:
        settings.append(f"stages.random.student.from={start_weights}")
    settings.append("stages.student.student.layers=2")
    for stage in stages:
        for key in TRAINING.keys() - {"report_to"}:
            settings.append(f"stages.{stage}.training.{key}={TRAINING[key]}")
        settings.append(f"stages.{stage}.training.max_steps=2")
    for loss in {"minilmv2", "mgskd"} & set(stages["student"].objective or {}):
        settings.append(f"stages.student.objective.{loss}.relation_heads=4")
    return settings


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_by_paper_runs_to_its_end(name: str, tmp_path: Path, start_weights: str, csv_file: str) -> None:
    recipe = load_recipe(name, settings_for(name, start_weights, csv_file))
    report = run_recipe(recipe, tmp_path / "run")
    rows = {row.stage: row for row in report.stages}
    last = rows[list(recipe.stages)[-1]]
    assert last.role == "student" and last.steps == 2
    assert rows["control"].role == "control" and rows["teacher"].role == "teacher"
