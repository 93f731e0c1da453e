"""Drawings of a run."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilnlp.errors import RequestError, unknown
from distilnlp.report.escape import one_line
from distilnlp.report.history import History, read_history
from distilnlp.report.plotting import need_drawing
from distilnlp.report.schema import Report, StageResult
from distilnlp.run.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

COLOURS = {"teacher": "gray", "control": "tab:blue", "student": "tab:orange"}


def draw(name: str, report: Report, folder: Path) -> "Figure":
    """A drawing by its name. Raises RequestError: see `distilnlp.api.run.Run.plot`."""
    if name not in list(DRAWINGS):  # whatever it is, a list say
        raise unknown("drawing", name, DRAWINGS)
    need_drawing("a drawing")
    return DRAWINGS[name](report, folder)


def _figure(panels: int, height: float) -> "tuple[Figure, list[Any]]":
    """A figure that a notebook shows by itself, whichever backend is set, and its axes."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    figure = Shown(figsize=(min(11, 3.8 * panels + 1), height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _scores(report: Report, folder: Path) -> "Figure":
    """Score, size and latency of each model, as bars."""
    rows = report.stages
    panels: dict[str, Callable[[StageResult], float | None]] = {
        report.main_metric or "score": lambda row: row.score,
        "parameters (millions)": lambda row: (
            None if row.cost is None or row.cost.parameters is None else row.cost.parameters / 1e6
        ),
        "ms a text (median)": lambda row: None if row.cost is None else row.cost.latency_p50_ms,
        "agreement with the teacher": lambda row: None if row.fidelity is None else row.fidelity.agreement,
    }
    known = {
        title: [(row, value) for row in rows if (value := value_of(row)) is not None]
        for title, value_of in panels.items()
    }
    known = {title: found for title, found in known.items() if found}
    if not known:
        raise RequestError(f"{folder}: nothing of its models was measured, so there is nothing to draw")
    figure, all_axes = _figure(len(known), 3)
    for axes, (title, found) in zip(all_axes, known.items(), strict=True):
        # Places and not names, of which two may be alike.
        bars = axes.bar(
            range(len(found)), [value for _, value in found], color=[COLOURS.get(row.role or "") for row, _ in found]
        )
        axes.bar_label(bars, fmt="%.3g")
        axes.set_xticks(range(len(found)), [_short(row.stage) for row, _ in found])
        axes.set_title(title)
        axes.margins(y=0.15)
    return figure


def _curves(report: Report, folder: Path) -> "Figure":
    """The loss of each training by its weighted terms, and the scores on the way."""
    histories = {row.stage: _history(folder, row) for row in report.stages if row.exported is None}
    known = {stage: each for stage, each in histories.items() if each is not None and len(each.steps("loss")) > 1}
    if not known:
        raise RequestError(
            f"{folder} has no log of a training with two losses or more: logging_steps of a stage's training says how "
            "often one is logged"
        )
    scores = {stage: each for stage, each in known.items() if each.steps(f"eval_{report.main_metric}")}
    figure, all_axes = _figure(len(known) + bool(scores), 3.6)
    for axes, (stage, history) in zip(all_axes, known.items(), strict=False):
        axes.plot(history.steps("loss"), history.values("loss"), color="black", linewidth=2, label="loss")
        terms = history.named("weighted/")
        for term in terms if len(terms) > 1 else ():
            axes.plot(history.steps(f"weighted/{term}"), history.values(f"weighted/{term}"), label=_short(term))
        axes.set(title=f"{_short(stage)}: loss by term", xlabel="step")
        if all(value > 0 for value in history.values("loss")):
            axes.set_yscale("log")
        axes.legend()
    if scores:
        for stage, history in scores.items():
            key = f"eval_{report.main_metric}"
            axes = all_axes[-1]
            axes.plot(history.steps(key), history.values(key), marker="o", label=_short(stage))
        axes.set(title=f"{_short(str(report.main_metric))} of the held-out examples", xlabel="step")
        axes.legend()
    return figure


def _history(folder: Path, row: StageResult) -> History | None:
    """How a model was trained; None of a teacher from outside."""
    own = RunFolder(folder)
    return read_history(own.stage(row.stage)) if own.is_finished(row.stage) else None


def _short(name: str) -> str:
    """As a drawing shows it; a dollar would begin a formula."""
    shown = one_line(name)
    return (shown if len(shown) <= 20 else f"...{shown[-17:]}").replace("$", r"\$")


DRAWINGS = {"curves": _curves, "scores": _scores}
