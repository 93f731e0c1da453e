"""How a score rises with the amount of text that a student learns from, over several runs."""

from collections.abc import Mapping, Sequence

from distilnlp.errors import RequestError
from distilnlp.report.schema import StageResult
from distilnlp.run.finding import Finding, Value
from distilnlp.run.page import FinishedRun

__all__ = ["control_of", "learning_curve"]


def control_of(student: StageResult, rows: Sequence[StageResult]) -> float | None:
    """The score of the control with the same seed, on the same examples; None without one."""
    controls = (row for row in rows if row.role == "control" and row.held_out == student.held_out)
    return next((row.score for row in controls if row.seed == student.seed), None)


def learning_curve(read: Mapping[str, FinishedRun]) -> Finding:
    """Students beside their controls by the number of texts: where more text stops to help, and the teacher does not.

    Args:
        read: by the folders of the runs.
    Source: Phuong & Lampert 2019, "Towards Understanding Knowledge Distillation", arXiv:2105.13093, whose students
        never get worse with more text ("strong monotonicity").
    Raises:
        RequestError: no student whose training texts are known.
    """
    found: list[tuple[int, list[Value]]] = []
    held_out: set[str | None] = set()
    for run, finished in read.items():
        for student in finished.evidence.report.stages:
            task = (finished.tasks or {}).get(student.stage)
            count = None if task is None or task.train is None else len(task.train)
            if student.role != "student" or student.exported or student.score is None or count is None:
                continue
            control = control_of(student, finished.evidence.report.stages)
            gain = None if control is None else student.score - control
            found.append((count, [run, student.stage, count, control, student.score, gain]))
            held_out.add(student.held_out)
    if not found:
        raise RequestError(f"{', '.join(read)}: no student with a score whose training texts can still be read")
    notes = []
    if len({count for count, _ in found}) == 1:
        notes.append(
            "one amount of text is no curve: give the folders of runs of one recipe with several data.max_train."
        )
    if len(held_out) > 1:
        notes.append("the runs were measured on other held-out texts: their scores are not one curve.")
    rows = [row for _, row in sorted(found, key=lambda each: each[0])]
    header = ("run", "student", "training texts", "control", "score", "over the control")
    return Finding("learning-curve", ", ".join(read), header, rows, notes)
