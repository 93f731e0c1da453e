"""Several runs on one page; those that differ in nothing but their seeds as one, with the deviation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilnlp.html.blocks import Block, Cell, LeftOut, Notes, Section, Table
from distilnlp.html.models import cost_section, model_table, sentence
from distilnlp.html.page import write_html
from distilnlp.report.compare import footnotes, relative_lines, verdicts
from distilnlp.report.plotting import need_drawing
from distilnlp.report.schema import Report, Spread, StageResult
from distilnlp.report.seeds import averaged, spread

__all__ = ["OverRuns", "over_runs", "render_comparison"]


@dataclass(frozen=True)
class OverRuns:
    """A model that several runs have trained alike, with other seeds.

    Args:
        stage: its name; runs: where.
        metric: the score.
        scores: of each run; ``score``: their mean and sample deviation.
    """

    stage: str
    runs: tuple[str, ...]
    metric: str
    scores: tuple[float, ...]
    score: Spread


def over_runs(reports: Mapping[str, Report]) -> list[OverRuns]:
    """The models that at least two runs have trained by the same recipe but for its seeds, on the same examples.

    Of a run that has several seeds itself its mean counts once.

    Args:
        reports: of the runs, by their names.
    """
    found: dict[str, dict[str, StageResult]] = {}
    for run, report in reports.items():
        recipe = json.dumps(_without_seeds(report.recipe), sort_keys=True, default=str)
        for row in averaged(report.stages):
            if row.score is not None:
                key = json.dumps([recipe, row.stage, row.role, row.held_out, row.main_metric])
                found.setdefault(key, {})[run] = row
    made = []
    for rows in found.values():
        first, scores = next(iter(rows.values())), tuple(row.score or 0.0 for row in rows.values())
        if len(rows) > 1:
            made.append(OverRuns(first.stage, tuple(rows), first.main_metric or "score", scores, spread(scores)))
    return made


def _without_seeds(values: Any) -> Any:
    """A recipe without its name and the seeds of its training; the seed of the data decides what is measured on."""
    if not isinstance(values, Mapping):
        return values
    left_out = ("name", "seed", "seeds") if "stages" in values else ("seed", "data_seed")
    return {
        key: value if key == "data" else _without_seeds(value) for key, value in values.items() if key not in left_out
    }


def render_comparison(reports: Mapping[str, Report]) -> str:
    """Several runs as an HTML page.

    Args:
        reports: name of a run -> its report; at least one.
    Raises:
        RequestError: the drawing library is not installed.
    """
    need_drawing("the report")
    rows = [row.model_copy(update={"run": run}) for run, report in reports.items() for row in report.stages]
    seeds = over_runs(reports)
    caption = "The models of the runs"
    lines = [*relative_lines(rows), *footnotes(rows)]
    shown = averaged(rows)
    blocks: list[Block] = [model_table(shown, {}, caption), Notes([sentence(line) for line in lines])]
    sections: list[Section | LeftOut] = [
        *([_seeds_section(seeds)] if seeds else [LeftOut("Over seeds", "no two runs differ in their seeds alone")]),
        Section("models", "Models", blocks),
        cost_section(shown),
    ]
    return write_html(", ".join(reports), sections, [_best(shown, seeds), *map(sentence, verdicts(rows))])


def _best(rows: Sequence[StageResult], seeds: Sequence[OverRuns]) -> str:
    """What is seen at once."""
    if seeds:
        told = ", ".join(f"{each.stage} {each.score.mean:.3f} ± {each.score.deviation:.3f}" for each in seeds)
        return f"{seeds[0].metric} over {len(seeds[0].runs)} seeds: {told}."
    students = [row for row in rows if row.role == "student" and row.score is not None and not row.exported]
    if len({(row.held_out, row.main_metric) for row in students}) != 1:
        return f"{len({row.run for row in rows})} runs, whose scores are not of the same examples."
    best = max(students, key=lambda row: row.score or 0.0)
    return f"The best student is {best.stage} of {best.run}, with {best.main_metric} {best.score:.3f}."


def _seeds_section(seeds: Sequence[OverRuns]) -> Section:
    cells = [
        [
            Cell(each.stage, foreign=True),
            Cell(each.metric),
            Cell(f"{each.score.mean:.3f}", each.score.mean, note=f"± {each.score.deviation:.3f}"),
            Cell(f"{min(each.scores):.3f}", min(each.scores)),
            Cell(f"{max(each.scores):.3f}", max(each.scores)),
            Cell(str(len(each.scores)), float(len(each.scores)), note=", ".join(each.runs)),
        ]
        for each in seeds
    ]
    header = ["model", "score", "mean ± deviation", "lowest", "highest", "runs"]
    table = Table("Runs that differ in their seeds alone, averaged", header, cells, sorts=True, texts=2)
    return Section("seeds", "Over seeds", [table])
