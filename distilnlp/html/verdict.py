"""What a run came to, in one sentence and a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from distilnlp.html.blocks import Tile
from distilnlp.html.evidence import Evidence
from distilnlp.html.models import sentence
from distilnlp.html.noise import Difference
from distilnlp.report.compare import verdicts
from distilnlp.report.schema import Cost, Gain, StageResult
from distilnlp.report.scores import SCORES

__all__ = ["tiles", "verdict"]


def verdict(evidence: Evidence, over_control: Difference | None) -> list[str]:
    """The sentence: what share of the teacher's score is kept, whether the gain over the control is above the noise,
    and what the student costs beside its teacher. Further ones where a model is no better than the baseline.

    Args:
        evidence: of the run.
        over_control: student against control on the same rows; None where one is missing.
    """
    student = evidence.student
    if student is None:
        return [_without_student(evidence), *map(sentence, verdicts(evidence.report.stages))]
    teacher, control = (_beside(evidence, student, role) for role in ("teacher", "control"))
    parts = [_kept(student, teacher), _cost(student, teacher)]
    told = f"{student.stage} {' '.join(filter(None, parts))}." if any(parts) else f"{student.stage} is trained."
    gain = _gain(student, control, over_control)
    return [f"{told} {gain}".strip(), *map(sentence, verdicts(evidence.report.stages))]


def _without_student(evidence: Evidence) -> str:
    rows = [row for row in evidence.report.stages if row.score is not None]
    if not rows:
        return "The run has no student, and no score."
    last = rows[-1]
    return f"{last.stage} has {last.main_metric} {last.score:.3f} on the held-out examples."


def _beside(evidence: Evidence, student: StageResult, role: str) -> StageResult | None:
    """The teacher of the student, or the control; on the same examples, since other scores say nothing of it."""
    same = [row for row in evidence.report.stages if row.held_out == student.held_out and row is not student]
    if role == "teacher":
        named = evidence.teachers.get(student.stage)
        found = [row for row in same if row.stage == named] or [row for row in same if row.role == role]
    else:
        found = [row for row in same if row.role == role and not row.exported and not row.repeats]
    return found[-1] if found else None


def _score(row: StageResult) -> float | None:
    """The main score; of several seeds their mean."""
    over = row.over_seeds
    return row.score if over is None or over.score is None else over.score.mean


def _of_seeds(row: StageResult) -> str:
    """What is said before a score that is a mean; empty where it is that of one training."""
    return "" if row.over_seeds is None else f"mean of {len(row.over_seeds.seeds)} seeds "


def _share(student: StageResult, teacher: StageResult | None) -> float | None:
    known, own = SCORES.get(student.main_metric or ""), _score(student)
    if own is None or teacher is None or not teacher.score or teacher.score <= 0:
        return None
    return own / teacher.score if known is None or known.higher_is_better else None


def _kept(student: StageResult, teacher: StageResult | None) -> str:
    share = _share(student, teacher)
    if share is None or teacher is None:
        if student.score is None:
            agreement = None if student.fidelity is None else student.fidelity.agreement
            return "" if agreement is None else f"agrees with its teacher by {agreement:.3f}"
        beside = "" if teacher is None or teacher.score is None else f", and its teacher {teacher.score:.3f}"
        return f"has {student.main_metric} {_of_seeds(student)}{_score(student):.3f}{beside}"
    scores = f"({_of_seeds(student)}{_score(student):.3f} of {teacher.score:.3f})"
    return f"keeps {100 * share:.1f} % of its teacher's {student.main_metric} {scores}"


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None


def _cost(student: StageResult, teacher: StageResult | None) -> str:
    if teacher is None:
        return ""
    own, theirs = student.cost or Cost(), teacher.cost or Cost()
    size = _ratio(own.parameters, theirs.parameters)
    speed = _ratio(theirs.latency_p50_ms, own.latency_p50_ms)
    said = [
        f"{100 * size:.0f} % of its parameters" if size is not None else "",
        f"{speed:.1f} times its speed" if speed else "",
    ]
    told = " and ".join(filter(None, said))
    return f"with {told}" if told else ""


def _gain(student: StageResult, control: StageResult | None, difference: Difference | None) -> str:
    if control is None:
        return "There is no control on the same examples, so that what the teacher adds to the labels is not known."
    over = None if student.over_seeds is None else student.over_seeds.gain
    if over is not None:
        return _gain_of_seeds(student, over)
    if student.score is None or control.score is None or difference is None:
        return ""
    low, high = difference.interval
    noise = f"(paired bootstrap, 95 % interval {low:+.3f} to {high:+.3f}, {difference.examples:,} examples)"
    side = "above" if difference.value >= 0 else "below"
    what = f"Its {student.main_metric} is {abs(difference.value):.3f} {side} that of {control.stage}"
    gain = f"{what}, which learned without a teacher"
    if difference.is_better:
        return f"{gain}: above the noise {noise}."
    if difference.is_worse:
        return f"{gain}: the teacher did harm {noise}."
    return f"{gain}: not above the noise {noise}."


def _gain_of_seeds(student: StageResult, over: Gain) -> str:
    low, high = over.interval
    noise = f"(95 % t interval of the mean {low:+.3f} to {high:+.3f}, {len(over.differences)} seeds)"
    side = "above" if over.mean >= 0 else "below"
    what = f"Its {student.main_metric} is {abs(over.mean):.3f} {side} that of {over.control}"
    return f"{what}, which learned without a teacher: {_WORDS[_tone(student, over)]} {noise}."


_WORDS = {
    "good": "above the noise between seeds",
    "bad": "the teacher did harm",
    "plain": "not above the noise between seeds",
}


def _tone(student: StageResult, over: Gain) -> Literal["good", "bad", "plain"]:
    known = SCORES.get(student.main_metric or "")
    low, high = over.interval if known is None or known.higher_is_better else [-end for end in reversed(over.interval)]
    return "good" if low > 0 else "bad" if high < 0 else "plain"


def tiles(evidence: Evidence, over_control: Difference | None) -> list[Tile]:
    """The same as numbers at the head of the page."""
    student = evidence.student
    if student is None:
        rows = [row for row in evidence.report.stages if row.score is not None]
        return [Tile(f"{row.score:.3f}", row.main_metric or "score", row.stage) for row in rows[-1:]]
    teacher = _beside(evidence, student, "teacher")
    found: list[Tile] = []
    share = _share(student, teacher)
    if share is not None and teacher is not None:
        found.append(
            Tile(
                f"{100 * share:.1f} %",
                "of the teacher's score",
                f"{student.main_metric} {_of_seeds(student)}{_score(student):.3f} of {teacher.score:.3f}",
            )
        )
    elif student.score is not None:
        found.append(Tile(f"{student.score:.3f}", student.main_metric or "score", student.stage))
    over = None if student.over_seeds is None else student.over_seeds.gain
    if over is not None:
        low, high = over.interval
        told = f"95 %, {len(over.differences)} seeds: {low:+.3f} to {high:+.3f}"
        found.append(Tile(f"{over.mean:+.3f}", "over the control", told, _tone(student, over)))
    elif over_control is not None:
        low, high = over_control.interval
        tone = "good" if over_control.is_better else "bad" if over_control.is_worse else "plain"
        found.append(Tile(f"{over_control.value:+.3f}", "over the control", f"95 %: {low:+.3f} to {high:+.3f}", tone))
    return [*found, *_cost_tiles(student, teacher)]


def _cost_tiles(student: StageResult, teacher: StageResult | None) -> Sequence[Tile]:
    own, theirs = student.cost or Cost(), (teacher.cost if teacher is not None else None) or Cost()
    found = []
    speed, size = _ratio(theirs.latency_p50_ms, own.latency_p50_ms), _ratio(theirs.parameters, own.parameters)
    if speed is not None:
        found.append(
            Tile(f"{speed:.1f}×", "the speed", f"{own.latency_p50_ms:.1f} ms of {theirs.latency_p50_ms:.1f} ms a text")
        )
    if size is not None and own.parameters and theirs.parameters:
        found.append(
            Tile(
                f"{size:.1f}×",
                "smaller",
                f"{own.parameters / 1e6:.1f} of {theirs.parameters / 1e6:.1f} million parameters",
            )
        )
    if student.fidelity is not None:
        found.append(Tile(f"{student.fidelity.agreement:.3f}", "agreement", "with its teacher"))
    return found
