"""Runs a recipe: its stages in order, those that are finished skipped, a broken one resumed; then the report."""

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from distilnlp.data import load_task
from distilnlp.data.grow import grow_labels
from distilnlp.data.load_generated import MakeTexts
from distilnlp.data.read_labels import read_label_names
from distilnlp.data.shards import shard_of
from distilnlp.data.task import Task
from distilnlp.errors import DistilError, RequestError, RunError
from distilnlp.problems import Problem
from distilnlp.progress import doing
from distilnlp.recipe import DataSpec, Recipe
from distilnlp.recipe.names import as_stage
from distilnlp.recipe.selection import select_stages
from distilnlp.report.compare import render_table
from distilnlp.report.drawing import draw_line
from distilnlp.report.schema import Report
from distilnlp.run.environment import describe_environment
from distilnlp.run.evaluation import Answers, answer_of, head_of, recorded_answers
from distilnlp.run.folder import CARD, PAGE, RunFolder
from distilnlp.run.generate import check_generated, stand_ins
from distilnlp.run.inputs import Inputs
from distilnlp.run.models import Models
from distilnlp.run.page import show_run
from distilnlp.run.plan import Plan, StagePlan, make_plan
from distilnlp.run.private import check_private
from distilnlp.run.reading import check_reading
from distilnlp.run.report import make_report, outsider_result
from distilnlp.run.stage import drop_unneeded, take_task, train_stage, train_together
from distilnlp.run.thresholds import check_thresholds
from distilnlp.run.trial import try_stages
from distilnlp.run.view import viewing
from distilnlp.run.weak_teacher import weak_teacher

__all__ = ["load_tasks", "run_recipe"]

logger = logging.getLogger(__name__)


def run_recipe(
    recipe: Recipe | Plan,
    folder: str | Path,
    *,
    fresh: bool = False,
    stages: str | None = None,
    say: Callable[[str], object] = logger.info,
) -> Report | None:
    """Run a recipe in a folder, or go on with it there, and return its report.

    Run it again after a break: finished stages are skipped, a broken one resumes from its last checkpoint, and the
    weights are those of a run without the break. All models are sketched, the objective is compared with them, every
    stage takes a step on two rows, and teachers from outside are measured, before the first stage is trained.

    Args:
        recipe: as `load_recipe` gives it, or the plan that `make_plan` has made of it.
        folder: where the stages, ``recipe.yaml``, ``environment.json``, ``report.json`` and ``README.md`` are written.
        fresh: delete what an earlier run has left in the folder.
        stages: run only these (see `distilnlp.recipe.selection.select_stages`): ``a``, ``a..b``, ``a..``, ``..b``,
            ``a,c``. What they are made of has to be finished or among them.
        say: shows one line of text to the user; by default it is logged.
    Returns:
        What ``report.json`` holds; None while a stage is still to come, and in all processes but the first.
    Raises:
        RequestError: the recipe asks for what cannot be; the folder holds something else, or a run with other
            settings (says which); a stage that is to be run needs one that is not finished.
        RunError: the training failed; a teacher is not above the baseline, and the recipe does not accept that.
    """
    plan = recipe if isinstance(recipe, Plan) else make_plan(recipe)
    place = RunFolder(Path(folder))
    named = tuple(plan.recipe.stages) if stages is None else select_stages(stages, tuple(plan.recipe.stages))
    chosen = tuple(model for name in named for model in plan.recipe.models_of(name))
    if not _is_first_process():
        _follow(plan, place, chosen)
        return None
    _check_finished_before(chosen, plan, place, fresh=fresh)
    with place.claim(plan.recipe, describe_environment(plan), fresh=fresh):
        place.check_files([*plan.together, *plan.stages])
        report = _old_report(plan, place)
        if report is not None:
            _check_inputs_of_finished(plan, place, say)
            say(f"all stages of {place.path} are finished")
            _wait_for_everyone()
        else:
            with viewing():
                report = _run(plan, place, chosen, say)
        if report is None:
            return None
        say("")
        say(render_table(report.stages))
        say("")
        if (place.path / PAGE).is_file():
            say(f"page  {place.path / PAGE}")
        say(f"run   {place.path}")
        say(f"card  {place.path / CARD}")
        return report


def _check_finished_before(chosen: Sequence[str], plan: Plan, place: RunFolder, *, fresh: bool) -> None:
    """Whether the other stages that the chosen ones are made of are finished. Raises RequestError (says which)."""
    for name in chosen:
        if not fresh and place.is_finished(name):
            continue
        for needed in plan.stages[name].needs:
            stage = plan.stage_of(needed)
            if stage is None or stage.name in chosen or (place.is_finished(stage.name) and not fresh):
                continue
            why = "with --fresh nothing is finished" if fresh else f"it is not finished in {place.path}"
            raise RequestError(
                f"the stage '{name}' needs '{stage.name}', and {why}: run it too, with --stages {stage.name}..{name}"
            )


def _run(plan: Plan, place: RunFolder, chosen: Sequence[str], say: Callable[[str], object]) -> Report | None:
    with doing("loading the data"):
        tasks = load_tasks(plan)
    names = ", ".join(dict.fromkeys(task.name for task in tasks.values()))
    say(f"task {names}, precision {plan.precision}, run in {place.path}")
    say(f"plan  {draw_line(plan.recipe.to_dict())}")
    for note in plan.recipe.notes:
        say(note)
    check_private(plan, tasks)
    inputs = Inputs(place.path, plan, tasks)
    inputs.check(plan.begun(place.is_begun))
    models = Models(plan, tasks, place)
    with doing("checking models and settings with a step of every stage"):
        sketches = models.check()
        _wait_for_everyone()
        try_stages(plan, tasks, models, sketches, chosen)
    outside = _answers_of_outsiders(plan, tasks, models.bodies)
    for name, stage in plan.outsiders.items():
        if name in outside:  # the held-out examples of recorded answers may have none
            _stop_at(weak_teacher(name, plan, place, outsider_result(name, outside[name], tasks[stage.name])))
    inputs.keep()
    _wait_for_everyone()
    for name in chosen:
        _run_stage(plan, name, tasks, models, place, say)
        _stop_at(weak_teacher(name, plan, place))
    to_come = [name for name in plan.stages if not place.is_finished(name)]
    if to_come:
        say(f"still to come: {', '.join(to_come)}; the report is made when all stages are finished")
        return None
    report = make_report(plan, tasks, place, outside, say)
    show_run(plan, tasks, place, report, say)
    return report


def _stop_at(weakness: str | None) -> None:
    if weakness is not None:
        raise RunError(weakness)


def _check_inputs_of_finished(plan: Plan, place: RunFolder, say: Callable[[str], object]) -> None:
    """Whether a finished run is one of the data and models as they are now; where they are gone, that is said."""
    try:
        tasks = load_tasks(plan)
    except DistilError as error:
        say(f"whether the data are still what this run was made of is not known: {error}")
        return
    Inputs(place.path, plan, tasks).check(list(plan.stages))


def _train(
    plan: Plan, name: str, tasks: Mapping[str, Task], models: Models, place: RunFolder, say: Callable[[str], object]
) -> None:
    """Train a stage; of one of several tasks the model that its training leaves, trained if it is not there yet."""
    stage = plan.stages[name]
    if stage.of is None:
        train_stage(stage, tasks[name], models, place, say)
        return
    together = plan.together[stage.of]
    if not place.is_finished(together.name):
        train_together(together, tasks, models, place, say)
    take_task(stage, tasks[name], models, place, say)


def _run_stage(
    plan: Plan, name: str, tasks: Mapping[str, Task], models: Models, place: RunFolder, say: Callable[[str], object]
) -> None:
    if not place.is_finished(name):
        _train(plan, name, tasks, models, place, say)
        return
    task = tasks[name]
    result = place.result(name)
    drop_unneeded(plan, place)  # of a run that was killed between the last two steps of a stage
    score = "" if result.score is None else f", {task.main_metric} {result.score:.4f}"
    say(f"{name}: finished before{score}")


def _follow(plan: Plan, place: RunFolder, chosen: Sequence[str]) -> None:
    """What the other processes of a distributed run do: the same trainings, no word and no report."""
    tasks = load_tasks(plan)
    _wait_for_everyone()
    if _old_report(plan, place) is not None:
        return
    models = Models(plan, tasks, place)
    try_stages(plan, tasks, models, models.check(), chosen)
    _wait_for_everyone()
    for name in chosen:
        if not place.is_finished(name):
            _train(plan, name, tasks, models, place, _say_nothing)
        if weak_teacher(name, plan, place) is not None:
            return  # the first process says so


def _answers_of_outsiders(plan: Plan, tasks: Mapping[str, Task], bodies: Collection[str]) -> dict[str, Answers]:
    """The answers of the teachers that are no stages, to the examples of the first stage that each teaches.

    Those of which nobody reads the head have none.
    """
    found: dict[str, Answers | None] = {}
    for name, stage in plan.outsiders.items():
        if name in bodies:
            continue
        task, pooling = tasks[stage.name], plan.poolings.get(name)
        with doing(f"measuring {name}"):
            found[name] = (
                answer_of(name, task, max_length=stage.data.max_length, pooling=pooling)
                if stage.recorded is None
                else recorded_answers(task)
            )
    return {name: answers for name, answers in found.items() if answers is not None}


def _old_report(plan: Plan, place: RunFolder) -> Report | None:
    """The report that is there, if it is of this recipe and all stages are finished."""
    report = place.report()
    finished = all(place.is_finished(name) for name in plan.stages)
    return report if report is not None and finished and report.recipe == plan.recipe.to_dict() else None


def load_tasks(plan: Plan) -> dict[str, Task]:
    """The data of each stage; what several have in common is loaded once.

    Only a stage with a teacher can do without labels; another one learns from the rows that have one.
    """
    loaded: dict[str, Task] = {}
    tasks: dict[str, Task] = {}
    wanted = {name: stage.data.model_dump_json() for name, stage in plan.stages.items()}
    for name, stage in plan.stages.items():
        taught = [
            each for each in plan.stages.values() if wanted[each.name] == wanted[name] and each.teacher is not None
        ]
        teacher = stage if stage.teacher is not None else next(iter(taught), None)
        key = f"{wanted[name]} {None if teacher is None else teacher.recorded}"
        generated = stand_ins(plan, stage)
        if key not in loaded or generated is not None:
            loaded[key] = _load(stage.data, teacher, tasks, generated)
        tasks[name] = loaded[key]
        check_generated(plan, stage, tasks)
        if stage.teacher is None and stage.spec.kind == "train":
            # Without any label, what the loader says of data that should have some
            tasks[name] = tasks[name].labelled() if tasks[name].is_labelled else _load(stage.data, None, tasks)
        if stage.spec.labels == "grow":
            tasks[name] = _grown(plan, stage, tasks)
    return tasks


def _grown(plan: Plan, stage: StagePlan, tasks: Mapping[str, Task]) -> Task:
    """The data of a stage whose labels go on from those of its start."""
    here = ("stages", stage.name, "labels")
    start = plan.stage_of(stage.start)
    try:
        if start is not None and start.data.task == stage.data.task and start.data.label == stage.data.label:
            before, now = (read_label_names(each.data.label_names) for each in (start, stage))
            if before is not None and now is not None and now[: len(before)] != before:
                raise RequestError(f"an id of {stage.data.task} has one name in {start.name} and another here")
        old = tasks[start.name].label_names if start is not None else head_of(stage.start)[1]
        return grow_labels(tasks[stage.name], old)
    except RequestError as error:
        raise plan.recipe.error(here, f"stages.{stage.name}.labels: {error}") from error


def _load(
    data: DataSpec, taught: StagePlan | None, earlier: Mapping[str, Task], generated: MakeTexts | None = None
) -> Task:
    """The data of a stage, for itself or for one that is ``taught`` with the same data."""

    def known() -> tuple[Problem, tuple[str, ...] | None]:
        name = next(iter(() if taught is None else taught.teaching_models), None)
        if name is None:
            raise RequestError(f"{data.task}: no labels, and no teacher that would tell what they are")
        if (stage := as_stage(name)) in earlier:
            return earlier[stage].problem, earlier[stage].label_names
        return head_of(name)

    task = load_task(
        data.task,
        data_dir=data.data_dir,
        validation=data.validation,
        text=data.text,
        text_pair=data.text_pair,
        label=data.label,
        label_names=data.label_names,
        weight=data.weight,
        problem_type=data.problem_type,
        group_size=data.group_size,
        without_relevant=data.without_relevant,
        translations=data.translations,
        seed=data.seed,
        max_train=data.max_train,
        max_validation=data.max_validation,
        recorded=None if taught is None else taught.recorded,
        optional_labels=taught is not None,
        known=known,
        generated=generated,
    )
    if data.shard is not None and task.train is not None:
        place, count = data.shard
        task = replace(task, train=shard_of(task.train, place, count, data.seed))
    check_thresholds(data, task)
    check_reading(data, task)
    return task


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _wait_for_everyone() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        PartialState().wait_for_everyone()


def _say_nothing(_: str) -> None:
    pass
