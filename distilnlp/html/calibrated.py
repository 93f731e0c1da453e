"""Whether a model's probabilities are right: reliability diagram, calibration errors, and what would mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distilnlp.analysis.calibration import Calibration, best_temperature, calibration_of
from distilnlp.html.blocks import Block, Cell, LeftOut, Paragraph, Picture, Section, Table
from distilnlp.html.drawing import INK, figure, legend_columns, short, style, to_svg
from distilnlp.html.evidence import Answered, Evidence, HeldOut

__all__ = ["Calibrated", "calibrated", "calibration_section"]

MOST_DECISIONS = 600_000  # of more as many are drawn


@dataclass(frozen=True)
class Calibrated:
    """Of a model: as it is, the temperature that fits it best, and as it is then."""

    stage: str
    now: Calibration
    temperature: float
    mended: Calibration


def calibration_section(evidence: Evidence) -> Section | LeftOut:
    """Of each model whose answers have probabilities, and whose right answers are known."""
    blocks: list[Block] = []
    for number, group in enumerate(evidence.held_out):
        found = [each for each in map(calibrated, group.answered) if each is not None]
        if found:
            blocks += [_draw(group, found, f"calibration-{number}"), _table(group, found)]
    if not blocks:
        return LeftOut("Calibration", "there are no probabilities of answers with right ones beside them")
    return Section("calibration", "Calibration", [Paragraph(_CALIBRATION), *blocks])


_CALIBRATION = (
    "Whether a model is as sure as it is right. On the dotted line, of the answers that it gives 80 % four of five"
    " are right; below it the model is too sure. A temperature mends it without changing an answer: divide the logits"
    " by it. It is fitted on the held-out examples that it is shown for."
)


def calibrated(answered: Answered) -> Calibrated | None:
    """How a model's probabilities are, and with the temperature that fits them; None where it has none, or no labels.

    Args:
        answered: the model's answers; of very many decisions some are drawn.
    """
    problem, predictions = answered.row.problem, answered.predictions
    labels, logits = predictions.labels, predictions.logits.astype(np.float64)
    if not problem.named_labels or not (problem.exclusive_classes or problem.several_labels):
        return None
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        return None
    if not problem.several_labels:
        known = (labels >= 0) & (labels < logits.shape[1])
        labels, logits = labels[known], logits[known]
    most = MOST_DECISIONS // (logits.shape[1] if problem.several_labels else 1)
    if len(logits) > most:
        some = np.random.default_rng(0).permutation(len(logits))[:most]
        labels, logits = labels[some], logits[some]
    if not len(logits):
        return None
    temperature = best_temperature(logits, labels)
    now, mended = (calibration_of(logits, labels, temperature=each) for each in (1.0, temperature))
    return Calibrated(answered.row.stage, now, temperature, mended)


def _draw(group: HeldOut, found: Sequence[Calibrated], name: str) -> Picture:
    with figure(5.2, 4.0) as (drawn, axis):
        axis.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=":")
        for place, each in enumerate(found):
            bins = each.now.bins
            look = style(place)
            sizes = np.array([one.count for one in bins]) / each.now.decisions
            at = [one.confidence for one in bins], [one.accuracy for one in bins]
            axis.plot(*at, label=short(each.stage), **look)
            axis.scatter(*at, s=20 + 240 * sizes, color=look["color"], alpha=0.35, linewidths=0)
        axis.set(xlim=(0, 1.02), ylim=(0, 1.04), xlabel="probability of the answer", ylabel="share that is right")
        drawn.legend(loc="outside lower center", ncols=legend_columns([each.stage for each in found], 5.2))
        svg = to_svg(drawn, name)
    told = "; ".join(f"{each.stage} is {_tendency(each.now)} by {each.now.ece:.3f} on average" for each in found)
    caption = "the larger a point, the more answers in it"
    return Picture(svg, f"Share of right answers by their probability: {told}.", _titled(group, caption))


def _tendency(found: Calibration) -> str:
    """Whether the answers are more often right than their probabilities say, on the whole."""
    over = sum(each.count * (each.confidence - each.accuracy) for each in found.bins)
    return "too sure" if over > 0 else "not sure enough"


def _table(group: HeldOut, found: Sequence[Calibrated]) -> Table:
    rows = [
        [
            Cell(each.stage, foreign=True),
            *(_error(getattr(each.now, name), getattr(each.mended, name)) for name in ("ece", "adaptive_ece", "mce")),
            *(_error(getattr(each.now, name), getattr(each.mended, name)) for name in ("brier", "nll")),
            Cell(f"{each.temperature:.2f}", each.temperature),
        ]
        for each in found
    ]
    header = ["model", "ECE", "adaptive ECE", "MCE", "Brier", "NLL", "best temperature"]
    caption = (
        f"Calibration errors of {found[0].now.decisions:,} answers, and in small print those at the best temperature"
    )
    return Table(_titled(group, caption), header, rows, sorts=True)


def _error(now: float, mended: float) -> Cell:
    return Cell(f"{now:.3f}", now, note=f"{mended:.3f}")


def _titled(group: HeldOut, text: str) -> str:
    return f"{group.title}: {text}" if group.title else text
