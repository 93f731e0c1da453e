"""The held-out texts on which a student and its teacher differ most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilnlp.html.answers import label_name
from distilnlp.html.blocks import Block, Cell, LeftOut, Section, Table
from distilnlp.html.evidence import Answered, Evidence, HeldOut
from distilnlp.report.escape import one_line

__all__ = ["MOST_TEXTS", "cut", "differences_section"]

MOST_TEXTS = 50
LONGEST = 300  # letters that are shown of a text
LONGEST_ANSWER = 80


def differences_section(evidence: Evidence, texts: int = MOST_TEXTS) -> Section | LeftOut:
    """The texts, with what both answered and what is right.

    Args:
        evidence: of the run.
        texts: how many at most; 0: none, where they are private.
    """
    title = "Where student and teacher differ most"
    if texts < 1:
        return LeftOut(title, "the held-out texts are not to be shown (report.texts)")
    if "texts" in evidence.missing:
        return LeftOut(title, evidence.missing["texts"])
    blocks: list[Block] = []
    groups = [group for group in evidence.held_out if group.subject is not None and group.teacher is not None]
    for group in groups:
        table = _table(group, max(1, texts // len(groups)))
        if table is not None:
            blocks.append(table)
    if not blocks:
        return LeftOut(title, "there are no answers of a student and of its teacher to the same texts")
    return Section("texts", title, blocks)


def cut(text: str, letters: int = LONGEST) -> str:
    """A text on one line, of so many letters at most; then follows how many it has."""
    line = one_line(text[: 8 * letters])  # of a long one no more is looked at than may be shown
    if len(line) <= letters and len(text) <= 8 * letters:
        return line
    return f"{line[:letters].rstrip()} … ({len(text):,} characters)"


def _table(group: HeldOut, count: int) -> Table | None:
    student, teacher = group.subject, group.teacher
    texts = None if student is None else group.evidence.texts.get(student.row.stage)
    if student is None or teacher is None or texts is None or student is teacher:
        return None
    distances = _distances(student, teacher)
    if distances is None:
        return None
    shown = _farthest(distances, student.predictions.rows, count)
    examples = texts([example for example, _ in shown])
    problem = student.row.problem
    cells = []
    for (example, rows), parts in zip(shown, examples, strict=True):
        if problem.rows == "list":  # of a query's texts the one that they judge most differently
            worst = int(distances[rows].argmax())
            cells.append(_row(group, student, teacher, example, (parts[0], parts[1][worst]), distances, rows[[worst]]))
        else:
            cells.append(_row(group, student, teacher, example, parts, distances, rows))
    header = ["text", "right", teacher.row.stage, student.row.stage, problem.distance_meaning]
    title = f"{group.title}: " if group.title else ""
    caption = f"{title}the {len(shown)} texts on which {student.row.stage} and {teacher.row.stage} differ most"
    return Table(caption, header, cells, sorts=True, texts=4)


def _distances(student: Answered, teacher: Answered) -> NDArray[np.float64] | None:
    """How far apart both are on each row; None where that says nothing of a text by itself."""
    problem, own, theirs = student.row.problem, student.predictions, teacher.predictions
    if problem.vectors and own.logits.shape[1] > 1:
        return None
    if own.logits.shape != theirs.logits.shape:
        return None
    student_logits, teacher_logits = (problem.check_logits(each.logits.astype(np.float64)) for each in (own, theirs))
    distances = problem.distances(student_logits, teacher_logits, own.rows)
    if own.found is not None and theirs.found is not None:  # a text is another answer, however sure both are
        differ = np.asarray(own.decisions(problem)) != np.asarray(theirs.decisions(teacher.row.problem))
        distances = distances + differ
    return distances


def _farthest(
    distances: NDArray[np.float64], examples: NDArray[np.int64], count: int
) -> list[tuple[int, NDArray[np.int64]]]:
    """The examples with the largest distance of a row, and all rows of each."""
    found: dict[int, None] = {}
    for row in np.argsort(-distances, kind="stable"):
        found.setdefault(int(examples[row]))
        if len(found) == count:
            break
    return [(example, np.flatnonzero(examples == example)) for example in found]


def _row(
    group: HeldOut,
    student: Answered,
    teacher: Answered,
    example: int,
    parts: tuple[Any, ...],
    distances: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> list[Cell]:
    names, distance = group.names, float(distances[rows].max())
    right = _right(student, rows, names)
    own, theirs = (_answer(each, rows, names, parts) for each in (student, teacher))
    words = _words(student, teacher, rows, names, parts)
    if words is not None:
        right, theirs, own = words
    return [
        Cell(_shown(parts), value=float(example), foreign=True),
        Cell(right, foreign=True),
        Cell(theirs, strong=theirs == right, foreign=True),
        Cell(own, strong=own == right, foreign=True),
        Cell(f"{distance:.3f}", distance),
    ]


def _shown(parts: tuple[Any, ...]) -> str:
    texts = [" ".join(map(str, part)) if isinstance(part, list | tuple) else str(part) for part in parts]
    return " ⏐ ".join(cut(text) for text in texts)


def _right(answered: Answered, rows: NDArray[np.int64], names: Sequence[str] | None) -> str:
    """The right answer in words; empty where it is not known."""
    problem, labels = answered.row.problem, answered.predictions.labels[rows]
    if labels.dtype == object:
        return cut(" / ".join(dict.fromkeys(map(str, labels[0]))) or "no answer", LONGEST_ANSWER)
    if problem.labels_itself or (labels.dtype.kind == "f" and np.isnan(labels).any()):
        return ""
    if problem.several_labels:
        return cut(
            ", ".join(label_name(names, int(each)) for each in np.flatnonzero(labels[0])) or "-", LONGEST_ANSWER
        )
    if problem.named_labels:
        return cut(", ".join(label_name(names, int(each)) for each in labels[:8]), LONGEST_ANSWER)
    return ", ".join(f"{each:.4g}" for each in labels[:8])


def _answer(answered: Answered, rows: NDArray[np.int64], names: Sequence[str] | None, parts: tuple[Any, ...]) -> str:
    """What a model answered, in words, with its probability where that is one."""
    predictions = answered.predictions
    problem = answered.row.problem.decided_by(predictions.thresholds)
    if predictions.found is not None:
        decided = problem.decisions(predictions.logits[rows], [predictions.found[row] for row in rows])
        return cut(str(decided[0]) or "no answer", LONGEST_ANSWER)
    if problem.labels_itself:
        return f"{len(rows)} hidden tokens, log-probability {predictions.logits[rows, -1].mean():.2f}"
    if not problem.named_labels:
        return ", ".join(f"{each:.4g}" for each in predictions.logits[rows[:8], 0])
    known = names or [str(place) for place in range(predictions.logits.shape[1])]
    answers = problem.answers(predictions.logits[rows[:8]], known)
    told = [
        f"{each.label or '-'}" + (f" {each.probability:.2f}" if each.probability is not None else "")
        for each in answers
    ]
    return cut(", ".join(told), LONGEST_ANSWER)


def _words(
    student: Answered, teacher: Answered, rows: NDArray[np.int64], names: Sequence[str] | None, parts: tuple[Any, ...]
) -> tuple[str, str, str] | None:
    """Of a text with an answer for each word: what is right and what both answered, of the words where they differ."""
    problem = student.row.problem
    if problem.rows != "token" or not problem.named_labels:
        return None
    own, theirs = (each.predictions.decisions(problem)[rows] for each in (student, teacher))
    right = student.predictions.labels[rows]
    places = np.flatnonzero(own != theirs)
    words = parts[0] if isinstance(parts[0], list | tuple) and len(parts[0]) == len(rows) else None

    def told(values: NDArray[Any]) -> str:
        named = [f"{words[place]}: " if words else f"word {place + 1}: " for place in places[:4]]
        shown = [
            f"{where}{label_name(names, int(values[place]))}" for where, place in zip(named, places, strict=False)
        ]
        return cut("; ".join(shown) or "the same tags", LONGEST_ANSWER)

    return told(right), told(theirs), told(own)
