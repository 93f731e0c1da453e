"""The models of a run side by side: the table, what they cost against what they score, how alike their layers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from distilnlp.html.blocks import Block, Cell, LeftOut, Notes, Paragraph, Picture, Section, Table
from distilnlp.html.drawing import INK, SERIES, figure, heat, short, to_svg
from distilnlp.html.evidence import Evidence
from distilnlp.report.compare import exported_lines, footnotes, relative_lines
from distilnlp.report.schema import Cost, StageResult

if TYPE_CHECKING:
    from matplotlib.patches import Rectangle

__all__ = ["cost_section", "model_table", "models_section", "sentence", "similarity_section"]

MOST_NUMBERS = 16  # columns of a map that have room for a number each

Interval = tuple[float, float]


def models_section(evidence: Evidence, intervals: Mapping[str, Interval]) -> Section:
    """The table of the models, with what follows from it in words."""
    rows = evidence.report.stages
    lines = [*relative_lines(rows), *exported_lines(rows), *footnotes(rows)]
    return Section("models", "Models", [model_table(rows, intervals), Notes([sentence(line) for line in lines])])


def sentence(line: str) -> str:
    """A line with a full stop."""
    return line if line.endswith(".") else f"{line}."


def model_table(
    rows: Sequence[StageResult], intervals: Mapping[str, Interval], caption: str = "The models of the run"
) -> Table:
    """Score, size, speed and agreement of models.

    Args:
        rows: of reports.
        intervals: row -> the 95 % interval of its score.
        caption: of the table.
    """
    metrics = {row.main_metric for row in rows if row.score is not None}
    one = len(metrics) == 1
    runs = len({row.run for row in rows}) > 1
    header = [
        *(["run"] if runs else []),
        "model",
        "role",
        (next(iter(metrics)) or "score") if one else "score",
        "parameters",
        "MB",
        "ms, one text",
        "texts/s",
        "agreement",
    ]
    cells = [_model_cells(row, intervals.get(row.stage), one, runs) for row in rows]
    for baseline, row in {row.baseline.score: (row.baseline, row) for row in rows if row.baseline}.values():
        score = Cell(f"{baseline.score:.3f}", baseline.score, note="" if one else row.main_metric or "")
        empty = [Cell("", -1.0) for _ in range(5)]
        cells.append([*([Cell("")] if runs else []), Cell("baseline", note=baseline.answer), Cell(""), score, *empty])
    return Table(caption, header, cells, sorts=True, texts=3 if runs else 2)


def _model_cells(row: StageResult, interval: Interval | None, one: bool, runs: bool) -> list[Cell]:
    cost = row.cost or Cost()
    notes = [f"{interval[0]:.3f} to {interval[1]:.3f}"] if interval is not None else []
    notes += [] if one or row.score is None else [row.main_metric or ""]
    return [
        *([Cell(row.run or "", foreign=True)] if runs else []),
        Cell(row.stage, strong=row.role == "student", foreign=True),
        Cell(row.role or ""),
        _number(row.score, "{:.3f}", " ".join(notes)),
        _number(cost.parameters, "{:,.0f}"),
        _number(cost.disk_mb, "{:.1f}"),
        _number(
            cost.latency_p50_ms, "{:.2f}", "" if cost.latency_p95_ms is None else f"p95 {cost.latency_p95_ms:.2f}"
        ),
        _number(cost.throughput_per_s, "{:,.0f}"),
        _number(None if row.fidelity is None else row.fidelity.agreement, "{:.3f}", _kappa(row)),
    ]


def _kappa(row: StageResult) -> str:
    kappa = None if row.fidelity is None else row.fidelity.kappa
    return "" if kappa is None else f"kappa {kappa:.3f}"


def _number(value: float | None, pattern: str, note: str = "") -> Cell:
    return Cell("-", -1.0) if value is None else Cell(pattern.format(value), float(value), note=note)


def cost_section(rows: Sequence[StageResult], name: str = "cost") -> Section | LeftOut:
    """Score against latency, the size as the area of each point."""
    title = "Score against cost"
    drawn: dict[tuple[str | None, str | None], list[StageResult]] = {}
    for row in rows:
        if row.score is not None and row.cost is not None and row.cost.latency_p50_ms:
            drawn.setdefault((row.held_out, row.main_metric), []).append(row)
    groups = [group for group in drawn.values() if len(group) > 1]
    if not groups:
        return LeftOut(title, "fewer than two models have a score on the same examples and a measured speed")
    pictures: list[Block] = [_draw_cost(group, f"{name}-{number}") for number, group in enumerate(groups)]
    return Section(name, title, pictures)


def _draw_cost(rows: Sequence[StageResult], name: str) -> Picture:
    sizes = [(row.cost or Cost()).disk_mb or 1.0 for row in rows]
    colours = {"teacher": SERIES[0], "control": SERIES[1], "student": SERIES[2]}
    told = []
    with figure(5.0, 3.4) as (drawn, axis):
        for row, size in zip(rows, sizes, strict=True):
            cost, score = row.cost or Cost(), row.score or 0.0
            latency = cost.latency_p50_ms or 0.0
            colour = colours.get(row.role or "", SERIES[3])
            axis.scatter([latency], [score], [40 + 500 * size / max(sizes)], colour, alpha=0.75, linewidths=0)
            label = short(f"{row.run}/{row.stage}" if row.run else row.stage)
            axis.annotate(label, (latency, score), xytext=(6, 6), textcoords="offset points", color=INK, fontsize=9)
            told.append(f"{label} {score:.3f} at {latency:.2f} ms and {size:.1f} MB")
        axis.set(xlabel="ms for one text", ylabel=rows[0].main_metric or "score")
        if max((row.cost or Cost()).latency_p50_ms or 1.0 for row in rows) > 5 * min(
            (row.cost or Cost()).latency_p50_ms or 1.0 for row in rows
        ):
            axis.set_xscale("log")
        axis.margins(0.18)
        svg = to_svg(drawn, name)
    return Picture(
        svg,
        f"{rows[0].main_metric} against milliseconds: {'; '.join(told)}.",
        "the area of a point is the size on disk",
    )


def similarity_section(evidence: Evidence) -> Section | LeftOut:
    """How alike the layers of student and teacher are."""
    title, found = "Likeness of layers", evidence.similarity
    if found is None:
        return LeftOut(title, evidence.missing.get("similarity", "there is no student with a teacher of layers"))
    own, theirs = found.values.shape
    numbered = theirs <= MOST_NUMBERS
    with figure(min(5.0, 1.8 + 0.46 * theirs), min(7.0, 1.2 + 0.36 * own)) as (drawn, axis):
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        for student in range(own):
            for teacher in range(theirs):
                value = float(found.values[student, teacher])
                axis.add_patch(_square(teacher, student, heat(0.6 * value)))
                if numbered:
                    text = f"{value:.2f}".removeprefix("0")
                    axis.text(teacher, student, text, ha="center", va="center", fontsize=8.5)
        axis.set(xlim=(-0.5, theirs - 0.5), ylim=(-0.5, own - 0.5), xlabel="layer of the teacher")
        axis.set_ylabel("layer of the student")
        axis.set_xticks(range(0, theirs, 1 if numbered else 4))
        axis.set_yticks(range(own))
        svg = to_svg(drawn, "similarity")
    best = found.values.argmax(axis=1)
    told = ", ".join(
        f"student layer {layer} is most like teacher layer {best[layer]} ({found.values[layer, best[layer]]:.2f})"
        for layer in range(own)
    )
    return Section(
        "similarity",
        title,
        [
            Paragraph(
                f"Linear CKA of each layer of {found.student} with each of {found.teacher}, {found.how}: 1 is the same"
                " but for rotation and scale, 0 nothing in common. Layer 0 is the embeddings."
                + ("" if numbered else " The numbers: distilnlp analyse RUN --what cka.")
            ),
            Picture(svg, f"CKA: {told}."),
        ],
    )


def _square(x: float, y: float, colour: str) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, color=colour, linewidth=0)
