"""The recipes of schemes run to their end, on tiny models: what they name exists, and their stages fit one another."""

from pathlib import Path

import pytest

from distilnlp.recipe import load_recipe, shipped_recipes
from distilnlp.recipe.names import as_stage, checkpoint_step
from distilnlp.run import run_recipe
from tests.run.conftest import TRAINING

SCHEMES = [name for name in shipped_recipes() if name.startswith("schemes/")]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def settings_for(name: str, start_weights: str, csv_file: str) -> list[str]:
    """The recipe's stages on a tiny start of three layers, 32 wide, for two steps each."""
    shipped = load_recipe(name)
    # Of examples that nobody reads none are held out.
    generates = any(shipped.data_of(stage).generate is not None for stage in shipped.stages)
    held_out = f", validation: {csv_file}" if generates else ""
    settings = [f"data={{task: {csv_file}, max_length: 16{held_out}}}", "precision=fp32", "accept_weak_teacher=true"]
    for stage, spec in load_recipe(name).stages.items():
        here = f"stages.{stage}"
        if MINILM in (spec.model, spec.student and spec.student.from_):
            settings.append(f"{here}.{'model' if spec.model else 'student.from'}={start_weights}")
        if spec.student is not None and isinstance(spec.student.layers, int):
            settings.append(f"{here}.student.layers={min(spec.student.layers, 2)}")
        if spec.kind == "train":
            settings += [f"{here}.training.{key}={TRAINING[key]}" for key in TRAINING.keys() - {"report_to"}]
            settings.append(f"{here}.training.max_steps=2")
        if "adversarial_text" in (spec.parts or {}):  # of two steps one is the student's
            settings.append(f"{here}.parts.adversarial_text.generator_steps=1")
        if spec.data is not None and spec.data.task is not None:  # whose words the tiny tokenizer does not know
            settings.append(f"{here}.data.task={csv_file}")
        settings += [f"{here}.data.tasks.{task}.task={csv_file}" for task in spec.tasks]
        if isinstance(spec.teacher, str) and checkpoint_step(spec.teacher) is not None:
            settings.append(f"{here}.teacher={as_stage(spec.teacher)}@checkpoint-1")
    return settings


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_runs_to_its_end(name: str, tmp_path: Path, start_weights: str, csv_file: str) -> None:
    recipe = load_recipe(name, settings_for(name, start_weights, csv_file))
    report = run_recipe(recipe, tmp_path / "run")
    rows = {row.stage: row for row in report.stages}
    models = recipe.by_task().stages  # of a stage with several tasks one for each
    assert models.keys() <= rows.keys()
    assert rows[list(models)[-1]].score is not None
