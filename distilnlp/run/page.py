"""The page of a run: what it has kept is read from its folder, and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from distilnlp.data.task import Task
from distilnlp.errors import DistilError, RequestError
from distilnlp.html.differences import MOST_TEXTS
from distilnlp.html.evidence import Evidence, Texts
from distilnlp.html.page import render_page, write_page_file
from distilnlp.recipe import load_recipe
from distilnlp.recipe.names import is_stage_name
from distilnlp.report.history import read_history
from distilnlp.report.plotting import HOW_TO_DRAW, can_draw, need_drawing
from distilnlp.report.predictions import Predictions
from distilnlp.report.schema import Report
from distilnlp.report.step_time import read_step_time
from distilnlp.run.evaluation import digest_of, texts_of
from distilnlp.run.folder import PAGE, RECIPE, RunFolder
from distilnlp.run.likeness import SAMPLE, Pair, compare_layers
from distilnlp.run.plan import Plan, make_plan

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["FinishedRun", "read_run", "show_run", "write_page"]

Kept = TypeVar("Kept")


def write_page(run: str | Path, output: str | Path | None = None, *, texts: bool | None = None) -> Path:
    """Write the page of a finished run; nothing is trained or measured again.

    Args:
        run: its folder.
        output: where to; default: ``report.html`` in the run's folder.
        texts: whether held-out texts are shown; None: as the recipe says (``report.texts``).
    Returns:
        Where it is.
    Raises:
        RequestError: no folder of a finished run; a file in it is damaged; matplotlib is not installed.
    """
    need_drawing("the report")
    page = _rendered(read_run(run).evidence, texts)
    return write_page_file(Path(run) / PAGE if output is None else Path(output), page)


def show_run(
    plan: Plan, tasks: Mapping[str, Task], folder: RunFolder, report: Report, say: Callable[[str], object]
) -> None:
    """Write the page at the end of a run; whatever stands in its way is said in a line, and the run is finished.

    Args:
        plan, tasks, folder, report: of the run.
        say: shows one line of text to the user.
    """
    if not plan.recipe.report.html:
        return
    if not can_draw():
        how = f"{HOW_TO_DRAW}, then: distilnlp report {folder.path}"
        say(f"no {PAGE}: matplotlib is not installed ({how})")
        return
    try:
        evidence = _finished(folder, report, plan, tasks).evidence
        write_page_file(folder.path / PAGE, _rendered(evidence, None))
    except DistilError as error:
        say(f"no {PAGE}: {error}")


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, and what can still be read of its recipe and data.

    Args:
        folder: of the run.
        evidence: what it has kept.
        plan, tasks: None where they cannot be read any more; ``why``: in words.
    """

    folder: RunFolder
    evidence: Evidence
    plan: Plan | None
    tasks: Mapping[str, Task] | None
    why: str = ""

    @property
    def pair(self) -> Pair | None:
        """The last student and its teacher, with held-out texts; None where one of them or the texts are missing."""
        student = self.evidence.student
        teacher = None if student is None else self.evidence.teachers.get(student.stage)
        texts = None if student is None else self.evidence.texts.get(student.stage)
        if student is None or teacher is None or texts is None:
            return None
        examples = np.unique(self.evidence.predictions[student.stage].rows)[:SAMPLE]
        places = self.place_of(student.stage), self.place_of(teacher)
        return Pair((student.stage, teacher), places, texts(examples.tolist()), self.pooling_of(teacher))

    def place_of(self, model: str) -> str:
        """The folder of a row of the report; of a teacher from outside its folder elsewhere, or its Hub id."""
        return str(self.folder.stage(model)) if _is_stage(self.folder, model) else model

    def pooling_of(self, model: str) -> str | None:
        """How a teacher from outside makes one vector of a text, as for `load_classifier`."""
        return None if self.plan is None else self.plan.poolings.get(model)


def read_run(run: str | Path) -> FinishedRun:
    """All that a finished run has kept, and what its recipe and data still are.

    Args:
        run: its folder.
    Raises:
        RequestError: no folder of a finished run, or a file in it is damaged.
    """
    folder = RunFolder(Path(run))
    if not folder.path.is_dir():
        raise RequestError(f"'{folder.path}' is not a folder: give the folder of a run, which holds a report.json")
    report = folder.report()
    if report is None:
        raise RequestError(f"'{folder.path}' holds no report.json: it is no run's folder, or the run did not finish")
    plan, tasks, why = None, None, ""
    try:
        from distilnlp.run.runner import load_tasks

        plan = make_plan(load_recipe(folder.path / RECIPE))
        tasks = load_tasks(plan)
    except DistilError as error:
        why = str(error).rstrip(".")
    return _finished(folder, report, plan, tasks, why)


def _rendered(evidence: Evidence, texts: bool | None) -> str:
    said = evidence.report.recipe.get("report")
    private = any(row.privacy is not None for row in evidence.report.stages)
    shown = (not isinstance(said, Mapping) or said.get("texts") is not False) and not private
    return render_page(evidence, texts=MOST_TEXTS if (shown if texts is None else texts) else 0)


def _finished(
    folder: RunFolder, report: Report, plan: Plan | None, tasks: Mapping[str, Task] | None, why: str = ""
) -> FinishedRun:
    predictions, owners = _predictions(folder, report)
    texts, missing = _texts(report, owners, tasks, why)
    evidence = Evidence(
        report=report,
        predictions=predictions,
        teachers=_teachers(report, plan),
        histories=_kept(folder, report, read_history),
        step_times=_kept(folder, report, read_step_time),
        texts=texts,
        label_names=_label_names(report, owners, tasks),
        environment=folder.environment(),
        missing=missing,
    )
    run = FinishedRun(folder, evidence, plan, tasks, why)
    try:
        similarity = None if (pair := run.pair) is None else compare_layers(pair)
    except DistilError as error:
        return replace(run, evidence=replace(evidence, missing={**missing, "similarity": str(error).rstrip(".")}))
    return replace(run, evidence=replace(evidence, similarity=similarity))


def _kept(folder: RunFolder, report: Report, read: Callable[[Path], Kept | None]) -> dict[str, Kept]:
    """By stage; of several tasks what is of the training that all had together stands under its own name."""
    names = dict.fromkeys(each for row in report.stages for each in (row.stage, row.together) if each)
    found = {name: read(folder.stage(name)) for name in names if _is_stage(folder, name)}
    return {name: each for name, each in found.items() if each is not None}


def _is_stage(folder: RunFolder, name: str) -> bool:
    """Whether a row is a finished stage; a teacher from outside may be the folder of another run's."""
    return is_stage_name(name) and folder.is_finished(name)


def _predictions(folder: RunFolder, report: Report) -> tuple[dict[str, Predictions], dict[str, str]]:
    """What each row answered, and whose held-out examples: its own stage's, or of the stage that it teaches."""
    found: dict[str, Predictions] = {}
    owners: dict[str, str] = {}
    own = [row.stage for row in report.stages if _is_stage(folder, row.stage)]
    for name in own:
        found[name], owners[name] = folder.predictions(name), name
        for teacher, answers in folder.teachers(name).items():
            found.setdefault(teacher, answers)
            owners.setdefault(teacher, name)
    rows = {row.stage for row in report.stages}
    return {name: each for name, each in found.items() if name in rows}, owners


def _texts(
    report: Report, owners: Mapping[str, str], tasks: Mapping[str, Task] | None, why: str
) -> tuple[dict[str, Texts], dict[str, str]]:
    """The held-out texts of each row, where the data are still those that were answered."""
    if tasks is None:
        return {}, {"texts": f"the data of the run cannot be read ({why})"}
    found: dict[str, Texts] = {}
    digests: dict[int, str] = {}
    for row in report.stages:
        task = tasks.get(owners.get(row.stage, ""))
        if task is None or task.validation is None:
            continue
        digest = digests.setdefault(id(task.validation), digest_of(task, task.validation))
        if digest != row.held_out:
            return {}, {"texts": "the held-out data are no longer those that the models have answered"}
        found[row.stage] = _reader(task.validation)
    return found, {}


def _reader(data: Dataset) -> Texts:
    def read(places: Sequence[int]) -> list[tuple[Any, ...]]:
        return texts_of(data.select(list(places)))

    return read


def _label_names(
    report: Report, owners: Mapping[str, str], tasks: Mapping[str, Task] | None
) -> dict[str, Sequence[str]]:
    last = report.stages[-1].held_out
    names: dict[str, Sequence[str]] = {}
    for row in report.stages:
        task = None if tasks is None else tasks.get(owners.get(row.stage, ""))
        found = (
            report.label_names if task is None and row.held_out == last else None if task is None else task.label_names
        )
        if found:
            names[row.stage] = found
    return names


def _teachers(report: Report, plan: Plan | None) -> dict[str, str]:
    """Row -> the row that it is compared with."""
    rows = {row.stage: row for row in report.stages}
    first = next((row.stage for row in report.stages if row.role == "teacher"), None)
    found: dict[str, str] = {}
    for name, row in rows.items():
        stage = None if plan is None else plan.stages.get(name)
        teacher = first if stage is None or plan is None else stage.teacher or plan.reference_teacher
        if teacher in rows and teacher is not None and teacher != name and rows[teacher].held_out == row.held_out:
            found[name] = teacher
    return found
