"""How sure the models are: calibration, and agreement by the teacher's confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilnlp.html.blocks import Block, LeftOut, Paragraph, Picture, Section
from distilnlp.html.drawing import SERIES, figure, short, to_svg
from distilnlp.html.evidence import Answered, Evidence, HeldOut

__all__ = ["ByConfidence", "agreement_by_confidence", "agreement_section"]

BINS = 10


@dataclass(frozen=True)
class ByConfidence:
    """How often a student answers as its teacher, by how sure the teacher is.

    Shapes:
        confidence, agreement: ``(bins,)``, means of each bin, from the least sure; counts: how many answers are in it.
    """

    confidence: NDArray[np.float64]
    agreement: NDArray[np.float64]
    counts: NDArray[np.int64]


def agreement_by_confidence(
    confidence: NDArray[np.float64], same: NDArray[np.bool_], bins: int = BINS
) -> ByConfidence:
    """Bins of as many answers each, from the least sure of the teacher's to the surest.

    Args:
        confidence: the teacher's probability of its own answer, ``(answers,)``.
        same: whether the student gave the same.
        bins: fewer where there are fewer answers.
    """
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(confidence)))
    return ByConfidence(
        np.array([confidence[part].mean() for part in parts]),
        np.array([same[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


def agreement_section(evidence: Evidence) -> Section | LeftOut:
    """Whether the student leaves its teacher where that is unsure, or where it is sure."""
    title = "Agreement by the teacher's confidence"
    blocks: list[Block] = []
    for number, group in enumerate(evidence.held_out):
        student, teacher = group.subject, group.teacher
        if student is None or teacher is None or student is teacher:
            continue
        found = _compared(student, teacher)
        if found is not None:
            blocks.append(_draw(group, student, teacher, found, f"confidence-{number}"))
    if not blocks:
        return LeftOut(title, "there are no probabilities of a student and of its teacher for the same answers")
    return Section("confidence", title, [Paragraph(_AGREEMENT), *blocks])


_AGREEMENT = (
    "How often the student answers as its teacher, by how sure the teacher is of its answer; each bar has as many "
    "answers. Where the teacher is unsure the two may well differ; where it is sure, a difference is a mistake of one."
)


def _compared(student: Answered, teacher: Answered) -> ByConfidence | None:
    problem = student.row.problem
    own, theirs = student.predictions, teacher.predictions
    has_probabilities = problem.named_labels and (problem.exclusive_classes or problem.several_labels)
    if not has_probabilities or own.logits.shape != theirs.logits.shape or not len(own.logits):
        return None
    decided = own.decisions(problem), theirs.decisions(teacher.row.problem)
    probabilities = problem.probabilities_of(theirs.logits.astype(np.float64))
    if problem.several_labels:
        confidence = np.where(decided[1] == 1, probabilities, 1 - probabilities).ravel()
        return agreement_by_confidence(confidence, (decided[0] == decided[1]).ravel())
    return agreement_by_confidence(probabilities.max(axis=1), decided[0] == decided[1])


def _draw(group: HeldOut, student: Answered, teacher: Answered, found: ByConfidence, name: str) -> Picture:
    places = np.arange(len(found.counts))
    with figure(5.2, 3.0) as (_drawn, axis):
        axis.bar(places, found.agreement, color=SERIES[0], width=0.8)
        axis.set_xticks(places, [f"{each:.2f}" for each in found.confidence])
        axis.set(
            ylim=(0, 1.02),
            xlabel=f"mean probability of the answer of {short(teacher.row.stage)}",
            ylabel="same answer",
        )
        axis.grid(visible=False, axis="x")
        svg = to_svg(_drawn, name)
    says = (
        f"Where {teacher.row.stage} is least sure (probability {found.confidence[0]:.2f}), {student.row.stage} gives"
        f" {100 * found.agreement[0]:.0f} % of the answers alike; where it is surest ({found.confidence[-1]:.2f})"
        f" {100 * found.agreement[-1]:.0f} %."
    )
    caption = f"{student.row.stage} and {teacher.row.stage}, {found.counts.sum():,} answers"
    return Picture(svg, says, f"{group.title}: {caption}" if group.title else caption)
