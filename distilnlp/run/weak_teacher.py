"""Whether a run has to stop because a teacher knows no more than what needs no text."""

from distilnlp.report.compare import against_baseline
from distilnlp.report.escape import one_line
from distilnlp.report.schema import StageResult
from distilnlp.run.folder import RunFolder
from distilnlp.run.plan import Plan

__all__ = ["weak_teacher"]


def weak_teacher(name: str, plan: Plan, folder: RunFolder, result: StageResult | None = None) -> str | None:
    """Why nobody should learn from a model, in one line; None where somebody may, or nobody does any more.

    Args:
        name: of a stage that is finished, or of a teacher that is no stage.
        plan, folder: of the run.
        result: of the teacher that is no stage; a stage's is read from its folder.
    """
    pupils = [stage.name for stage in plan.pupils(name) if not folder.is_finished(stage.name)]
    if plan.recipe.accept_weak_teacher or not pupils:
        return None
    measured = folder.result(name) if result is None else result
    weakness = against_baseline(measured)
    if weakness is None:
        return None
    return (
        f"{one_line(name)}: {weakness}, so that {pupils[0]} would take over nothing from it: train it longer or with"
        " another learning rate, look at the labels, or go on all the same with --accept-weak-teacher (in a recipe,"
        " accept_weak_teacher: true)"
    )
