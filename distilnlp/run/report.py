"""A run's end: all its models side by side, in ``report.json`` and the model card."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from distilnlp.data.glue_table import GLUE, GLUE_ID
from distilnlp.data.grow import grow_labels
from distilnlp.data.task import Task
from distilnlp.losses import list_losses
from distilnlp.losses.base import loss_class, loss_of_entry
from distilnlp.models.loading import resolve_model
from distilnlp.models.predictor import Predictor
from distilnlp.progress import doing
from distilnlp.recipe.seeds import models_by_seed
from distilnlp.report.card import render_card
from distilnlp.report.cost import measure_costs
from distilnlp.report.fidelity import fidelity_of
from distilnlp.report.schema import Cost, Fidelity, Report, Retained, StageResult, to_json
from distilnlp.report.seeds import over_seeds
from distilnlp.run.environment import library_versions
from distilnlp.run.evaluation import Answers, answer_of, combined_answers, texts_of
from distilnlp.run.folder import CARD, REPORT, RunFolder
from distilnlp.run.models import sketch_of
from distilnlp.run.plan import Plan, StagePlan
from distilnlp.teachers import EnsembleTeacher
from distilnlp.whole_files import write_text

__all__ = ["eval_split", "make_report", "outsider_result", "timed_texts"]


def make_report(
    plan: Plan,
    tasks: Mapping[str, Task],
    folder: RunFolder,
    outside: Mapping[str, Answers],
    say: Callable[[str], object],
) -> Report:
    """Measure agreement and cost of all models of a finished run, and write report and card.

    Args:
        plan, folder: of the run.
        tasks: the data of each stage; the report is about that of the last one.
        outside: the answers of the teachers that are no stages.
        say: shows one line of text to the user.
    """
    say("measuring size, speed and agreement")
    with doing("measuring size, speed and agreement"):
        return _report(plan, tasks, folder, outside)


def _report(plan: Plan, tasks: Mapping[str, Task], folder: RunFolder, outside: Mapping[str, Answers]) -> Report:
    recipe, task, teacher = plan.recipe, tasks[plan.last.name], plan.reference_teacher
    ensembles = _ensembles(plan, tasks, folder, outside)
    taught: dict[str | None, StagePlan] = {stage.teacher: stage for stage in plan.stages.values()}
    taught.update(plan.outsiders)
    # An ensemble first: it is whom its student is compared with.
    outside = {**ensembles, **outside}
    rows = {n: outsider_result(n, answers, tasks[taught[n].name]) for n, answers in outside.items()}
    recorded = {stage.recorded.name for stage in plan.stages.values() if stage.recorded is not None}
    rows.update({name: folder.result(name) for name in plan.stages})
    no_model = {*recorded, *ensembles}
    for name in plan.stages:
        of_stage = {each: answers.predictions for each, answers in outside.items() if taught[each].name == name}
        folder.keep_teachers(name, of_stage)
    again = {name: stage.repeats for name, stage in plan.stages.items() if stage.repeats is not None}
    costs = _costs(plan, task, folder, [name for name in rows if name not in no_model and name not in again])
    seeds = {name: seed for name, (_, seed) in models_by_seed(recipe.to_dict()).items()}
    fidelities = _fidelities(plan, tasks, folder, outside, rows)
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
        teacher=_start_of(plan, teacher, no_model),
        stages=over_seeds(
            [
                row.model_copy(
                    update={
                        "cost": costs.get(again.get(name, name)),
                        "fidelity": fidelities.get(name),
                        "retained": _retained(name, plan, tasks, folder),
                        "seed": seeds.get(name),
                        "repeats": again.get(name),
                    }
                )
                for name, row in rows.items()
            ]
        ),
        recipe=recipe.to_dict(),
        versions=library_versions(),
        sources=_sources(plan),
    )
    write_text(folder.path / CARD, render_card(report, stage=plan.last.name))
    write_text(folder.path / REPORT, to_json(report))
    return report


def outsider_result(name: str, answers: Answers, task: Task) -> StageResult:
    """What a teacher that is no stage got on the held-out examples of a task."""
    return StageResult(
        stage=name,
        role="teacher",
        task=task.name,
        problem_type=task.problem.name,
        main_metric=task.main_metric,
        held_out=answers.held_out,
        score=answers.metrics.get(task.main_metric),
        metrics=answers.metrics,
        extra=answers.extra,
        baseline=answers.baseline,
    )


def _ensembles(
    plan: Plan, tasks: Mapping[str, Task], folder: RunFolder, outside: Mapping[str, Answers]
) -> dict[str, Answers]:
    """What the ensembles of a run answer on the held-out examples, where all members were measured on the same."""
    found: dict[str, Answers] = {}
    for stage in plan.stages.values():
        made = None if stage.spec.scheme is None else sketch_of(stage.spec.scheme)
        if not isinstance(made, EnsembleTeacher) or stage.teacher is None or stage.teacher in found:
            continue
        members = stage.teaching_models
        stages = [name for name in members if name in plan.stages]
        held_out = {
            *(folder.result(name).held_out for name in (*stages, stage.name)),
            *(outside[name].held_out for name in members if name in outside),
        }
        if len(held_out) > 1 or any(name not in outside and name not in stages for name in members):
            continue
        predictions = {
            name: outside[name].predictions if name in outside else folder.predictions(name) for name in members
        }
        answers = combined_answers(predictions, made.combination, tasks[stage.name])
        if answers is not None:
            found[stage.teacher] = answers
    return found


def _fidelities(
    plan: Plan,
    tasks: Mapping[str, Task],
    folder: RunFolder,
    outside: Mapping[str, Answers],
    rows: Mapping[str, StageResult],
) -> dict[str, Fidelity]:
    """How often each model answers as its teacher does; the control, which has none, as the last student's.

    A teacher that was measured on other examples, as that of another stage, is not compared; nor is one whose answers
    are tokens of another vocabulary.
    """
    found = {}
    for name, stage in plan.stages.items():
        reference = stage.teacher or plan.reference_teacher
        if reference is None or reference not in rows or stage.role == "teacher":
            continue
        if rows[reference].held_out != rows[name].held_out:
            continue
        own = folder.predictions(name)
        theirs = outside[reference].predictions if reference in outside else folder.predictions(reference)
        agreed = fidelity_of(own, theirs, tasks[name].problem, (name, reference))
        if agreed is not None:
            found[name] = Fidelity.model_validate(agreed)
    return found


def _retained(name: str, plan: Plan, tasks: Mapping[str, Task], folder: RunFolder) -> dict[str, Retained]:
    """What a stage whose labels have grown still knows of the tasks of the stages that it goes back to."""
    stage, found = plan.stages.get(name), {}
    seen = {} if stage is None else {folder.result(name).held_out: name}
    while stage is not None and stage.spec.labels == "grow" and (stage := plan.stage_of(stage.start)) is not None:
        was = folder.result(stage.name)
        if was.score is None or was.held_out in seen:
            continue
        seen[was.held_out] = stage.name
        task = replace(grow_labels(tasks[stage.name], tasks[name].label_names), train=None, extra={})
        answers = answer_of(str(folder.stage(name)), task, max_length=stage.data.max_length)
        found[stage.name] = Retained(score=answers.metrics[task.main_metric], was=was.score)
    return found


def _start_of(plan: Plan, teacher: str | None, no_model: Collection[str]) -> str | None:
    """The start weights of a teacher; None where it is no model of its own."""
    of_several = any(stage.teacher == teacher and stage.spec.scheme is not None for stage in plan.stages.values())
    if teacher is None or teacher in no_model or of_several:
        return None
    return plan.stages[teacher].start if teacher in plan.stages else teacher


def _costs(plan: Plan, task: Task, folder: RunFolder, names: Sequence[str]) -> dict[str, Cost]:
    places = {name: str(folder.stage(name)) if name in plan.stages else resolve_model(name) for name in names}
    settings: dict[str, Any] = {"max_length": plan.last.data.max_length, "device": torch.device("cpu")}
    models = {
        name: Predictor.load(place, pooling=plan.poolings.get(name), **settings) for name, place in places.items()
    }
    folders = {name: Path(place) for name, place in places.items() if Path(place).is_dir()}
    texts = timed_texts(task)
    return measure_costs(models, texts, folders=folders)


def timed_texts(task: Task) -> list[Any]:
    """The held-out texts, as a model is timed on them: each the input of one answer."""
    texts: list[Any] = [] if task.validation is None else texts_of(task.validation)
    if task.problem.taught_alone:
        texts = [(text,) for pair in texts for text in pair if isinstance(text, str)]
    if task.problem.rows == "list":  # what is timed is a pair, of which queries have more or fewer
        texts = [(query, text) for query, listed in texts for text in listed]
    return texts


def eval_split(task: Task) -> str | None:
    """The split on the Hub that the scores are of; None where they are not known to be of a whole one."""
    if task.dataset_id != GLUE_ID or task.validation is None:
        return None
    split = list(GLUE[task.name].splits)[1]
    return split if len(task.validation) == GLUE[task.name].splits[split] else None


def _text_columns(task: Task) -> list[str]:
    # Of vectors single texts are read; only scores are of pairs.
    data = task.train if task.problem.taught_alone else task.validation
    columns = [] if data is None else data.column_names
    return [name for name in ("text", "text_pair") if name in columns]


def _sources(plan: Plan) -> dict[str, str]:
    """Where each loss of the plan was published."""
    used = {loss_of_entry(name) for stage in plan.stages.values() for name in stage.spec.objective or {}}
    losses = {name: loss_class(name) for name in list_losses() if name in used}
    return {name: " ".join(map(str, cls.citations)) or cls.uncited for name, cls in losses.items()}
