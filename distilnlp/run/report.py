"""A run's end: all its models side by side, in ``report.json`` and the model card."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from distilnlp.data.glue_table import GLUE, GLUE_ID
from distilnlp.data.load import Task
from distilnlp.losses import list_losses
from distilnlp.losses.base import loss_class
from distilnlp.models.loading import resolve_model
from distilnlp.models.predictor import Predictor
from distilnlp.recipe import Recipe
from distilnlp.report.card import render_card
from distilnlp.report.cost import measure_costs
from distilnlp.report.fidelity import fidelity
from distilnlp.report.schema import Cost, Fidelity, Report, Role, StageResult, to_json
from distilnlp.run.environment import library_versions
from distilnlp.run.evaluation import Answers, texts_of
from distilnlp.run.folder import CARD, REPORT, RunFolder
from distilnlp.run.models import start_name
from distilnlp.whole_files import write_text

__all__ = ["eval_split", "make_report", "role_of"]

_SOURCE = re.compile(r"^Source: (.*?)(?=^\w+:|\Z)", re.MULTILINE | re.DOTALL)


def role_of(recipe: Recipe, name: str) -> Role:
    """``student`` has an objective; ``control`` starts as a student does and has none; the rest is ``teacher``."""
    stage = recipe.stages[name]
    if stage.objective is not None:
        return "student"
    students = [other for other in recipe.stages.values() if other.objective is not None]
    taught_by = {start_name(other) for other in students} | {other.teacher for other in students}
    same_start = any((other.model, other.student) == (stage.model, stage.student) for other in students)
    return "control" if name not in taught_by and (stage.student is not None or same_start) else "teacher"


def make_report(
    recipe: Recipe, task: Task, folder: RunFolder, outside: Mapping[str, Answers], say: Callable[[str], object]
) -> Report:
    """Measure agreement and cost of all models of a finished run, and write report and card.

    Args:
        recipe, task, folder: of the run.
        outside: the answers of the teachers that are no stages.
        say: shows one line of text to the user.
    """
    say("measuring size, speed and agreement")
    teacher = _reference_teacher(recipe)
    rows = {name: _of_outsider(name, answers, task) for name, answers in outside.items()}
    rows.update({name: folder.result(name) for name in recipe.stages})
    costs = _costs(recipe, task, folder, list(rows))
    fidelities = _fidelities(recipe, task, folder, rows, outside, teacher)
    report = Report(
        name=recipe.name,
        task=task.name,
        source=task.source,
        dataset_id=task.dataset_id,
        eval_split=eval_split(task),
        problem_type=task.problem.name,
        label_names=None if task.label_names is None else list(task.label_names),
        text_columns=_text_columns(task),
        main_metric=task.main_metric,
        teacher=start_name(recipe.stages[teacher]) if teacher in recipe.stages else teacher,
        stages=[
            row.model_copy(update={"cost": costs[name], "fidelity": fidelities.get(name)})
            for name, row in rows.items()
        ],
        recipe=recipe.to_dict(),
        versions=library_versions(),
        sources=_sources(recipe),
    )
    write_text(folder.path / CARD, render_card(report, stage=list(recipe.stages)[-1]))
    write_text(folder.path / REPORT, to_json(report))
    return report


def _reference_teacher(recipe: Recipe) -> str | None:
    """Whom all are compared with: the teacher of the last stage that has one, else the stage that a student is of."""
    stages = recipe.stages.values()
    teachers = [stage.teacher for stage in stages if stage.teacher is not None]
    makers = [stage.student.from_ for stage in stages if stage.student and stage.student.from_ in recipe.stages]
    return next(reversed(teachers or makers), None)


def _of_outsider(name: str, answers: Answers, task: Task) -> StageResult:
    return StageResult(
        stage=name,
        role="teacher",
        task=task.name,
        problem_type=task.problem.name,
        main_metric=task.main_metric,
        score=answers.metrics[task.main_metric],
        metrics=answers.metrics,
        extra=answers.extra,
    )


def _fidelities(
    recipe: Recipe,
    task: Task,
    folder: RunFolder,
    rows: Mapping[str, StageResult],
    outside: Mapping[str, Answers],
    teacher: str | None,
) -> dict[str, Fidelity]:
    """How often each model answers as its teacher does; the control, which has none, as the last student's."""
    found = {}
    for name, stage in recipe.stages.items():
        reference = stage.teacher or teacher
        if reference is None or rows[name].role == "teacher":
            continue
        own = folder.predictions(name)
        theirs = outside[reference].predictions if reference in outside else folder.predictions(reference)
        found[name] = Fidelity(**fidelity(*own.matched(theirs, (name, reference)), task.problem))
    return found


def _costs(recipe: Recipe, task: Task, folder: RunFolder, names: Sequence[str]) -> dict[str, Cost]:
    places = {name: str(folder.stage(name)) if name in recipe.stages else resolve_model(name) for name in names}
    settings: dict[str, Any] = {"max_length": recipe.data.max_length, "device": torch.device("cpu")}
    models = {name: Predictor.load(place, **settings) for name, place in places.items()}
    folders = {name: Path(place) for name, place in places.items() if Path(place).is_dir()}
    texts = [] if task.validation is None else texts_of(task.validation)
    return measure_costs(models, texts, folders=folders)


def eval_split(task: Task) -> str | None:
    """The split on the Hub that the scores are of; None where they are not known to be of a whole one."""
    if task.dataset_id != GLUE_ID or task.validation is None:
        return None
    split = list(GLUE[task.name].splits)[1]
    return split if len(task.validation) == GLUE[task.name].splits[split] else None


def _text_columns(task: Task) -> list[str]:
    columns = [] if task.validation is None else task.validation.column_names
    return [name for name in ("text", "text_pair") if name in columns]


def _sources(recipe: Recipe) -> dict[str, str]:
    """Where each loss of the recipe was published, from its docstring."""
    used = {name for stage in recipe.stages.values() for name in stage.objective or {}}
    sources = {}
    for name in list_losses():
        found = _SOURCE.search(inspect.getdoc(loss_class(name)) or "")
        if name in used and found:
            sources[name] = " ".join(found[1].split())
    return sources
