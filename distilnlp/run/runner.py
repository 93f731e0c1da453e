"""Runs a recipe: its stages in order, those that are finished skipped, a broken one resumed; then the report."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState

from distilnlp.data import load_task
from distilnlp.data.load import Task
from distilnlp.recipe import DataSpec, Recipe
from distilnlp.report.compare import render_table
from distilnlp.report.schema import Report
from distilnlp.run.check import check_recipe
from distilnlp.run.environment import choose_precision, describe_environment
from distilnlp.run.evaluation import Answers, answer_of
from distilnlp.run.folder import CARD, RunFolder
from distilnlp.run.models import Models
from distilnlp.run.report import make_report
from distilnlp.run.stage import train_stage

__all__ = ["run_recipe"]

logger = logging.getLogger(__name__)


def run_recipe(
    recipe: Recipe, folder: str | Path, *, fresh: bool = False, say: Callable[[str], object] = logger.info
) -> Report | None:
    """Run a recipe in a folder, or go on with it there, and return its report (None in all processes but the first).

    Run it again after a break: finished stages are skipped, a broken one resumes from its last checkpoint, and the
    weights are those of a run without the break. All models are built, and the objective is compared with them,
    before the first stage is trained.

    Args:
        recipe: as `load_recipe` gives it.
        folder: where the stages, ``recipe.yaml``, ``environment.json``, ``report.json`` and ``README.md`` are written.
        fresh: delete what an earlier run has left in the folder.
        say: shows one line of text to the user; by default it is logged.
    Returns:
        What ``report.json`` holds.
    Raises:
        RequestError: the recipe asks for what cannot be; the folder holds something else, or a run with other
            settings (says which).
        RunError: the training failed.
    """
    place = RunFolder(Path(folder))
    check_recipe(recipe)
    if not _is_first_process():
        _follow(recipe, place)
        return None
    with place.claim(recipe, describe_environment(recipe), fresh=fresh):
        report = _old_report(recipe, place)
        if report is not None:
            say(f"all stages of {place.path} are finished")
            _wait_for_everyone()
        else:
            report = _run(recipe, place, say)
        say("")
        say(render_table(report.stages))
        say("")
        say(f"run   {place.path}")
        say(f"card  {place.path / CARD}")
        return report


def _run(recipe: Recipe, place: RunFolder, say: Callable[[str], object]) -> Report:
    task = _load(recipe.data)
    say(f"task {task.name}, precision {choose_precision(recipe.precision)}, run in {place.path}")
    models = Models(recipe, task, place)
    models.check()
    _wait_for_everyone()
    for name in recipe.stages:
        _run_stage(recipe, name, task, models, place, say)
    return make_report(recipe, task, place, _answers_of_outsiders(recipe, task), say)


def _run_stage(
    recipe: Recipe, name: str, task: Task, models: Models, place: RunFolder, say: Callable[[str], object]
) -> None:
    if not place.is_finished(name):
        train_stage(recipe, name, task, models, place, say)
        return
    result = place.result(name)
    place.drop_checkpoints(name)  # of a run that was killed between the last two steps of a stage
    say(f"{name}: finished before, {task.main_metric} {result.score:.4f}")


def _follow(recipe: Recipe, place: RunFolder) -> None:
    """What the other processes of a distributed run do: the same trainings, no word and no report."""
    task = _load(recipe.data)
    _wait_for_everyone()
    if _old_report(recipe, place) is not None:
        return
    models = Models(recipe, task, place)
    for name in recipe.stages:
        if not place.is_finished(name):
            train_stage(recipe, name, task, models, place, _say_nothing)


def _answers_of_outsiders(recipe: Recipe, task: Task) -> dict[str, Answers]:
    """The answers of the teachers that are no stages."""
    teachers = [stage.teacher for stage in recipe.stages.values()]
    outside = [name for name in teachers if name is not None and name not in recipe.stages]
    length = recipe.data.max_length
    return {name: answer_of(name, task, max_length=length) for name in dict.fromkeys(outside)}


def _old_report(recipe: Recipe, place: RunFolder) -> Report | None:
    """The report that is there, if it is of this recipe and all stages are finished."""
    report = place.report()
    finished = all(place.is_finished(name) for name in recipe.stages)
    return report if report is not None and finished and report.recipe == recipe.to_dict() else None


def _load(data: DataSpec) -> Task:
    return load_task(
        data.task,
        data_dir=data.data_dir,
        validation=data.validation,
        text=data.text,
        text_pair=data.text_pair,
        label=data.label,
        problem_type=data.problem_type,
        seed=data.seed,
        max_train=data.max_train,
        max_validation=data.max_validation,
    )


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _wait_for_everyone() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        PartialState().wait_for_everyone()


def _say_nothing(_: str) -> None:
    pass
