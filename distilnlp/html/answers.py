"""What the models answered: confusion, scores of each class, answers against the right numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilnlp.html.blocks import Block, Cell, LeftOut, Paragraph, Picture, Section, Table
from distilnlp.html.drawing import INK, SERIES, figure, short, to_svg
from distilnlp.html.evidence import Answered, Evidence, HeldOut
from distilnlp.problems import Problem

__all__ = ["classes_section", "confusion_of", "label_name"]

Numbers = NDArray[np.float64]

MOST_CLASSES = 24  # of a whole confusion matrix; of more the pairs that are confused most
MOST_ROWS = 100
MOST_POINTS = 600
_PART = re.compile(r"(.+)\[(.+)\]", re.DOTALL)


def classes_section(evidence: Evidence) -> Section | LeftOut:
    """Right and wrong answers by class, of what the last student (or the last model) answered."""
    blocks: list[Block] = []
    for number, group in enumerate(evidence.held_out):
        blocks += _of_group(group, number)
    if not blocks:
        return LeftOut("Classes", "there are no classes, or the answers and their labels were not kept")
    return Section("classes", "Classes", blocks)


def _of_group(group: HeldOut, number: int) -> list[Block]:
    subject = group.subject
    blocks: list[Block] = []
    if subject is not None:
        problem = subject.row.problem.decided_by(subject.predictions.thresholds)
        labels = subject.predictions.labels
        without = labels.dtype.kind == "f" and bool(np.isnan(labels).any())
        if not without and problem.exclusive_classes and problem.named_labels and not problem.labels_itself:
            blocks += [_confusion(group, subject, problem), _classes(group, subject)]
        elif not without and problem.several_labels:
            blocks.append(_classes(group, subject))
        elif not without and _is_number(problem, subject):
            blocks.append(_against_right(group, subject, problem, f"numbers-{number}"))
    parts = _by_part(group)
    return [*blocks, *parts]


def label_name(names: Sequence[str] | None, place: int) -> str:
    """The name of a label, or its number where it has none."""
    return names[place] if names is not None and place < len(names) else str(place)


def confusion_of(predicted: NDArray[Any], right: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """How often each class, by row, was answered with each, by column, ``(classes, classes)``."""
    known = (right >= 0) & (right < classes)
    codes = right[known].astype(np.int64) * classes + predicted[known].astype(np.int64)
    return np.bincount(codes, minlength=classes * classes).reshape(classes, classes)


def _counted(answered: Answered) -> NDArray[np.int64]:
    predictions, problem = answered.predictions, answered.row.problem
    decisions = predictions.decisions(problem)
    return confusion_of(decisions, predictions.labels, predictions.logits.shape[1])


def _title(group: HeldOut, text: str) -> str:
    return f"{group.title}: {text}" if group.title else text


def _confusion(group: HeldOut, subject: Answered, problem: Problem) -> Table:
    counts, names, stage = _counted(subject), group.names, subject.row.stage
    what = {"text": "texts", "token": "words"}.get(problem.rows, "answers")
    if len(counts) > MOST_CLASSES:
        return _most_confused(group, counts, stage, what)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    rows = [
        [
            Cell(label_name(names, right), foreign=True),
            *(
                Cell(
                    f"{counts[right, answer]:,}",
                    float(counts[right, answer]),
                    shade=float(shares[right, answer]),
                    strong=right == answer,
                    note=f"{100 * shares[right, answer]:.0f} %",
                )
                for answer in range(len(counts))
            ),
        ]
        for right in range(len(counts))
    ]
    caption = _title(group, f"Confusion of {stage}: {what} by their right class (rows) and the answer (columns)")
    return Table(caption, ["right \\ answered", *(label_name(names, each) for each in range(len(counts)))], rows)


def _most_confused(group: HeldOut, counts: NDArray[np.int64], stage: str, what: str) -> Table:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CLASSES]
    places = [(int(right), int(answer)) for right, answer in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    rows = [
        [
            Cell(label_name(group.names, right), foreign=True),
            Cell(label_name(group.names, answer), foreign=True),
            Cell(f"{wrong[right, answer]:,}", float(wrong[right, answer])),
            _share(wrong[right, answer] / max(1, counts[right].sum())),
        ]
        for right, answer in places
        if wrong[right, answer]
    ]
    caption = f"{len(counts)} classes: those that {stage} takes for another most often"
    return Table(_title(group, caption), ["right", "answered", what, "of that class"], rows, sorts=True, texts=2)


def _share(value: float) -> Cell:
    return Cell(f"{100 * value:.1f} %", float(value))


def _holds(answered: Answered) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each row and class whether the model answered it, and whether it is right, ``(rows, classes)`` each."""
    predictions, problem = answered.predictions, answered.row.problem
    decisions = predictions.decisions(problem)
    if problem.several_labels:
        return decisions == 1, predictions.labels == 1
    classes = np.arange(predictions.logits.shape[1])
    return decisions[:, None] == classes, predictions.labels[:, None] == classes


def _scores(answered: Answered) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Precision, recall, F1 and number of right ones of each class; NaN where there is none to be counted."""
    if answered.row.problem.several_labels:
        given, there = _holds(answered)
        hits, answers, right = ((each).sum(axis=0).astype(float) for each in (given & there, given, there))
    else:  # no array of rows by classes: there may be many of both
        counts = _counted(answered).astype(float)
        hits, answers, right = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)

    def ratio(above: Numbers, below: Numbers) -> Numbers:
        return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)

    return ratio(hits, answers), ratio(hits, right), ratio(2 * hits, answers + right), right


def _classes(group: HeldOut, subject: Answered) -> Table:
    precision, recall, f1, right = _scores(subject)
    others = [each for each in (group.teacher, group.control) if each is not None and each is not subject]
    beside = [(each.row.stage, _scores(each)[2]) for each in others]
    order = list(range(len(f1)))
    left = max(0, len(order) - MOST_ROWS)
    if left:  # those that are answered worst are looked for
        order = sorted(order, key=lambda place: np.nan_to_num(f1[place], nan=2.0))[:MOST_ROWS]
    rows = [
        [
            Cell(label_name(group.names, place), foreign=True),
            Cell(f"{int(right[place]):,}", float(right[place])),
            *(_score(values[place]) for values in (precision, recall, f1)),
            *(_score(values[place], beside=f1[place]) for _, values in beside),
        ]
        for place in order
    ]
    kept = f" (the {MOST_ROWS} with the lowest F1 of {len(f1)})" if left else ""
    header = ["label", "held-out", "precision", "recall", "F1", *(f"F1 of {name}" for name, _ in beside)]
    caption = _title(group, f"Scores of {subject.row.stage} by class{kept}")
    return Table(caption, header, rows, sorts=True)


def _score(value: float, beside: float | None = None) -> Cell:
    """A score; with what is between it and another in small print."""
    if np.isnan(value):
        return Cell("-", -1.0)
    note = "" if beside is None or np.isnan(beside) else f"{beside - value:+.3f}"
    return Cell(f"{value:.3f}", float(value), note=note)


def _is_number(problem: Problem, subject: Answered) -> bool:
    one = subject.predictions.logits.shape[1] == 1
    return one and problem.rows == "text" and subject.predictions.labels.dtype.kind == "f"


def _against_right(group: HeldOut, subject: Answered, problem: Problem, name: str) -> Picture:
    predictions = subject.predictions
    right, given = predictions.labels.astype(float), np.asarray(predictions.decisions(problem), dtype=float)
    some = np.sort(np.random.default_rng(0).permutation(len(right))[:MOST_POINTS])
    with figure(4.6, 3.8) as (drawn, axis):
        axis.scatter(right[some], given[some], s=9, alpha=0.5, color=SERIES[0], linewidths=0)
        ends = [float(min(right.min(), given.min())), float(max(right.max(), given.max()))]
        if not problem.vectors:  # a cosine is no answer on the scale of the labels
            axis.plot(ends, ends, color=INK, linewidth=0.8, linestyle=":")
        axis.set(xlabel="right", ylabel=f"answered by {short(subject.row.stage)}")
        svg = to_svg(drawn, name)
    low, high = (float(np.mean(given[part])) for part in (right <= np.median(right), right >= np.median(right)))
    says = (
        f"What {subject.row.stage} answered against what is right, of {len(some)} held-out rows: on average {low:.3g}"
        f" for the lower half of the right numbers and {high:.3g} for the upper half."
    )
    caption = f"{len(some)} of {len(right)} held-out rows" if len(some) < len(right) else f"{len(right)} held-out rows"
    return Picture(svg, says, _title(group, caption))


def _by_part(group: HeldOut) -> list[Block]:
    """Scores of a part of the answers: of each type of entity, each language, each kind of question."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in group.rows:
        for key, value in row.metrics.items():
            told = _PART.fullmatch(key)
            if told is not None:
                found.setdefault(told[1], {}).setdefault(told[2], {})[row.stage] = value
    tables: list[Block] = []
    for metric, parts in found.items():
        stages = [row.stage for row in group.rows if any(row.stage in values for values in parts.values())]
        rows = [
            [
                Cell(part, foreign=True),
                *(_score(values[stage]) if stage in values else Cell("-", -1.0) for stage in stages),
            ]
            for part, values in list(parts.items())[:MOST_ROWS]
        ]
        tables.append(Table(_title(group, f"{metric} of each part"), ["part", *stages], rows, sorts=True))
    return [Paragraph("The scores of each part of the answers:"), *tables] if tables else []
