"""What a page about a run is made of: everything a run has kept, read; nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilnlp.report.history import History
from distilnlp.report.predictions import Predictions
from distilnlp.report.schema import Report, StageResult
from distilnlp.report.step_time import StepTime

__all__ = ["Answered", "Evidence", "HeldOut", "Similarity", "Texts"]

# The texts of held-out examples by their places: ``(text,)`` or ``(text, pair)``.
Texts = Callable[[Sequence[int]], list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Similarity:
    """How alike the layers of two models are.

    Args:
        student, teacher: rows of the report.
        values: ``(student layers + 1, teacher layers + 1)``, 0 to 1, embeddings first.
        how: what was compared, in words.
    """

    student: str
    teacher: str
    values: NDArray[np.float64]
    how: str


@dataclass(frozen=True)
class Evidence:
    """A finished run.

    Args:
        report: its models side by side.
        predictions: row of the report -> what the model answered on its held-out examples.
        teachers: row of the report -> the row of its teacher, or of the model that it is compared with.
        histories: stage -> how it was trained.
        step_times: stage -> what its optimizer steps took their time for.
        texts: row of the report -> its held-out texts.
        label_names: row of the report -> the names of its labels, where they have some.
        similarity: how alike the layers of the last student and of its teacher are.
        environment: as ``environment.json`` has it.
        missing: what could not be read, and why, in words; by what it would show (``texts``, ``similarity``).
    """

    report: Report
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    teachers: Mapping[str, str] = field(default_factory=dict)
    histories: Mapping[str, History] = field(default_factory=dict)
    step_times: Mapping[str, StepTime] = field(default_factory=dict)
    texts: Mapping[str, Texts] = field(default_factory=dict)
    label_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    similarity: Similarity | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def held_out(self) -> list[HeldOut]:
        """The models by what they were measured on; those of the last stage first."""
        last = self.report.stages[-1].held_out
        groups: dict[str, list[StageResult]] = {}
        for row in self.report.stages:
            if row.held_out:
                groups.setdefault(row.held_out, []).append(row)
        order = sorted(groups, key=lambda digest: digest != last)
        return [HeldOut(self, tuple(groups[digest])) for digest in order]

    @property
    def student(self) -> StageResult | None:
        """The last student, of several seeds that of the first; the model that the page is about."""
        found = [row for row in self.report.stages if row.role == "student" and not row.exported and not row.repeats]
        return found[-1] if found else None


@dataclass(frozen=True)
class Answered:
    """A model and what it answered.

    Args:
        row: of the report; predictions: on its held-out examples.
    """

    row: StageResult
    predictions: Predictions


@dataclass(frozen=True)
class HeldOut:
    """Models that were measured on the same examples.

    Args:
        evidence: of the run.
        rows: of the report, at least one.
    """

    evidence: Evidence
    rows: tuple[StageResult, ...]

    @property
    def title(self) -> str:
        """What they were measured on, in a word; empty where the run has only one such thing."""
        if len(self.evidence.held_out) < 2:
            return ""
        names = dict.fromkeys(row.task or row.stage for row in self.rows)
        stages = ", ".join(row.stage for row in self.rows)
        return f"{', '.join(names)} ({stages})"

    @cached_property
    def answered(self) -> list[Answered]:
        """Those of which the answers were kept, each on the rows of the first, in their order."""
        kept = [(row, self.evidence.predictions[row.stage]) for row in self.rows if row.stage in self._known]
        if not kept:
            return []
        first, answers = kept[0]
        matched = [answers, *(answers.matched(other, (first.stage, row.stage))[1] for row, other in kept[1:])]
        return [Answered(row, each) for (row, _), each in zip(kept, matched, strict=True)]

    @property
    def _known(self) -> Mapping[str, Predictions]:
        return self.evidence.predictions

    @property
    def names(self) -> Sequence[str] | None:
        """The names of the labels."""
        found = (self.evidence.label_names.get(row.stage) for row in reversed(self.rows))
        return next((names for names in found if names), None)

    def find(self, name: str | None) -> Answered | None:
        """The model of a row, if its answers are known."""
        return next((each for each in self.answered if each.row.stage == name), None)

    def role(self, role: str) -> Answered | None:
        """The last model of a role, of several seeds that of the first."""
        found = (each for each in reversed(self.answered) if each.row.role == role and not each.row.repeats)
        return next(found, None)

    @property
    def subject(self) -> Answered | None:
        """The model that is looked at: the last student, or the last model of all."""
        return self.role("student") or next(reversed(self.answered), None)

    @property
    def teacher(self) -> Answered | None:
        """Whom the subject is compared with."""
        subject = self.subject
        return None if subject is None else self.find(self.evidence.teachers.get(subject.row.stage))

    @property
    def control(self) -> Answered | None:
        """The last control on the same examples."""
        return self.role("control")
