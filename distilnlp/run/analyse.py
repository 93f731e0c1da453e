"""What a finished run's answers and layers say: calibration, dark knowledge, fidelity, likeness of layers, the gap."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from distilnlp.analysis.dark_knowledge import DarkKnowledge, dark_knowledge, gradient_ratios
from distilnlp.analysis.representation import proposed_layer_map
from distilnlp.errors import DistilError, RequestError, unknown
from distilnlp.html.calibrated import calibrated
from distilnlp.html.evidence import Answered, HeldOut
from distilnlp.report.escape import one_line
from distilnlp.report.fidelity import fidelity
from distilnlp.run.analyse_layers import attention_finding, rank_finding
from distilnlp.run.analyse_texts import attribution_finding, geometry_finding
from distilnlp.run.evaluation import answer_of
from distilnlp.run.finding import Finding, Value
from distilnlp.run.gap import gap_findings
from distilnlp.run.learning_curve import learning_curve
from distilnlp.run.page import FinishedRun, read_run

__all__ = ["ASKED", "KINDS", "Finding", "analyse_runs", "findings_to_json", "render_findings"]

TRAIN_ROWS = 200


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
      teacher makes a better student, and whether a student is below its control. Where checkpoints of one stage have
      taught, a table of its own for it, by their steps.

    Only where they are asked for by name, as `ASKED`:

    - ``attention``: how far each head of the last student is from the teacher's heads.
    - ``rank``: how many directions the vectors of each layer of both spread over.
    - ``geometry``: how the texts' vectors lie to the directions of their classes, in the last student and its teacher.
    - ``attribution``: whether the last student answers by the tokens by which its teacher does.
    - ``learning-curve``: over all runs, students beside their controls by the number of training texts.

    Args:
        runs: their folders.
        what: kinds of `KINDS` and `ASKED`; none is all of `KINDS` that have a meaning for the runs.
        train_rows: how many training texts ``fidelity`` asks the models about; 0 for none.
    Raises:
        RequestError: an unknown kind; no folder of a finished run; a kind that is asked for and has no meaning for a
            run's kind of task, or nothing to look at.
    """
    for each in what:
        if each not in (*KINDS, *ASKED):
            raise unknown("analysis", each, (*KINDS, *ASKED))
    if not runs:
        raise RequestError("nothing to analyse: give the folder of at least one finished run")
    read = {str(run): read_run(run) for run in runs}
    found: list[Finding] = []
    for kind in what or KINDS:
        try:
            if kind == "gap":
                found += gap_findings(read)
                continue
            if kind == "learning-curve":
                found.append(learning_curve(read))
                continue
            for name, run in read.items():
                found.append(_fidelity(name, run, train_rows) if kind == "fidelity" else _OF_RUN[kind](name, run))
        except RequestError:
            if kind in what:
                raise
    if not found:
        raise RequestError(f"there is nothing to analyse in {', '.join(read)}: no answers of classes, and no teacher")
    return found


# ---- one run ----


def _calibration(name: str, run: FinishedRun) -> Finding:
    made = [calibrated(each) for group in run.evidence.held_out for each in group.answered]
    rows: list[list[Value]] = [
        [
            *(each.stage, each.now.ece, each.now.adaptive_ece, each.now.mce, each.now.brier, each.now.nll),
            *(each.temperature, each.mended.ece, each.mended.nll),
        ]
        for each in made
        if each is not None
    ]
    if not rows:
        raise RequestError(f"{name}: calibration is of probabilities, which the answers of its kind of task have not")
    header = ("model", "ECE", "adaptive", "MCE", "Brier", "NLL", "best T", "ECE at T", "NLL at T")
    notes = ["ECE, adaptive ECE and MCE in 15 bins; the best T is fitted on the examples that it is shown for."]
    return Finding("calibration", name, header, rows, notes)


def _fidelity(name: str, run: FinishedRun, train_rows: int) -> Finding:
    rows: list[list[Value]] = []
    notes: list[str] = []
    for group in run.evidence.held_out:
        for each, teacher in _taught(group):
            rows.append([each.row.stage, teacher.row.stage, "held out", *_agreement(each, teacher)])
            wrong = _wrong(teacher)
            if wrong is not None and wrong.any():
                parts = (_part(each, wrong), _part(teacher, wrong))
                rows.append([each.row.stage, teacher.row.stage, "held out, teacher wrong", *_agreement(*parts)])
    if not rows:
        raise RequestError(f"{name}: fidelity is that of a student to its teacher, and no two such answers were kept")
    if train_rows:
        try:
            rows += _on_training_texts(run, train_rows)
        except DistilError as error:
            notes.append(f"not on training texts: {str(error).rstrip('.')}.")
    header = ("model", "teacher", "texts", "rows", "agreement", "distance")
    meanings = dict.fromkeys(row.problem.agreement_meaning for row in run.evidence.report.stages if row.fidelity)
    notes += [f"agreement: {meaning}." for meaning in meanings]
    return Finding(
        "fidelity",
        name,
        header,
        rows,
        [
            *notes,
            "distance: KL(teacher || student) in nats, or the mean absolute difference where there are no classes.",
        ],
    )


def _on_training_texts(run: FinishedRun, count: int) -> list[list[Value]]:
    """The same on training texts, for which the models are loaded."""
    if run.plan is None or run.tasks is None:
        raise RequestError(f"the data of the run cannot be read ({run.why})")
    rows: list[list[Value]] = []
    for group in run.evidence.held_out:
        for each, teacher in _taught(group):
            stage, task = run.plan.stages.get(each.row.stage), run.tasks.get(each.row.stage)
            if stage is None or task is None or task.train is None:
                continue
            texts = task.train.select(range(min(count, len(task.train))))
            asked = replace(task, validation=texts, extra={})
            student, other = (
                Answered(
                    one.row,
                    answer_of(
                        run.place_of(one.row.stage),
                        asked,
                        max_length=stage.data.max_length,
                        pooling=run.pooling_of(one.row.stage),
                    ).predictions,
                )
                for one in (each, teacher)
            )
            rows.append([each.row.stage, teacher.row.stage, "training", *_agreement(student, other)])
    return rows


def _dark_knowledge(name: str, run: FinishedRun) -> Finding:
    rows: list[list[Value]] = []
    notes: list[str] = []
    seen: dict[str, DarkKnowledge] = {}
    for group in run.evidence.held_out:
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
            if each.row.role != "student":
                continue
            told = seen[teacher.row.stage].suggested
            ratios = gradient_ratios(each.predictions.logits[known], logits, right, told)
            notes.append(
                f"in the gradients of {one_line(each.row.stage)} as it ended, at T {told:.1f}, the teacher weighs"
                f" {np.median(ratios):.2f} times as much as the label (median of the texts; a tenth of them below"
                f" {np.quantile(ratios, 0.1):.2f}, a tenth above {np.quantile(ratios, 0.9):.2f})."
            )
    if not rows:
        raise RequestError(f"{name}: dark knowledge is of a teacher's classes, and none of its teachers answers such")
    return Finding("dark-knowledge", name, ("teacher", "T", "entropy", "beside the label"), rows, notes)


def _in_words(stage: str, found: DarkKnowledge, names: Sequence[str] | None) -> list[str]:
    half = "half as open as equal probabilities"
    lines = [
        f"{one_line(stage)}: at a temperature of {found.suggested:.1f} its answers are {half}: a value to begin from."
        if found.suggested > 1
        else f"{one_line(stage)}: its answers are more than {half} as they are: there is no need of a temperature."
    ]
    others = found.confusion.copy()
    np.fill_diagonal(others, -1)
    if len(others) > 2 and not np.isnan(others).all():
        label, other = np.unravel_index(int(np.nanargmax(others)), others.shape)
        called = [one_line(names[int(place)]) if names else str(int(place)) for place in (label, other)]
        lines.append(f"for {called[0]} it holds {called[1]} likeliest, with {others[label, other]:.2f} on average.")
    return lines


def _cka(name: str, run: FinishedRun) -> Finding:
    found = run.evidence.similarity
    if found is None:
        why = run.evidence.missing.get("similarity", "no student and teacher of layers, or their texts are not known")
        raise RequestError(f"{name}: no likeness of layers: {why}")
    header = ("layer", *(f"teacher {layer}" for layer in range(found.values.shape[1])))
    rows: list[list[Value]] = [[f"student {layer}", *map(float, values)] for layer, values in enumerate(found.values)]
    notes = [f"linear CKA of {one_line(found.student)} with {one_line(found.teacher)}, {found.how}; 0: embeddings."]
    if 1 < found.values.shape[0] <= found.values.shape[1]:
        pairs = [list(pair) for pair in proposed_layer_map(found.values).pairs]
        notes.append(f"the layers that are most alike, as a recipe says it: layer_map: {json.dumps(pairs)}")
    return Finding("cka", name, header, rows, notes)


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


_OF_RUN: dict[str, Callable[[str, FinishedRun], Finding]] = {
    "calibration": _calibration,
    "dark-knowledge": _dark_knowledge,
    "cka": _cka,
    "attention": attention_finding,
    "rank": rank_finding,
    "geometry": geometry_finding,
    "attribution": attribution_finding,
}
KINDS = ("calibration", "fidelity", "dark-knowledge", "cka", "gap")
# They load models or data again, or need several runs.
ASKED = ("attention", "rank", "geometry", "attribution", "learning-curve")


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
