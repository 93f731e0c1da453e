"""Whether a larger, better or longer trained teacher makes a better student: students set beside their teachers."""

from __future__ import annotations

from collections.abc import Mapping

from distilnlp.errors import RequestError
from distilnlp.recipe.names import as_stage, checkpoint_step
from distilnlp.report.escape import one_line
from distilnlp.report.schema import StageResult
from distilnlp.report.scores import SCORES
from distilnlp.run.finding import Finding, Value
from distilnlp.run.learning_curve import control_of
from distilnlp.run.page import FinishedRun

__all__ = ["gap_findings"]


def gap_findings(read: Mapping[str, FinishedRun]) -> list[Finding]:
    """Over all runs, students by the size of their teachers; within a run, those that checkpoints of a stage taught.

    Args:
        read: by the folders of the runs.
    Returns:
        The curve over sizes, and one over steps for each stage of which a checkpoint taught; either may be missing.
    Source: Mirzadeh et al. 2020, "Improved Knowledge Distillation via Teacher Assistant", arXiv:1902.03393 (sizes);
        Cho & Hariharan 2019, "On the Efficacy of Knowledge Distillation", arXiv:1910.01348 (checkpoints).
    Raises:
        RequestError: no student beside its teacher in any run.
    """
    of_sizes = _over_sizes(read)
    found = [] if of_sizes is None else [of_sizes]
    for name, run in read.items():
        found += _over_steps(name, run)
    if not found:
        raise RequestError(f"{', '.join(read)}: the gap is between students and their teachers, and there are no two")
    return found


def _over_sizes(read: Mapping[str, FinishedRun]) -> Finding | None:
    rows: list[tuple[float, list[Value]]] = []
    notes: list[str] = []
    for run, finished in read.items():
        report = finished.evidence.report
        for student in report.stages:
            teacher = report.stage(finished.evidence.teachers.get(student.stage) or "")
            if student.role != "student" or student.exported or teacher is None or student.score is None:
                continue
            size = None if teacher.cost is None else teacher.cost.parameters
            gain = _gain(student, report.stages)
            its = teacher.score if teacher.held_out == student.held_out else None
            cells: list[Value] = [run, teacher.stage, size, its]
            rows.append((float(size or 0), [*cells, student.stage, student.score, gain]))
            notes += _below_control(run, student, gain)
    if not rows:
        return None
    ordered = [cells for _, cells in sorted(rows, key=lambda each: each[0])]
    if len(ordered) == 1:
        notes.append("one teacher is no curve: give the folders of runs with teachers of several sizes.")
    header = ("run", "teacher", "parameters", "its score", "student", "score", "over the control")
    return Finding("gap", ", ".join(read), header, ordered, notes)


def _over_steps(name: str, run: FinishedRun) -> list[Finding]:
    """For each stage of which a checkpoint taught: the students of its checkpoints, and of its last weights."""
    taught: dict[str, list[tuple[int, StageResult]]] = {}
    by_checkpoint: set[str] = set()
    for row in run.evidence.report.stages:
        teacher = _teacher_of(row, run)
        of_stage = None if teacher is None else run.evidence.report.stage(as_stage(teacher))
        if teacher is None or of_stage is None or row.exported or row.score is None:
            continue
        step = checkpoint_step(teacher)
        if step is not None:
            by_checkpoint.add(of_stage.stage)
        taught.setdefault(of_stage.stage, []).append((step or of_stage.steps or 0, row))
    return [_of_stage(name, run, stage, students) for stage, students in taught.items() if stage in by_checkpoint]


def _teacher_of(row: StageResult, run: FinishedRun) -> str | None:
    """Whom a model learned from, as the recipe names it; of several that were tried, the chosen one."""
    if row.chosen is not None:
        return row.chosen.teacher
    stage = None if run.plan is None else run.plan.stages.get(row.stage)
    return None if stage is None else stage.teacher


def _of_stage(name: str, run: FinishedRun, stage: str, students: list[tuple[int, StageResult]]) -> Finding:
    rows: list[list[Value]] = []
    notes: list[str] = []
    missing = []
    for step, student in sorted(students, key=lambda each: each[0]):
        its = _score_at(run, stage, step, student)
        gain = _gain(student, run.evidence.report.stages)
        rows.append([stage, step, its, student.stage, student.score, _kept(student, its), gain])
        notes += _below_control(name, student, gain)
        if its is None:
            missing.append(str(step))
    if missing:
        steps = ", ".join(dict.fromkeys(missing))
        notes.append(
            f"{one_line(stage)} was not measured after {steps} steps on the examples of these students: evaluate it"
            " while it is trained (training: {eval_strategy: steps, eval_steps: ...})."
        )
    if len({row[1] for row in rows}) == 1:
        notes.append(f"one checkpoint is no curve: let others of {one_line(stage)} teach too.")
    header = ("teacher", "step", "its score", "student", "score", "kept", "over the control")
    return Finding("gap", name, header, rows, notes)


def _score_at(run: FinishedRun, stage: str, step: int, student: StageResult) -> float | None:
    """What the teacher had scored after so many steps, on the examples of its student."""
    teacher = run.evidence.report.stage(stage)
    if teacher is None or teacher.held_out != student.held_out or teacher.main_metric != student.main_metric:
        return None
    if step == teacher.steps:
        return teacher.score
    history = run.evidence.histories.get(stage)
    key = f"eval_{teacher.main_metric}"
    measured = {} if history is None else dict(zip(history.steps(key), history.values(key), strict=True))
    return measured.get(step)


def _kept(student: StageResult, its: float | None) -> float | None:
    """The share of its teacher's score; a share of an error, or of a correlation below 0, says nothing."""
    main = SCORES.get(student.main_metric or "")
    says = its is not None and its > 0 and (main is None or main.higher_is_better)
    return student.score / its if says and its is not None and student.score is not None else None


def _gain(student: StageResult, rows: list[StageResult]) -> float | None:
    control = control_of(student, rows)
    return None if control is None or student.score is None else student.score - control


def _below_control(run: str, student: StageResult, gain: float | None) -> list[str]:
    main = SCORES.get(student.main_metric or "")
    if gain is None or not (gain < 0 if main is None or main.higher_is_better else gain > 0):
        return []
    return [
        f"{one_line(student.stage)} of {run} is worse than its control by {abs(gain):.4f}: without the teacher it does"
        " better."
    ]
