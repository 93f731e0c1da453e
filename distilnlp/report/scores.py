"""The metrics of GLUE and of multi-label tasks, in numpy and float64.

They agree with scikit-learn and scipy where those give a number, and with the choice written at the function where
those give NaN or a warning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError, RunError, unknown
from distilnlp.problems import Problem, get_problem
from distilnlp.problems.regression import correlation

__all__ = [
    "SCORES",
    "check_metrics",
    "compute_scores",
]

Floats = NDArray[np.float64]


def accuracy(predictions: Floats, references: Floats) -> float:
    """Share of examples that are right; of a multi-label example, all labels must be."""
    equal = predictions == references
    return float(np.mean(equal if equal.ndim == 1 else equal.all(axis=1)))


def f1(predictions: Floats, references: Floats) -> float:
    """F1 of class 1 against class 0, as GLUE has it; 0.0 when class 1 is neither predicted nor present.

    Raises:
        RequestError: a class other than 0 and 1.
    """
    top = max(predictions.max(), references.max())
    if top > 1:
        raise RequestError(f"metric 'f1' is for two classes (1 is positive); got class {top:.0f}: use macro_f1")
    return float(_f1_of(predictions == 1, references == 1))


def macro_f1(predictions: Floats, references: Floats) -> float:
    """Mean over classes of their F1; over all classes that occur in either input, or over all label columns."""
    if references.ndim == 2:
        return float(np.mean(_f1_of(predictions == 1, references == 1)))
    classes = np.union1d(predictions, references)
    return float(np.mean([_f1_of(predictions == c, references == c) for c in classes]))


def micro_f1(predictions: Floats, references: Floats) -> float:
    """F1 of all decisions pooled; for one label an example, this is the accuracy."""
    if references.ndim == 1:
        return accuracy(predictions, references)
    return float(_f1_of(predictions.ravel() == 1, references.ravel() == 1))


def _f1_of(predicted: NDArray[np.bool_], present: NDArray[np.bool_]) -> Floats:
    """F1 of boolean decisions along the first axis; 0.0 where nothing is predicted nor present."""
    hits = np.sum(predicted & present, axis=0, dtype=np.float64)
    total = np.sum(predicted, axis=0, dtype=np.float64) + np.sum(present, axis=0)
    return np.asarray(np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0))


def matthews_correlation(predictions: Floats, references: Floats) -> float:
    """Matthews correlation, for any number of classes; 0.0 when either input is constant.

    Source: Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006.
    """
    classes, codes = np.unique(np.concatenate([predictions, references]), return_inverse=True)
    confusion = np.zeros((len(classes), len(classes)))
    np.add.at(confusion, (codes[len(predictions) :], codes[: len(predictions)]), 1)
    present, predicted, total = confusion.sum(axis=1), confusion.sum(axis=0), float(confusion.sum())
    spread = (total**2 - present @ present) * (total**2 - predicted @ predicted)
    if spread <= 0:
        return 0.0
    return float((np.trace(confusion) * total - present @ predicted) / np.sqrt(spread))


def pearson(predictions: Floats, references: Floats) -> float:
    """Pearson correlation; 0.0 and a logged warning when either input is constant, where it is not defined."""
    return correlation(predictions, references, "pearson")


def spearmanr(predictions: Floats, references: Floats) -> float:
    """Spearman correlation (Pearson of the ranks, ties share their mean rank); constant inputs as in `pearson`."""
    return correlation(_ranks(predictions), _ranks(references), "spearmanr")


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def mse(predictions: Floats, references: Floats) -> float:
    """Mean squared error; lower is better."""
    return float(np.mean((predictions - references) ** 2))


@dataclass(frozen=True)
class Score:
    """One metric: how it is computed, its id among the Hub's metrics, and whether a higher one is better."""

    compute: Callable[[Floats, Floats], float]
    hub_id: str
    higher_is_better: bool = True


# Which of them fit a problem, the problem says: `Problem.accepted_metrics`.
SCORES: dict[str, Score] = {
    "accuracy": Score(accuracy, "accuracy"),
    "f1": Score(f1, "f1"),
    "macro_f1": Score(macro_f1, "f1"),
    "micro_f1": Score(micro_f1, "f1"),
    "matthews_correlation": Score(matthews_correlation, "matthews_correlation"),
    "pearson": Score(pearson, "pearsonr"),
    "spearmanr": Score(spearmanr, "spearmanr"),
    "mse": Score(mse, "mse", higher_is_better=False),
}


def check_metrics(metrics: Sequence[str], problem: Problem | str) -> tuple[str, ...]:
    """The metric names as a tuple, once they are known to exist and to fit the problem.

    Raises:
        RequestError: no metric, an unknown one, or one that does not fit.
    """
    problem = get_problem(problem)
    fitting = problem.accepted_metrics
    if isinstance(metrics, str) or not metrics:
        raise RequestError(f"metrics must be a list of at least one name; got {metrics!r}: accepted: {list(fitting)}")
    for name in metrics:
        if name not in SCORES:
            raise unknown("metric", name, fitting)
        if name not in fitting:
            raise RequestError(f"metric '{name}' does not fit {problem.name}: accepted: {', '.join(fitting)}")
    return tuple(metrics)


def compute_scores(
    metrics: Sequence[str], predictions: ArrayLike, references: ArrayLike, problem: Problem | str
) -> dict[str, float]:
    """Each metric of finished predictions (classes, 0/1 by label, or numbers; not logits).

    Args:
        problem: the kind of task, or its name.
    Shapes:
        predictions, references: ``(examples,)``, or ``(examples, labels)`` for multi-label.
    Raises:
        RequestError: no examples, unequal shapes, or values that are not classes (or 0 and 1).
        RunError: predictions that are not finite numbers.
    """
    problem = get_problem(problem)
    names = check_metrics(metrics, problem)
    predicted, expected = (np.asarray(values, dtype=np.float64) for values in (predictions, references))
    dimensions = 2 if problem.several_labels else 1
    if predicted.shape != expected.shape or expected.ndim != dimensions or expected.size == 0:
        raise RequestError(
            f"metrics of {problem.name} need predictions and references of one shape with {dimensions} dimension(s) "
            f"and at least one example; got {predicted.shape} and {expected.shape}"
        )
    if not np.isfinite(predicted).all():
        raise RunError("the predictions hold values that are not finite numbers: the model has diverged")
    problem.check_decisions(predicted, "predictions")
    problem.check_decisions(expected, "references")
    return {name: SCORES[name].compute(predicted, expected) for name in names}
