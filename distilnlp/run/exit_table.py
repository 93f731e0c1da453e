"""What a model with exits scores, how deep its texts go, and how fast it is, at several thresholds."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distilnlp.data.task import Task
from distilnlp.errors import RequestError
from distilnlp.models.exits import Exiting, check_threshold
from distilnlp.report.plotting import need_drawing
from distilnlp.run.evaluation import check_asked, measured, predictor_for, texts_of
from distilnlp.whole_files import whole_file

__all__ = ["ExitRow", "check_plot", "draw_rows", "exit_rows", "show_rows"]

BAR = 20  # letters of a bar as long as the model is deep


@dataclass(frozen=True)
class ExitRow:
    """What holds at one threshold.

    Args:
        threshold: how uncertain an exit may be of a text that leaves there, 0 to 1.
        score: the task's main metric on its held-out examples.
        mean_depth: layers that a text ran through, on average.
        layers: of the model.
        left: how many texts left after which layer; those of the last have the full model's answer.
        texts_per_second: of the whole way, from text to score, on this machine.
    """

    threshold: float
    score: float
    mean_depth: float
    layers: int
    left: dict[int, int]
    texts_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def exit_rows(
    name: str, task: Task, thresholds: Sequence[float], *, max_length: int | None = None, batch_size: int = 64
) -> list[ExitRow]:
    """Measure a model at each threshold, on the held-out examples of a task.

    Args:
        name: a folder or Hub id.
        task: as `load_task` gives it.
        thresholds: 0 to 1 each.
        max_length: tokens that texts are cut to.
        batch_size: examples at a time; a text that leaves makes its batch smaller.
    Raises:
        RequestError: no threshold, or one outside of 0..1; no exits; a task without labelled held-out examples;
            beside what `answer_of` raises.
    """
    if not thresholds:
        raise RequestError("no exit threshold is given: give some, as 0,0.1,0.3,1")
    for threshold in thresholds:
        check_threshold(threshold)
    check_asked(name, task)
    predictor, task = predictor_for(
        name, task, max_length=max_length, batch_size=batch_size, exit_threshold=thresholds[0]
    )
    backend = predictor.backend
    if not isinstance(backend, Exiting):
        raise RuntimeError("a model with a threshold is one with exits")
    if task.validation is None or "label" not in task.validation.column_names:
        raise RequestError(f"task {task.name} has no held-out examples with labels to be measured on")
    predictor.answered(texts_of(task.validation.select(range(min(batch_size, len(task.validation))))))  # to warm up
    rows = []
    for threshold in thresholds:
        backend.threshold = threshold
        backend.depths.clear()
        started = time.perf_counter()
        _, scores = measured(predictor, task, task.validation)
        speed = len(task.validation) / (time.perf_counter() - started)
        left = dict(sorted(backend.depths.items()))
        rows.append(ExitRow(threshold, scores[task.main_metric], backend.mean_depth, backend.layers, left, speed))
    return rows


def show_rows(rows: Sequence[ExitRow], metric: str) -> str:
    """A table, with the depth as a bar."""
    head = f"{'threshold':>9}  {metric:>{max(8, len(metric))}}  {'layers':>6}  {'texts/s':>8}"
    lines = [head]
    for row in rows:
        bar = "█" * max(1, round(BAR * row.mean_depth / row.layers))
        lines.append(
            f"{row.threshold:>9g}  {row.score:>{max(8, len(metric))}.4f}  {row.mean_depth:>6.2f}"
            f"  {row.texts_per_second:>8.0f}  {bar}"
        )
    return "\n".join(lines)


def check_plot(path: Path) -> None:
    """Raise RequestError where nothing can be drawn: no matplotlib, another ending than svg, png or pdf."""
    need_drawing("the plot")
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise RequestError(f"{path}: a plot is an svg, png or pdf file: name it so, as exits.svg")


def draw_rows(rows: Sequence[ExitRow], metric: str, path: Path) -> None:
    """Draw the score against the speed, a point for each threshold; needs matplotlib.

    Args:
        rows: as `exit_rows` gives them.
        metric: the name of the score.
        path: of the file, as `check_plot` takes it; it is complete or absent.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    ordered = sorted(rows, key=lambda row: row.threshold)
    axes.plot([row.texts_per_second for row in ordered], [row.score for row in ordered], marker="o")
    for row in ordered:
        words = f"{row.threshold:g}: {row.mean_depth:.1f} of {row.layers} layers"
        axes.annotate(words, (row.texts_per_second, row.score), (4, 6), textcoords="offset points", fontsize=8)
    axes.set(xlabel="texts a second", ylabel=metric, title="score and speed by exit threshold")
    axes.margins(x=0.2)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:])
