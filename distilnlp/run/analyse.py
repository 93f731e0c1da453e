"""What a finished run's answers and layers say: calibration, dark knowledge, fidelity, likeness of layers, the gap."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from distilnlp.analysis.dark_knowledge import DarkKnowledge, dark_knowledge, gradient_ratios
from distilnlp.analysis.representation import proposed_layer_map
from distilnlp.errors import DistilError, RequestError, unknown
from distilnlp.html.calibrated import calibrated
from distilnlp.html.evidence import Answered, Evidence, HeldOut
from distilnlp.report.escape import one_line
from distilnlp.report.fidelity import fidelity
from distilnlp.report.schema import StageResult
from distilnlp.report.scores import SCORES
from distilnlp.run.evaluation import answer_of
from distilnlp.run.page import read_evidence
from distilnlp.run.plan import make_plan

__all__ = ["KINDS", "Finding", "analyse_runs", "findings_to_json", "render_findings"]

TRAIN_ROWS = 200
Value = str | float | int | None


@dataclass(frozen=True)
class Finding:
    """A table of what was found, and what follows from it.

    Args:
        what: the kind, of `KINDS`.
        run: folder of the run.
        header, rows: the table; numbers as they are, None where there is none.
        notes: sentences.
    """

    what: str
    run: str
    header: tuple[str, ...]
    rows: list[list[Value]]
    notes: list[str] = field(default_factory=list)


def analyse_runs(runs: Sequence[str | Path], what: Sequence[str] = (), train_rows: int = TRAIN_ROWS) -> list[Finding]:
    """Look at finished runs; nothing is trained.

    - ``calibration``: of each model ECE, with bins of equal width and of equal count, the largest distance, Brier
      score, NLL, and the temperature that would mend it (see `distilnlp.analysis.calibration`).
    - ``fidelity``: how closely each model answers as its teacher on the held-out texts, on those that the teacher
      has wrong, and on the first texts of the training rows, where the models are asked anew.
    - ``dark-knowledge``: entropy and mass beside the label of each teacher's answers at several temperatures, with a
      temperature to begin from; how much the teacher weighs beside the label in each student's gradients; which
      labels the teacher takes for one another.
    - ``cka``: how alike the layers of the last student and its teacher are, and a layer map that follows from it.
    - ``gap``: over all runs, students beside their teachers, by the size of the teacher: whether a larger or better
      teacher makes a better student, and whether a student is below its control.

    Args:
        runs: their folders.
        what: kinds of `KINDS`; none is all of them that have a meaning for the runs.
        train_rows: how many training texts ``fidelity`` asks the models about; 0 for none.
    Raises:
        RequestError: an unknown kind; no folder of a finished run; a kind that is asked for and has no meaning for a
            run's kind of task, or nothing to look at.
    """
    for each in what:
        if each not in KINDS:
            raise RequestError(unknown("analysis", each, KINDS))
    if not runs:
        raise RequestError("nothing to analyse: give the folder of at least one finished run")
    read = {str(run): read_evidence(run) for run in runs}
    found: list[Finding] = []
    for kind in what or KINDS:
        try:
            if kind == "gap":
                found.append(_gap(read))
                continue
            for run, evidence in read.items():
                found.append(_OF_RUN[kind](run, evidence, train_rows))
        except RequestError:
            if kind in what:
                raise
    if not found:
        raise RequestError(f"there is nothing to analyse in {', '.join(read)}: no answers of classes, and no teacher")
    return found


# ---- one run ----


def _calibration(run: str, evidence: Evidence, _: int) -> Finding:
    made = [calibrated(each) for group in evidence.held_out for each in group.answered]
    rows: list[list[Value]] = [
        [
            *(each.stage, each.now.ece, each.now.adaptive_ece, each.now.mce, each.now.brier, each.now.nll),
            *(each.temperature, each.mended.ece, each.mended.nll),
        ]
        for each in made
        if each is not None
    ]
    if not rows:
        raise RequestError(f"{run}: calibration is of probabilities, which the answers of its kind of task have not")
    header = ("model", "ECE", "adaptive", "MCE", "Brier", "NLL", "best T", "ECE at T", "NLL at T")
    notes = ["ECE, adaptive ECE and MCE in 15 bins; the best T is fitted on the examples that it is shown for."]
    return Finding("calibration", run, header, rows, notes)


def _fidelity(run: str, evidence: Evidence, train_rows: int) -> Finding:
    rows: list[list[Value]] = []
    notes: list[str] = []
    for group in evidence.held_out:
        for each, teacher in _taught(group):
            rows.append([each.row.stage, teacher.row.stage, "held out", *_agreement(each, teacher)])
            wrong = _wrong(teacher)
            if wrong is not None and wrong.any():
                parts = (_part(each, wrong), _part(teacher, wrong))
                rows.append([each.row.stage, teacher.row.stage, "held out, teacher wrong", *_agreement(*parts)])
    if not rows:
        raise RequestError(f"{run}: fidelity is that of a student to its teacher, and no two such answers were kept")
    if train_rows:
        try:
            rows += _on_training_texts(run, evidence, train_rows)
        except DistilError as error:
            notes.append(f"not on training texts: {str(error).rstrip('.')}.")
    header = ("model", "teacher", "texts", "rows", "agreement", "distance")
    meanings = dict.fromkeys(row.problem.agreement_meaning for row in evidence.report.stages if row.fidelity)
    notes += [f"agreement: {meaning}." for meaning in meanings]
    return Finding(
        "fidelity", run, header, rows, [*notes, "distance: KL(teacher || student) in nats, or as the table"]
    )


def _on_training_texts(run: str, evidence: Evidence, count: int) -> list[list[Value]]:
    """The same on training texts; the models of the run that stand as folders in it."""
    from distilnlp.recipe import load_recipe
    from distilnlp.run.folder import RECIPE
    from distilnlp.run.runner import load_tasks

    plan = make_plan(load_recipe(Path(run) / RECIPE))
    tasks = load_tasks(plan)
    rows: list[list[Value]] = []
    for group in evidence.held_out:
        for each, teacher in _taught(group):
            stage = plan.stages.get(each.row.stage)
            task = tasks.get(each.row.stage)
            if stage is None or task is None or task.train is None:
                continue
            texts = task.train.select(range(min(count, len(task.train))))
            asked = replace(task, validation=texts, extra={})
            pair = []
            for one in (each, teacher):
                name = one.row.stage
                place = str(Path(run) / name) if name in plan.stages else name
                answers = answer_of(
                    place, asked, max_length=stage.data.max_length, pooling=plan.poolings.get(name)
                ).predictions
                pair.append(Answered(one.row, answers))
            rows.append([each.row.stage, teacher.row.stage, "training", *_agreement(pair[0], pair[1])])
    return rows


def _dark_knowledge(run: str, evidence: Evidence, _: int) -> Finding:
    rows: list[list[Value]] = []
    notes: list[str] = []
    seen: dict[str, DarkKnowledge] = {}
    for group in evidence.held_out:
        for each, teacher in _taught(group):
            labels = teacher.predictions.labels
            problem = teacher.row.problem
            if not problem.exclusive_classes or not problem.named_labels or labels.dtype.kind not in "iu":
                continue
            known = (labels >= 0) & (labels < teacher.predictions.logits.shape[1])
            if not known.any():
                continue
            logits, right = teacher.predictions.logits[known], labels[known]
            if teacher.row.stage not in seen:
                seen[teacher.row.stage] = found = dark_knowledge(logits, right)
                for place, temperature in enumerate(found.temperatures):
                    rows.append([teacher.row.stage, temperature, found.entropy[place], found.other_mass[place]])
                notes += _in_words(teacher.row.stage, found, group.names)
            told = seen[teacher.row.stage].suggested
            ratios = gradient_ratios(each.predictions.logits[known], logits, right, told)
            notes.append(
                f"in the gradients of {one_line(each.row.stage)} as it ended, at T {told:.1f}, the teacher weighs"
                f" {np.median(ratios):.2f} times as much as the label (median of the texts; a tenth of them below"
                f" {np.quantile(ratios, 0.1):.2f}, a tenth above {np.quantile(ratios, 0.9):.2f})."
            )
    if not rows:
        raise RequestError(f"{run}: dark knowledge is of a teacher's classes, and none of its teachers answers such")
    return Finding("dark-knowledge", run, ("teacher", "T", "entropy", "beside the label"), rows, notes)


def _in_words(stage: str, found: DarkKnowledge, names: Sequence[str] | None) -> list[str]:
    lines = [
        f"{one_line(stage)}: at a temperature of {found.suggested:.1f} its answers are half as open as equal"
        " probabilities: a value to begin from."
    ]
    others = found.confusion.copy()
    np.fill_diagonal(others, -1)
    if len(others) > 2 and not np.isnan(others).all():
        label, other = np.unravel_index(int(np.nanargmax(others)), others.shape)
        called = [one_line(names[int(place)]) if names else str(int(place)) for place in (label, other)]
        lines.append(f"for {called[0]} it holds {called[1]} likeliest, with {others[label, other]:.2f} on average.")
    return lines


def _cka(run: str, evidence: Evidence, _: int) -> Finding:
    found = evidence.similarity
    if found is None:
        why = evidence.missing.get("similarity", "no student and teacher of layers, or their texts are not known")
        raise RequestError(f"{run}: no likeness of layers: {why}")
    header = ("layer", *(f"teacher {layer}" for layer in range(found.values.shape[1])))
    rows: list[list[Value]] = [[f"student {layer}", *map(float, values)] for layer, values in enumerate(found.values)]
    notes = [f"linear CKA of {one_line(found.student)} with {one_line(found.teacher)}, {found.how}; 0: embeddings."]
    if 1 < found.values.shape[0] <= found.values.shape[1]:
        pairs = [list(pair) for pair in proposed_layer_map(found.values).pairs]
        notes.append(f"the layers that are most alike, as a recipe says it: layer_map: {json.dumps(pairs)}")
    return Finding("cka", run, header, rows, notes)


def _taught(group: HeldOut) -> list[tuple[Answered, Answered]]:
    """Each model that is no teacher beside its own, on the same examples."""
    pairs = []
    for each in group.answered:
        teacher = group.find(group.evidence.teachers.get(each.row.stage))
        if teacher is not None and teacher is not each and each.row.role != "teacher":
            pairs.append((each, teacher))
    return pairs


def _agreement(student: Answered, teacher: Answered) -> list[Value]:
    own, others = student.predictions, teacher.predictions
    problem = student.row.problem
    texts = None if own.found is None or others.found is None else (own.found, others.found)
    found = fidelity(
        *(own.logits, others.logits, problem.decided_by(own.thresholds), problem.decided_by(others.thresholds)),
        examples=own.rows,
        found=texts,
    )
    return [len(own.rows), found["agreement"], found.get("kl", found.get("mae"))]


def _wrong(answered: Answered) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Which rows a model has wrong; None of a kind whose answers are not right or wrong by the row."""
    problem, own = answered.row.problem, answered.predictions
    if not problem.exclusive_classes or own.labels.ndim != 1 or own.labels.dtype.kind not in "iu":
        return None
    decided = np.asarray(own.decisions(problem))
    if decided.shape != own.labels.shape:
        return None
    found: np.ndarray[Any, np.dtype[np.bool_]] = decided != own.labels
    return found


def _part(answered: Answered, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> Answered:
    own = answered.predictions
    texts = None if own.found is None else tuple(own.found[place] for place in np.flatnonzero(chosen))
    kept = replace(own, rows=own.rows[chosen], labels=own.labels[chosen], logits=own.logits[chosen], found=texts)
    return Answered(answered.row, kept)


# ---- several runs ----


def _gap(read: dict[str, Evidence]) -> Finding:
    rows: list[tuple[float, list[Value]]] = []
    notes: list[str] = []
    for run, evidence in read.items():
        report = evidence.report
        for student in report.stages:
            teacher = report.stage(evidence.teachers.get(student.stage) or "")
            if student.role != "student" or student.exported or teacher is None or student.score is None:
                continue
            control = _same(report.stages, student, "control")
            size = None if teacher.cost is None else teacher.cost.parameters
            gain = None if control is None or control.score is None else student.score - control.score
            cells: list[Value] = [run, teacher.stage, size, teacher.score if _beside(teacher, student) else None]
            rows.append((float(size or 0), [*cells, student.stage, student.score, gain]))
            if gain is not None and _is_worse(student, gain):
                notes.append(
                    f"{one_line(student.stage)} of {run} is worse than its control by {abs(gain):.4f}: without the"
                    " teacher it does better."
                )
    if not rows:
        raise RequestError(f"{', '.join(read)}: the gap is between students and their teachers, and there are no two")
    ordered = [cells for _, cells in sorted(rows, key=lambda each: each[0])]
    if len(ordered) == 1:
        notes.append("one teacher is no curve: give the folders of runs with teachers of several sizes.")
    header = ("run", "teacher", "parameters", "its score", "student", "score", "over the control")
    return Finding("gap", ", ".join(read), header, ordered, notes)


def _is_worse(student: StageResult, gain: float) -> bool:
    main = SCORES.get(student.main_metric or "")
    return gain < 0 if main is None or main.higher_is_better else gain > 0


def _same(rows: Sequence[StageResult], student: StageResult, role: str) -> StageResult | None:
    return next((row for row in rows if row.role == role and _beside(row, student)), None)


def _beside(row: StageResult, other: StageResult) -> bool:
    """Whether both were measured on the same examples."""
    return row.held_out == other.held_out


_OF_RUN: dict[str, Callable[[str, Evidence, int], Finding]] = {
    "calibration": _calibration,
    "fidelity": _fidelity,
    "dark-knowledge": _dark_knowledge,
    "cka": _cka,
}
KINDS = (*_OF_RUN, "gap")


# ---- shown ----


def findings_to_json(found: Sequence[Finding]) -> str:
    """All findings, as strict JSON."""
    return json.dumps({"version": 1, "findings": [asdict(each) for each in found]}, indent=2, allow_nan=False) + "\n"


def render_findings(found: Sequence[Finding]) -> str:
    """All findings as tables in plain text."""
    return "\n\n".join("\n".join(_render(each)) for each in found)


def _render(finding: Finding) -> list[str]:
    cells = [list(finding.header), *([_shown(value) for value in row] for row in finding.rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(finding.header))]
    texts = [all(isinstance(row[place], str) for row in finding.rows) for place in range(len(finding.header))]
    lines = [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, texts, strict=True)
        ).rstrip()
        for line in cells
    ]
    return [f"{finding.what}  {finding.run}", "", lines[0], "  ".join("-" * width for width in widths), *lines[1:]] + (
        ["", *finding.notes] if finding.notes else []
    )


def _shown(value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return one_line(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
