"""Teacher, control and student side by side: from the rows of reports to a table, in plain text and in markdown."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from distilnlp.errors import RequestError
from distilnlp.report.scores import SCORES

__all__ = ["Row", "compare_runs", "footnotes", "markdown_table", "number", "part", "relative_lines", "render_table"]

Row = Mapping[str, object]

MISSING = "-"
WIDTH = 100
NAME_WIDTH = 20  # the other columns take 79 at their widest
SHORT_NAMES = {"matthews_correlation": "MCC", "pearson": "Pearson", "spearmanr": "Spearman"}


def part(row: Row, key: str) -> Row:
    """The mapping under ``key``; an empty one when there is none."""
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def number(row: Row, key: str) -> float | None:
    """The number under ``key``; None when there is none."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def compare_runs(run_dirs: Sequence[str | Path]) -> list[Row]:
    """The rows of several runs, each with the ``run``, ``task`` and ``main_metric`` it belongs to.

    Raises:
        RequestError: a folder that is not there, or has no readable ``report.json``.
    """
    if not run_dirs:
        raise RequestError("nothing to compare: give the folder of at least one run")
    folders = [Path(folder) for folder in run_dirs]
    names = [folder.resolve().name for folder in folders]
    rows: list[Row] = []
    for folder, name in zip(folders, names, strict=True):
        report, stages = _read_report(folder)
        shared = {key: report[key] for key in ("task", "main_metric", "problem_type") if key in report}
        run = name if names.count(name) == 1 else str(folder)
        rows.extend({**shared, **stage, "run": run} for stage in stages)
    return rows


def _read_report(folder: Path) -> tuple[Row, list[Row]]:
    """A run's report and its stages."""
    path = folder / "report.json"
    if not folder.is_dir():
        raise RequestError(f"'{folder}' is not a folder: give the folder of a run, which holds a report.json")
    if not path.is_file():
        raise RequestError(f"'{folder}' holds no report.json: it is no run's folder, or the run did not finish")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RequestError(f"'{path}' is not valid JSON ({error}): run the recipe again to write it anew") from error
    stages = report.get("stages") if isinstance(report, dict) else None
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        raise RequestError(f"'{path}' lists no stages: it is not the report of a run of distilnlp")
    return report, stages


def render_table(rows: Sequence[Row]) -> str:
    """The table in plain text, at most 100 columns wide, with the relative numbers and how it was measured below."""
    header, *body = _cells(rows, NAME_WIDTH)
    widths = [max(len(line[i]) for line in (header, *body)) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    lines = ["  ".join(_align(line, widths)).rstrip() for line in (header, rule, *body)]
    below = [
        line
        for text in (*relative_lines(rows), *footnotes(rows))
        for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")
    ]
    return "\n".join([*lines, "", *below] if below else lines)


def _align(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = (cell for cell in line)
    return [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]


def markdown_table(rows: Sequence[Row]) -> str:
    """The same table in GitHub's markdown, without the lines below it."""
    header, *body = ([cell.replace("|", "\\|") for cell in line] for line in _cells(rows, None))
    rule = [":---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *body))


def relative_lines(rows: Sequence[Row]) -> list[str]:
    """For each student and control, its score, size and speed relative to the teacher of the same run."""
    lines = []
    for row in rows:
        teacher = _of_same_run(rows, row, "teacher")
        if row.get("role") == "teacher" or teacher is None:
            continue
        facts = [*_score_facts(row, teacher, _of_same_run(rows, row, "control")), *_cost_facts(row, teacher)]
        if facts:
            lines.append(f"{_name(row, rows)}: {', '.join(facts)}")
    return lines


def _score_facts(row: Row, teacher: Row, control: Row | None) -> list[str]:
    score, reference, metric = number(row, "score"), number(teacher, "score"), _metric(row)
    if score is None or reference is None:
        return []
    facts = []
    # A share of a correlation <= 0, or of an error, says nothing.
    if _higher_is_better(row) and reference > 0:
        facts.append(f"keeps {100 * score / reference:.1f} % of the teacher's {metric}")
    baseline = None if control is None or row.get("role") != "student" else number(control, "score")
    if baseline is not None:
        facts.append(f"{score - baseline:+.3f} {metric} over the control")
    return facts


def _higher_is_better(row: Row) -> bool:
    score = SCORES.get(str(row.get("main_metric")))
    return score is None or score.higher_is_better


def _cost_facts(row: Row, teacher: Row) -> list[str]:
    """Ratios to the teacher, each said so that a number over 1 is a gain."""
    facts = []
    for key, text, inverted in (
        ("latency_p50_ms", "faster at batch 1", False),
        ("throughput_per_s", "the texts/s", True),
        ("parameters", "smaller", False),
    ):
        mine, theirs = number(part(row, "cost"), key), number(part(teacher, "cost"), key)
        if mine and theirs:
            facts.append(f"{mine / theirs if inverted else theirs / mine:.2f}x {text}")
    return facts


def _of_same_run(rows: Iterable[Row], row: Row, role: str) -> Row | None:
    return next((r for r in rows if r.get("role") == role and r.get("run") == row.get("run")), None)


def footnotes(rows: Sequence[Row]) -> list[str]:
    """How the numbers were measured; only what the rows say."""
    notes = []
    costs = [part(row, "cost") for row in rows]
    how = {
        f"{cost['device']}, {cost['threads']} thread{'' if cost['threads'] == 1 else 's'}, {cost['dtype']}"
        for cost in costs
        if {"device", "threads", "dtype"} <= set(cost)
    }
    if any(number(cost, "latency_p50_ms") is not None for cost in costs):
        where = f", on {' / '.join(sorted(how))}" if how else ""
        notes.append(f"ms: one text at a time; texts/s: batches of 32; without tokenising{where}.")
    fidelities = [part(row, "fidelity") for row in rows if part(row, "fidelity")]
    if fidelities:
        regression = any("mae" in fidelity for fidelity in fidelities)
        classes = any("kl" in fidelity for fidelity in fidelities)
        meanings = ["share of equal answers"] * classes + ["Pearson correlation with the teacher"] * regression
        notes.append(f"agreement: {', or '.join(meanings)}.")
    return notes


def _cells(rows: Sequence[Row], name_width: int | None) -> list[list[str]]:
    if not rows:
        raise RequestError("there is nothing to show: the report lists no stages")
    metrics = {_metric(row) for row in rows}
    one_metric = len(metrics) == 1
    header = ["model", _short(metrics.pop(), 14) if one_metric else "score", "params", "w/o emb.", "MB"]
    table = [[*header, "ms p50/p95", "texts/s", "agreement"]]
    for row in rows:
        cost, name = part(row, "cost"), _name(row, rows)
        score = _format(number(row, "score"), "{:.3f}")
        latency = "/".join(_milliseconds(number(cost, f"latency_{p}_ms")) for p in ("p50", "p95"))
        table.append(
            [
                name if name_width is None else _short(name, name_width),
                score if one_metric else f"{score} {_short(_metric(row), 8)}",
                _count(number(cost, "parameters")),
                _count(number(cost, "parameters_without_embeddings")),
                _format(number(cost, "disk_mb"), "{:.1f}"),
                MISSING if latency == f"{MISSING}/{MISSING}" else latency,
                _format(number(cost, "throughput_per_s"), "{:.0f}"),
                _format(number(part(row, "fidelity"), "agreement"), "{:.3f}"),
            ]
        )
    return table


def _metric(row: Row) -> str:
    metric = str(row.get("main_metric") or "score")
    return SHORT_NAMES.get(metric, metric)


def _name(row: Row, rows: Sequence[Row]) -> str:
    """The stage; with its role where that says more, and its run where there are several."""
    stage = str(row.get("stage") or row.get("role") or MISSING)
    role = row.get("role")
    named = stage if not role or role == stage else f"{stage} ({role})"
    return f"{row['run']}/{named}" if len({r.get("run") for r in rows}) > 1 and row.get("run") else named


def _short(text: str, width: int) -> str:
    """The end of a name is what tells two of them apart, so that is kept."""
    return text if len(text) <= width else f"..{text[2 - width :]}"


def _format(value: float | None, pattern: str) -> str:
    return MISSING if value is None else pattern.format(value)


def _milliseconds(value: float | None) -> str:
    return _format(value, "{:.1f}" if value is not None and value < 100 else "{:.0f}")


def _count(value: float | None) -> str:
    """22.7M, 385K or 512."""
    if value is None:
        return MISSING
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}"
