"""What a search has found: the students that it tried, and those that no other is better than in every way."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from distilnlp.whole_files import whole_file

__all__ = ["Front", "Tried", "draw_front", "pareto", "render_front"]

VERSION = 1
HEADER = ("student", "score", "kept", "ms", "speed", "spread", "MB", "steps")
NAME_WIDTH = 56


@dataclass(frozen=True)
class Tried:
    """A student that was trained.

    Args:
        student: in words.
        candidate: in the terms of the search.
        steps: of its longest training.
        score: on the held-out examples, as it is served.
        share: of the teacher's score that it keeps; 1 is all of it.
        ms: a text by itself, on one thread.
        speedup: how many times as fast as its teacher.
        spread: the least and greatest speedup that a third of the turns by itself tells.
        mb: its weights, in MB (1e6 bytes).
        on_front: whether no other keeps as much, as fast, and as small.
        chosen: whether it is the one that was looked for.
        failed: what it lacks after its training in full; None of one that has all, or was not brought that far.
    """

    student: str
    candidate: Mapping[str, Any]
    steps: int
    score: float
    share: float
    ms: float
    speedup: float
    spread: tuple[float, float]
    mb: float
    on_front: bool = False
    chosen: bool = False
    failed: str | None = None


@dataclass(frozen=True)
class Front:
    """What ``search.json`` holds.

    Args:
        task, main_metric: what was learned, and the score.
        goal: what was asked for.
        teacher: its name, score, ms and MB.
        tried: all students that were trained.
        refused: what was not, each with its reason.
        minutes, processor_minutes: that all processes took, of the clock and of processors.
        outcome: what was found, or that none was and which comes nearest; empty before the end.
        versions: of the libraries.
    """

    task: str
    main_metric: str
    goal: Mapping[str, float]
    teacher: Mapping[str, Any]
    tried: Sequence[Tried]
    refused: Sequence[str] = ()
    minutes: float = 0.0
    processor_minutes: float = 0.0
    outcome: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> Tried | None:
        """The student that was looked for; None where none was found."""
        return next((row for row in self.tried if row.chosen), None)

    def to_json(self) -> str:
        """As a file holds it."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def pareto(rows: Sequence[Tried]) -> list[Tried]:
    """Students, the fastest first, with those marked that no other is better than in share, time and size."""

    def is_worse(row: Tried, other: Tried) -> bool:
        ours, theirs = ((each.share, -each.ms, -each.mb) for each in (row, other))
        return ours != theirs and all(own <= their for own, their in zip(ours, theirs, strict=True))

    marked = [replace(row, on_front=not any(is_worse(row, other) for other in rows)) for row in rows]
    return sorted(marked, key=lambda row: row.ms)


def render_front(front: Front) -> str:
    """The Pareto front as a table, the fastest first, with the teacher below."""
    rows = [row for row in front.tried if row.on_front]
    cells = [
        (
            row.student,
            f"{row.score:.4f}",
            f"{row.share:.1%}",
            f"{row.ms:.2f}",
            f"{row.speedup:.1f}x",
            f"{row.spread[0]:.1f}-{row.spread[1]:.1f}",
            f"{row.mb:.1f}",
            str(row.steps),
        )
        for row in rows
    ]
    teacher = front.teacher
    cells.append(
        (
            "teacher",
            f"{teacher['score']:.4f}",
            "100.0%",
            f"{teacher['ms']:.2f}",
            "1.0x",
            "-",
            f"{teacher['mb']:.1f}",
            "-",
        )
    )
    widths = [max(len(line[i]) for line in (HEADER, *cells)) for i in range(len(HEADER))]
    lines = (HEADER, tuple("-" * width for width in widths), *cells)
    table = "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )
    return (
        f"{table}\n\n{len(rows)} of {len(front.tried)} trained students, the others are worse in every way than one of"
        f" these\nscore: {front.main_metric}, as it is served; ms: a text by itself, on one thread, the best of many"
        " turns with the teacher"
    )


def draw_front(front: Front, path: Path) -> None:
    """Draw share against time, the size as the area of each point, into an svg file; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for rows, colour, label in (
        ([row for row in front.tried if not row.on_front], "lightgrey", "other students"),
        ([row for row in front.tried if row.on_front and not row.chosen], "tab:blue", "Pareto front"),
        ([row for row in front.tried if row.chosen], "tab:red", "chosen"),
    ):
        if rows:
            sizes = [8 * row.mb / front.teacher["mb"] * 20 + 10 for row in rows]
            axes.scatter([row.ms for row in rows], [row.share for row in rows], sizes, colour, label=label)
    axes.scatter([front.teacher["ms"]], [1.0], [170.0], "black", marker="s", label="teacher")
    axes.axhline(front.goal["keep"], color="black", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="ms a text, one thread", ylabel=f"share of the teacher's {front.main_metric}")
    axes.legend()
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="svg")
