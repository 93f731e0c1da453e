"""Teacher, control and student side by side: from the rows of reports to a table, in plain text and in markdown."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from distilnlp.errors import RequestError
from distilnlp.report.escape import markdown, one_line
from distilnlp.report.schema import Baseline, Cost, Fidelity, Report, Role, StageResult, read_report
from distilnlp.report.scores import SCORES
from distilnlp.report.seeds import averaged, half_width

__all__ = [
    "against_baseline",
    "against_chance",
    "compare_runs",
    "exported_lines",
    "footnotes",
    "markdown_table",
    "read_reports",
    "relative_lines",
    "render_table",
    "table_cells",
    "verdicts",
]

MISSING = "-"
WIDTH = 100
NAME_WIDTH = 18  # the other columns take 81 at their widest, and with several metrics
SPREAD_WIDTH = 6  # of ±0.012, which is more where the score has its metric beside it
SHORT_NAMES = {
    "matthews_correlation": "MCC",
    "pearson": "Pearson",
    "spearmanr": "Spearman",
    "micro_average_precision": "micro AP",
    "macro_average_precision": "macro AP",
}


def compare_runs(run_dirs: Sequence[str | Path]) -> list[StageResult]:
    """The models of several runs, each with the ``run`` it belongs to.

    Raises:
        RequestError: a folder that is not there, or has no readable ``report.json``.
    """
    reports = read_reports(run_dirs)
    return [row.model_copy(update={"run": run}) for run, report in reports.items() for row in report.stages]


def read_reports(run_dirs: Sequence[str | Path]) -> dict[str, Report]:
    """The reports of several runs, by the names of their folders; by their paths where two have one name.

    Raises:
        RequestError: as `compare_runs`.
    """
    if not run_dirs:
        raise RequestError("nothing to compare: give the folder of at least one run")
    folders = [Path(folder) for folder in run_dirs]
    names = [folder.resolve().name for folder in folders]
    return {
        name if names.count(name) == 1 else str(folder): _read(folder)
        for folder, name in zip(folders, names, strict=True)
    }


def _read(folder: Path) -> Report:
    if not folder.is_dir():
        raise RequestError(f"'{folder}' is not a folder: give the folder of a run, which holds a report.json")
    if not (folder / "report.json").is_file():
        raise RequestError(f"'{folder}' holds no report.json: it is no run's folder, or the run did not finish")
    return read_report(folder / "report.json")


def render_table(rows: Sequence[StageResult]) -> str:
    """The table in plain text, at most 100 columns wide, with the relative numbers and how it was measured below."""
    header, *body = _cells(rows, NAME_WIDTH)
    widths = [max(len(line[i]) for line in (header, *body)) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    lines = ["  ".join(_align(line, widths)).rstrip() for line in (header, rule, *body)]
    below = [
        line
        for text in (*verdicts(rows), *relative_lines(rows), *exported_lines(rows), *footnotes(rows))
        for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")
    ]
    return "\n".join([*lines, "", *below] if below else lines)


def _align(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = (cell for cell in line)
    return [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]


def markdown_table(rows: Sequence[StageResult]) -> str:
    """The same table in GitHub's markdown, without the lines below it."""
    header, *body = ([markdown(cell) for cell in line] for line in _cells(rows, None))
    rule = [":---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *body))


def table_cells(rows: Sequence[StageResult]) -> list[list[str]]:
    """The table cell by cell, its header first; names are as somebody else has chosen them."""
    return _cells(rows, None)


def verdicts(rows: Sequence[StageResult]) -> list[str]:
    """A line for each model that is not above the baseline: whatever else is said of it, it has learned nothing.

    The models of several seeds have one line, with what is said of the first of them.
    """
    lines = []
    for row in averaged(rows):
        own = [each for each in rows if each.run == row.run and row.stage in (each.stage, each.repeats)]
        weak = {each.stage: said for each in own if (said := against_baseline(each) or against_chance(each))}
        if weak:
            which = "" if len(own) == 1 else f" (with {len(weak)} of {len(own)} seeds)"
            said = next(iter(weak.values()))
            lines.append(f"{_name(row, rows)}{which}: has learned nothing that shows: {said}")
    return lines


def against_baseline(row: StageResult) -> str | None:
    """In words, that a model's score is not above the baseline's; None where it is, or was not measured."""
    baseline = row.baseline
    if baseline is None or row.score is None or baseline.is_beaten:
        return None
    low, high = baseline.gain
    return (
        f"{_metric(row)} {row.score:.3f} on {baseline.rows} held-out rows is not above the {baseline.score:.3f} of the"
        f" baseline ({baseline.answer}, whatever the text is; 95 % interval of the gain {low:+.3f} to {high:+.3f})"
    )


def against_chance(row: StageResult) -> str | None:
    """In words, that a model without a score answers as its teacher no more than chance would; None where it does."""
    if row.score is not None or row.fidelity is None:
        return None
    beyond = row.fidelity.agreement if row.fidelity.kappa is None else row.fidelity.kappa
    if beyond > 0:
        return None
    return (
        f"its agreement of {row.fidelity.agreement:.3f} with the teacher is what answers without the text would have"
    )


def relative_lines(rows: Sequence[StageResult]) -> list[str]:
    """For each student and control, its score, size and speed relative to the teacher of the same run.

    A score says nothing of one on other held-out examples, so such two are not set against each other. Of several
    seeds the means are.
    """
    rows, lines = averaged(rows), []
    for row in rows:
        teacher = _of_same_run(rows, row, "teacher")
        if row.role == "teacher" or teacher is None:
            continue
        facts = [*_score_facts(row, teacher, _of_same_run(rows, row, "control")), *_cost_facts(row, teacher)]
        if facts:
            lines.append(f"{_name(row, rows)}: {', '.join(facts)}")
    return lines


def _score_facts(row: StageResult, teacher: StageResult, control: StageResult | None) -> list[str]:
    if row.score is None:
        return _agreement_facts(row)
    facts, metric = [], _metric(row)
    of_teacher, of_control = _score_beside(row, teacher), _score_beside(row, control)
    known = SCORES.get(row.main_metric or "")
    # A share of a correlation <= 0, or of an error, says nothing.
    if (known is None or known.higher_is_better) and of_teacher is not None and of_teacher > 0:
        facts.append(f"keeps {100 * row.score / of_teacher:.1f} % of the teacher's {metric}")
    if row.role == "student" and of_control is not None:
        facts.append(f"{row.score - of_control:+.3f} {metric} over the control{_interval(row)}")
    return facts


def _interval(row: StageResult) -> str:
    """Where the gain over the control may lie with all seeds; empty of one seed."""
    if row.over_seeds is None or row.over_seeds.gain is None:
        return ""
    low, high = row.over_seeds.gain.interval
    beyond = "" if low > 0 or high < 0 else ", with 0 in it"
    return f" (95 % interval over {len(row.over_seeds.seeds)} seeds {low:+.3f} to {high:+.3f}{beyond})"


def _agreement_facts(row: StageResult) -> list[str]:
    """What there is to say where the held-out texts have no labels."""
    if row.fidelity is None:
        return []
    values = row.fidelity.model_dump(exclude_none=True)
    agreement = values.pop("agreement")
    more = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
    return [f"agreement {agreement:.3f} with the teacher ({more}) on held-out texts without labels"]


def _score_beside(row: StageResult, other: StageResult | None) -> float | None:
    """The score of another model, where it is on the same examples."""
    return None if other is None or other.held_out != row.held_out else other.score


def _cost_facts(row: StageResult, teacher: StageResult) -> list[str]:
    """Ratios to the teacher, each said so that a number over 1 is a gain."""
    mine, theirs = row.cost or Cost(), teacher.cost or Cost()
    pairs: list[tuple[float | None, float | None, str]] = [
        (mine.latency_p50_ms, theirs.latency_p50_ms, "faster at batch 1"),
        (theirs.throughput_per_s, mine.throughput_per_s, "the texts/s"),
    ]
    if row.exported:  # of as many numbers as the model, each of which may take less
        pairs.append((mine.disk_mb, theirs.disk_mb, "smaller on disk"))
    else:
        pairs.append((mine.parameters, theirs.parameters, "smaller"))
    return [f"{other / own:.2f}x {text}" for own, other, text in pairs if own and other]


def exported_lines(rows: Sequence[StageResult]) -> list[str]:
    """For each exported file its score, size and speed beside the model it was made of, and what stays in fp32."""
    lines = []
    for row in rows:
        made = row.exported
        if made is None:
            continue
        model = next((each for each in rows if each.stage == made.of and each.run == row.run), None)
        facts = [] if model is None else [*_change(row, model), *_cost_facts(row, model)]
        facts.append(f"logits differ by up to {made.difference:.1e} on {made.compared} texts")
        if made.in_fp32:
            facts.append(f"in fp32 for its score: {', '.join(map(one_line, made.in_fp32))}")
        lines.append(f"{_name(row, rows)}, beside {one_line(made.of)}: {', '.join(facts)}")
    return lines


def _change(row: StageResult, model: StageResult) -> list[str]:
    """Of the score, where both were measured on the same examples."""
    if row.score is None or _score_beside(row, model) is None or model.score is None:
        return []
    return [f"{_metric(row)} {row.score - model.score:+.4f}"]


def _of_same_run(rows: Iterable[StageResult], row: StageResult, role: Role) -> StageResult | None:
    """The first of a role; one that was measured on the same examples before any other."""
    found = [each for each in rows if each.role == role and each.run == row.run]
    return min(found, key=lambda each: each.held_out != row.held_out, default=None)


def footnotes(rows: Sequence[StageResult]) -> list[str]:
    """How the numbers were measured; only what the rows say."""
    rows, notes = averaged(rows), []
    costs = [row.cost for row in rows if row.cost is not None]
    how = {
        f"{one_line(cost.device)}, {cost.threads} thread{'' if cost.threads == 1 else 's'}, {one_line(cost.dtype)}"
        for cost in costs
        if cost.device and cost.threads and cost.dtype
    }
    if any(cost.latency_p50_ms is not None for cost in costs):
        where = f", on {' / '.join(sorted(how))}" if how else ""
        notes.append(f"ms: one text at a time; texts/s: batches of 32; without tokenising{where}.")
    last = {row.run: row.held_out for row in rows}
    others = [_name(row, rows) for row in rows if row.held_out != last[row.run]]
    if others:
        notes.append(
            f"on other held-out examples than the last model, so not to be compared with it: {', '.join(others)}."
        )
    notes += _seeds(rows)
    notes += _means(rows)
    notes += [_memory(row, name, rows) for row in rows for name in row.retained]
    notes += [_choice(row, rows) for row in rows if row.chosen is not None]
    answers = dict.fromkeys(row.baseline.answer for row in rows if row.baseline is not None)
    if answers:
        notes.append(f"baseline: {', or '.join(answers)}, whatever the text is.")
    meanings = dict.fromkeys(row.problem.agreement_meaning for row in rows if row.fidelity is not None)
    if meanings:
        notes.append(f"agreement: {', or '.join(meanings)}.")
    return notes


def _seeds(rows: Sequence[StageResult]) -> list[str]:
    """What was trained with several seeds, what each gave, and how much the intervals say."""
    notes = []
    for row in rows:
        if (found := row.over_seeds) is None:
            continue
        pairs = zip(found.seeds, found.scores, strict=False)
        each = ", ".join(f"{score:.3f} ({seed})" for seed, score in pairs)
        told = f": {_metric(row)} {each}" if each else f" {', '.join(map(str, found.seeds))}"
        notes.append(f"{_name(row, rows)}: {len(found.seeds)} seeds{told}.")
    counts = sorted({len(row.over_seeds.seeds) for row in rows if row.over_seeds is not None and row.over_seeds.score})
    if counts:
        notes.append("±: mean and sample deviation over the seeds, with each of which the model was trained once.")
    paired = sorted({len(row.over_seeds.seeds) for row in rows if row.over_seeds is not None and row.over_seeds.gain})
    for count in paired:
        more = [each for each in (5, 10) if each > count]
        wider = f"; of {' and '.join(map(str, more))} it would reach " if more else ""
        reaches = " and ".join(f"{half_width(each):.1f}" for each in more)
        notes.append(
            f"interval over {count} seeds: a t interval of the mean of student minus control with the same seed, which"
            f" reaches {half_width(count):.1f} deviations of these differences to each side{wider}{reaches}. It is of"
            " other seeds on these held-out examples, not of other examples."
        )
    return notes


def _means(rows: Sequence[StageResult]) -> list[str]:
    """Of the models of several tasks that were trained together the mean of their main scores."""
    stages = dict.fromkeys((row.run, row.together) for row in rows if row.together is not None)
    notes = []
    for run, stage in stages:
        own = [row for row in rows if (row.run, row.together) == (run, stage)]
        scores = [row.score for row in own if row.score is not None]
        if len(scores) == len(own):
            where = f"{run}/" if run and len({each.run for each in rows}) > 1 else ""
            told = ", ".join(f"{one_line(row.task or row.stage)} ({_metric(row)})" for row in own)
            notes.append(f"{one_line(f'{where}{stage}')}: mean over {told} {sum(scores) / len(scores):.3f}.")
    return notes


def _memory(row: StageResult, earlier: str, rows: Sequence[StageResult]) -> str:
    """What a model has forgotten of an earlier task."""
    kept = row.retained[earlier]
    metric = next((_metric(each) for each in rows if each.stage == earlier and each.run == row.run), "score")
    return (
        f"{_name(row, rows)}: {metric} {kept.score:.3f} on the held-out examples of {one_line(earlier)}, which had"
        f" {kept.was:.3f} ({kept.score - kept.was:+.3f})."
    )


def _choice(row: StageResult, rows: Sequence[StageResult]) -> str:
    """Which teacher was chosen for a model, and by what."""
    if row.chosen is None:
        return ""
    scores = ", ".join(f"{one_line(name)} {score:.4f}" for name, score in row.chosen.scores.items())
    return f"{_name(row, rows)}: taught by {one_line(row.chosen.teacher)}, as {row.chosen.by} is the best of {scores}."


def _cells(rows: Sequence[StageResult], name_width: int | None) -> list[list[str]]:
    rows = averaged(rows)
    if not rows:
        raise RequestError("there is nothing to show: the report lists no stages")
    metrics = {_metric(row) for row in rows}
    one_metric = len(metrics) == 1
    if name_width is not None and not one_metric and any(row.over_seeds is not None for row in rows):
        name_width -= SPREAD_WIDTH
    with_kappa = any(row.fidelity is not None and row.fidelity.kappa is not None for row in rows)
    header = ["model", _short(metrics.pop(), 14) if one_metric else "score", "params", "w/o emb.", "MB"]
    # Held-out texts without labels give agreement alone.
    scored = any(row.score is not None for row in rows) or all(row.fidelity is None for row in rows)
    table = [[*header, "ms p50/p95", "texts/s", "agree/kappa" if with_kappa else "agreement"]]
    for row in _with_baselines(rows):
        cost, name = row.cost or Cost(), _name(row, rows)
        score = _score(row)
        latency = "/".join(_milliseconds(value) for value in (cost.latency_p50_ms, cost.latency_p95_ms))
        table.append(
            [
                name if name_width is None else _short(name, name_width),
                score if one_metric else f"{score} {_short(_metric(row), 8)}",
                _count(cost.parameters),
                _count(cost.parameters_without_embeddings),
                _format(cost.disk_mb, "{:.1f}"),
                MISSING if latency == f"{MISSING}/{MISSING}" else latency,
                _format(cost.throughput_per_s, "{:.0f}"),
                _agreement(row.fidelity),
            ]
        )
    return table if scored else [[line[0], *line[2:]] for line in table]


def _with_baselines(rows: Sequence[StageResult]) -> list[StageResult]:
    """The rows, and after those of each run what needs no text, as one more model."""
    shown: list[StageResult] = []
    for run in dict.fromkeys(row.run for row in rows):
        own = [row for row in rows if row.run == run]
        # One for all models that were measured on the same examples and learned from the same.
        found: dict[object, tuple[StageResult, Baseline]] = {}
        for row in own:
            if row.baseline is not None:
                found.setdefault((row.held_out, row.main_metric, row.baseline.score), (row, row.baseline))
        shown += own
        for row, baseline in found.values():
            name = "baseline" if len(found) == 1 else f"baseline ({row.stage})"
            shown.append(StageResult(stage=name, main_metric=row.main_metric, score=baseline.score, run=run))
    return shown


def _score(row: StageResult) -> str:
    """Of several seeds the mean, with the deviation."""
    all_seeds = row.over_seeds.score if row.over_seeds is not None else None
    return _format(row.score, "{:.3f}") + ("" if all_seeds is None else f"±{all_seeds.deviation:.3f}")


def _metric(row: StageResult) -> str:
    metric = one_line(row.main_metric or "score")
    return SHORT_NAMES.get(metric, metric)


def _name(row: StageResult, rows: Sequence[StageResult]) -> str:
    """The stage; with its role where that says more, and its run where there are several."""
    named = row.stage if not row.role or row.role == row.stage else f"{row.stage} ({row.role})"
    return one_line(f"{row.run}/{named}" if len({each.run for each in rows}) > 1 and row.run else named)


def _short(text: str, width: int) -> str:
    """The end of a name is what tells two of them apart, so that is kept."""
    return text if len(text) <= width else f"..{text[2 - width :]}"


def _format(value: float | None, pattern: str) -> str:
    return MISSING if value is None else pattern.format(value)


def _agreement(fidelity: Fidelity | None) -> str:
    if fidelity is None:
        return MISSING
    return "/".join(f"{value:.3f}" for value in (fidelity.agreement, fidelity.kappa) if value is not None)


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
