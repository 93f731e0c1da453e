"""How a score rises with the amount of text that a student learns from, over several runs."""

from collections.abc import Mapping
from pathlib import Path

from distilnlp.errors import DistilError, RequestError
from distilnlp.html.evidence import Evidence
from distilnlp.run.finding import Finding, Value

__all__ = ["learning_curve", "training_texts"]


def training_texts(run: str | Path) -> dict[str, int]:
    """Stage -> how many texts it learns from; empty where the data of the run cannot be read any more.

    Args:
        run: its folder.
    """
    from distilnlp.recipe import load_recipe
    from distilnlp.run.folder import RECIPE
    from distilnlp.run.plan import make_plan
    from distilnlp.run.runner import load_tasks

    try:
        tasks = load_tasks(make_plan(load_recipe(Path(run) / RECIPE)))
    except DistilError:
        return {}
    return {name: len(task.train) for name, task in tasks.items() if task.train is not None}


def learning_curve(read: Mapping[str, Evidence], counts: Mapping[str, Mapping[str, int]]) -> Finding:
    """Students beside their controls by the number of texts: where more text stops to help, and the teacher does not.

    Args:
        read: folder of a run -> what it has kept.
        counts: folder of a run -> stage -> its training texts.
    Source: Phuong & Lampert 2019, "Towards Understanding Knowledge Distillation", arXiv:2105.13093, whose students
        never get worse with more text ("strong monotonicity").
    Raises:
        RequestError: no student whose training texts are known.
    """
    found: list[tuple[int, list[Value]]] = []
    held_out: set[str | None] = set()
    for run, evidence in read.items():
        for student in evidence.report.stages:
            count = counts.get(run, {}).get(student.together or student.stage)
            if student.role != "student" or student.exported or student.score is None or count is None:
                continue
            beside = [each for each in evidence.report.stages if each.held_out == student.held_out]
            control = next((each.score for each in beside if each.role == "control"), None)
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
