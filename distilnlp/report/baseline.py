"""Whether a model has learned anything: its score beside that of answers that need no text."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilnlp.problems import Problem
from distilnlp.report.predictions import Predictions
from distilnlp.report.schema import Baseline
from distilnlp.report.scores import SCORES, ByExample, Score

__all__ = ["bootstrap_interval", "measure_baseline", "resamples"]

Floats = NDArray[np.float64]

RESAMPLES = range(200, 1001)
DECISIONS = 2_000_000  # of all resamples together: what takes about a second
CONFIDENCE = 0.95


def measure_baseline(
    predictions: Predictions,
    train_labels: NDArray[Any],
    problem: Problem,
    metrics: Sequence[str],
    main_metric: str,
    names: Sequence[str] | None = None,
    texts: Sequence[tuple[Any, ...]] | None = None,
) -> Baseline:
    """The best of the problem's baselines on the examples that a model has answered, and by how much it is beaten.

    The gain is in the main metric, signed so that above 0 the model is better. Its interval is a paired bootstrap
    (percentiles of 1,000 resamples of the examples, of down to 200 where they are many; seeded, so that the same
    answers give the same interval): both answer each resample.

    Args:
        predictions: the model's answers to the held-out examples.
        train_labels: of the training rows.
        metrics, main_metric: of the task; names from `distilnlp.report.scores.SCORES`.
        names: of the classes, for metrics that read them.
        texts: the held-out examples, for a kind whose answers are texts.
    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    sign = 1.0 if SCORES[main_metric].higher_is_better else -1.0
    labels = problem.decision_array(predictions.labels, "references")
    decided = None if texts is None else problem.baseline_decisions(train_labels, texts)
    made = problem.baselines(train_labels, len(labels)) if decided is None else {}
    if decided is None:
        decided = {answer: problem.decide(logits) for answer, logits in made.items()}

    def read(metric: str, answer: str) -> NDArray[Any]:
        if SCORES[metric].reads == "logits":
            return _numbers(made[answer])
        return problem.decision_array(decided[answer], "predictions")

    # Not compute_scores, which warns of what is not defined for a constant: here that is so on purpose.
    scores = {
        answer: {name: SCORES[name].of(read(name, answer), labels, predictions.rows, names) for name in metrics}
        for answer in decided
    }
    best = max(scores, key=lambda answer: sign * scores[answer][main_metric])
    main = SCORES[main_metric]
    own = (
        _numbers(predictions.logits)
        if main.reads == "logits"
        else problem.decision_array(predictions.decisions(problem), "predictions")
    )
    draw = _by_example(main.compute, own, read(main_metric, best), labels, predictions.rows, names)
    if draw is None:
        draw = _by_row(main, own, read(main_metric, best), labels)
    low, high = sorted(sign * end for end in bootstrap_interval(*draw))
    return Baseline(
        answer=best,
        score=scores[best][main_metric],
        metrics=scores[best],
        gain=(low, high),
        rows=len(np.unique(predictions.rows)),
    )


Difference = Callable[[NDArray[np.int64]], float]


def _by_row(score: Score, own: Floats, others: Floats, labels: Floats) -> tuple[Difference, int, int]:
    """The difference of both scores on chosen rows, how many rows there are, and how many resamples pay."""

    def difference(rows: NDArray[np.int64]) -> float:
        return score.of(own[rows], labels[rows]) - score.of(others[rows], labels[rows])

    return difference, len(labels), resamples(labels.size)


def _by_example(
    compute: object,
    own: Floats,
    others: Floats,
    labels: Floats,
    examples: NDArray[np.int64],
    names: Sequence[str] | None,
) -> tuple[Difference, int, int] | None:
    """The same of a metric that adds up over examples; None for another."""
    if not isinstance(compute, ByExample):
        return None
    first, second = (compute.table(values, labels, examples, names) for values in (own, others))

    def difference(rows: NDArray[np.int64]) -> float:
        return compute.total(first[rows].sum(axis=0), len(rows)) - compute.total(second[rows].sum(axis=0), len(rows))

    return difference, len(first), RESAMPLES[-1]


def resamples(decisions: int) -> int:
    """How many resamples pay, of so many decisions each."""
    return int(np.clip(DECISIONS // max(1, decisions), RESAMPLES[0], RESAMPLES[-1]))


def bootstrap_interval(difference: Difference, rows: int, count: int) -> tuple[float, float]:
    """Between which values of a score, or of a difference of two, 95 % of the resamples lie.

    Args:
        difference: the value of chosen examples, ``(rows,)``.
        rows: how many examples there are.
        count: of resamples; seeded, so that the same answers give the same interval.
    """
    generator = np.random.default_rng(0)
    found = [difference(generator.integers(0, rows, rows)) for _ in range(count)]
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _numbers(values: NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)
