"""How much of a score is the choice of the held-out examples: intervals by bootstrap, paired for two models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilnlp.html.evidence import Answered, HeldOut
from distilnlp.report.baseline import bootstrap_interval, resamples
from distilnlp.report.scores import SCORES, ByExample
from distilnlp.report.seeds import half_width

__all__ = ["Difference", "difference_of", "score_intervals"]

Interval = tuple[float, float]

MOST_DECISIONS = 500_000  # of which resamples are drawn; of more, parts are compared
PARTS = 40
ScoreOfRows = Callable[[NDArray[np.int64]], float]


@dataclass(frozen=True)
class Difference:
    """The score of one model less that of another, on the same examples.

    Args:
        value: of the score as it is; interval: the ends of its 95 % interval.
        examples: how many held-out examples there are.
        higher_is_better: of the metric.
    """

    value: float
    interval: Interval
    examples: int
    higher_is_better: bool = True

    @property
    def is_better(self) -> bool:
        """Whether the first model is better by more than the choice of the examples explains."""
        return self.interval[0] > 0 if self.higher_is_better else self.interval[1] < 0

    @property
    def is_worse(self) -> bool:
        """Whether the first model is worse by more than that."""
        return self.interval[1] < 0 if self.higher_is_better else self.interval[0] > 0


def score_intervals(group: HeldOut) -> dict[str, Interval]:
    """Row of the report -> the 95 % interval of its score."""
    found = {}
    for each in group.answered:
        score = score_of_rows(group, each)
        if score is not None:
            found[each.row.stage] = _interval(*score, each.predictions.labels.size)
    return found


def difference_of(group: HeldOut, first: Answered | None, second: Answered | None) -> Difference | None:
    """How much better one model is than another; None where their answers to the same examples are not known."""
    if first is None or second is None or first is second or first.row.main_metric != second.row.main_metric:
        return None
    own, other = score_of_rows(group, first), score_of_rows(group, second)
    if own is None or other is None or own[1] != other[1]:
        return None
    rows = np.arange(own[1])
    interval = _interval(lambda drawn: own[0](drawn) - other[0](drawn), own[1], first.predictions.labels.size)
    higher = SCORES[first.row.main_metric or ""].higher_is_better
    return Difference(own[0](rows) - other[0](rows), interval, own[1], higher)


def _interval(score: ScoreOfRows, examples: int, decisions: int) -> Interval:
    """The 95 % interval of a score, or of a difference of two.

    A bootstrap, or where that would take minutes by the spread of the score over forty parts of the examples: that of
    their mean, by Student's t.

    Args:
        score: of chosen examples.
        examples: how many there are; decisions: how many the score is computed of.
    """
    if decisions <= MOST_DECISIONS or examples < 100 * PARTS:
        return bootstrap_interval(score, examples, resamples(decisions))
    order = np.random.default_rng(0).permutation(examples)
    parts = [score(part) for part in np.array_split(order, PARTS)]
    away = half_width(PARTS) * float(np.std(parts, ddof=1))
    value = score(np.arange(examples))
    return value - away, value + away


def score_of_rows(group: HeldOut, answered: Answered) -> tuple[ScoreOfRows, int] | None:
    """The main score of chosen examples, and how many examples there are; None where it is not known or not of those.

    Args:
        group: whose label names are read.
        answered: a model and its answers.
    """
    row, predictions = answered.row, answered.predictions
    problem, main = row.problem, SCORES.get(row.main_metric or "")
    without = predictions.labels.dtype.kind == "f" and bool(np.isnan(predictions.labels).any())
    # The nearest of drawn vectors would be the same one, drawn twice.
    if main is None or row.score is None or without or (problem.vectors and predictions.logits.shape[1] > 1):
        return None
    labels = problem.decision_array(predictions.labels, "references")
    if main.reads == "logits":
        values = np.asarray(predictions.logits, dtype=np.float64)
    else:
        values = problem.decision_array(predictions.decisions(problem), "predictions")
    compute = main.compute
    if isinstance(compute, ByExample):
        table = compute.table(values, labels, predictions.rows, group.names)
        return lambda drawn: compute.total(table[drawn].sum(axis=0), len(drawn)), len(table)
    return lambda drawn: main.of(values[drawn], labels[drawn]), len(labels)
