"""Whether a model has learned anything: its score beside that of answers that need no text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilnlp.problems import Problem
from distilnlp.report.predictions import Predictions
from distilnlp.report.schema import Baseline
from distilnlp.report.scores import SCORES, Score

__all__ = ["measure_baseline"]

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
) -> Baseline:
    """The best of the problem's baselines on the examples that a model has answered, and by how much it is beaten.

    The gain is in the main metric, signed so that above 0 the model is better. Its interval is a paired bootstrap
    (percentiles of 1,000 resamples of the examples, of down to 200 where they are many; seeded, so that the same
    answers give the same interval): both answer each resample.

    Args:
        predictions: the model's answers to the held-out examples.
        train_labels: of the training rows.
        metrics, main_metric: of the task; names from `distilnlp.report.scores.SCORES`.
    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    sign = 1.0 if SCORES[main_metric].higher_is_better else -1.0
    labels = _numbers(predictions.labels)
    made = problem.baselines(train_labels, len(labels))
    decided = {answer: problem.decide(logits) for answer, logits in made.items()}

    def read(metric: str, answer: str) -> Floats:
        return _numbers((made if SCORES[metric].reads == "logits" else decided)[answer])

    # Not compute_scores, which warns of what is not defined for a constant: here that is so on purpose.
    scores = {answer: {name: SCORES[name].compute(read(name, answer), labels) for name in metrics} for answer in made}
    best = max(scores, key=lambda answer: sign * scores[answer][main_metric])
    main = SCORES[main_metric]
    own = _numbers(predictions.logits if main.reads == "logits" else predictions.decisions(problem))
    low, high = sorted(sign * end for end in _interval(main, own, read(main_metric, best), labels))
    return Baseline(
        answer=best, score=scores[best][main_metric], metrics=scores[best], gain=(low, high), rows=len(labels)
    )


def _interval(score: Score, own: Floats, others: Floats, labels: Floats) -> tuple[float, float]:
    """Between which differences of the two scores most resamples lie."""
    count = int(np.clip(DECISIONS // labels.size, RESAMPLES[0], RESAMPLES[-1]))
    generator = np.random.default_rng(0)
    differences = np.empty(count)
    for resample in range(count):
        rows = generator.integers(0, len(labels), len(labels))
        differences[resample] = score.compute(own[rows], labels[rows]) - score.compute(others[rows], labels[rows])
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _numbers(values: NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)
