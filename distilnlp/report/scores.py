"""The metrics of GLUE and of multi-label tasks, in numpy and float64.

They agree with scikit-learn and scipy where those give a number, and with the choice written at the function where
those give NaN or a warning.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError, unknown
from distilnlp.problems import Problem, get_problem
from distilnlp.problems.answers import exact_match, token_f1
from distilnlp.problems.numbers import correlation, undefined_correlation
from distilnlp.problems.ranking import rank_order
from distilnlp.problems.sentence_embedding import translation_accuracies
from distilnlp.problems.tags import entities_of

__all__ = [
    "SCORES",
    "ByExample",
    "check_metrics",
    "compute_scores",
]

Floats = NDArray[np.float64]

CUTOFF = 10  # of a ranking, the texts that are looked at by nDCG and MRR

logger = logging.getLogger(__name__)


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
    """Pearson correlation; 0.0 when either input is constant, where it is not defined."""
    return correlation(predictions, references)


def spearmanr(predictions: Floats, references: Floats) -> float:
    """Spearman correlation (Pearson of the ranks, ties share their mean rank); constant inputs as in `pearson`."""
    return correlation(_ranks(predictions), _ranks(references))


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def mse(predictions: Floats, references: Floats) -> float:
    """Mean squared error; lower is better."""
    return float(np.mean((predictions - references) ** 2))


def micro_average_precision(logits: Floats, references: Floats) -> float:
    """Average precision of all logits pooled: the precision at each step of recall, at whatever threshold.

    0.0 where no label holds anywhere. By chance it is about the share of labels that hold.
    """
    return macro_average_precision(logits.reshape(-1, 1), references.reshape(-1, 1))


def macro_average_precision(logits: Floats, references: Floats) -> float:
    """Mean over the labels of their own average precision.

    A label that no example has is left out of the mean, since it has no recall; 0.0 where that leaves none.
    """
    columns = [(logits[:, i], references[:, i] == 1) for i in range(references.shape[1]) if references[:, i].any()]
    return float(np.mean([_precision_of_ranking(values, present) for values, present in columns])) if columns else 0.0


def _precision_of_ranking(values: Floats, present: NDArray[np.bool_]) -> float:
    """The sum over the distinct values, from the highest, of the precision there times the recall that it adds."""
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(present[order], dtype=np.float64)
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # equal values are one step
    return float(np.sum(hits[last] / (last + 1) * np.diff(hits[last], prepend=0.0)) / hits[-1])


def translation_accuracy(vectors: Floats, references: Floats) -> float:
    """Mean over the languages of the share of texts whose nearest vector is their translation's, both directions."""
    return float(np.mean(translation_accuracies(vectors, references)))


def _without_labels(logits: Floats, references: Floats) -> str | None:
    return None if references.any() else "no label holds for any example"


def _always_defined(predictions: Floats, references: Floats) -> None:
    return None


class Parts(Protocol):
    """What each example adds to a metric."""

    def __call__(self, predictions: Floats, references: Floats, names: Sequence[str] | None) -> Sequence[float]:
        """Of the rows of one example; ``names``: those of the classes."""
        ...


@dataclass(frozen=True)
class ByExample:
    """A metric of examples with several rows each: what each adds, and what the sum over all examples stands for.

    So it is computed once, whichever examples are drawn of it.

    Args:
        parts: numbers of one example.
        total: of the sums of these numbers over the examples, and how many there are.
    """

    parts: Parts
    total: Callable[[Floats, int], float]

    def table(
        self, predictions: Floats, references: Floats, examples: NDArray[np.int64], names: Sequence[str] | None
    ) -> Floats:
        """The numbers of each example, ``(examples, numbers)``; the rows of each stand together."""
        starts = np.flatnonzero(np.r_[True, np.diff(examples) != 0]) if len(examples) else np.empty(0, np.int64)
        ends = np.r_[starts[1:], len(examples)]
        slices = [slice(start, end) for start, end in zip(starts, ends, strict=True)]
        return np.array([self.parts(predictions[each], references[each], names) for each in slices], dtype=np.float64)


@dataclass(frozen=True)
class Score:
    """One metric.

    Args:
        compute: of ``(predictions, references)``, or of ``(logits, references)``; or by example.
        hub_id: its id among the Hub's metrics.
        higher_is_better: whether a higher one is better.
        reads: what it is computed of; what reads logits needs no threshold.
        undefined: why it is not defined for what ``compute`` takes, in words; None where it is.
    """

    compute: Callable[[Floats, Floats], float] | ByExample
    hub_id: str
    higher_is_better: bool = True
    reads: Literal["decisions", "logits"] = "decisions"
    undefined: Callable[[Floats, Floats], str | None] = _always_defined

    def of(
        self,
        values: Floats,
        references: Floats,
        examples: NDArray[np.int64] | None = None,
        names: Sequence[str] | None = None,
    ) -> float:
        """The metric of decisions or logits, as it `reads`; ``examples``: the example of each row."""
        if not isinstance(self.compute, ByExample):
            return self.compute(values, references)
        own = np.arange(len(values)) if examples is None else examples
        table = self.compute.table(values, references, own, names)
        return self.compute.total(table.sum(axis=0), len(table))


def _entity_counts(predictions: Floats, references: Floats, names: Sequence[str] | None) -> Sequence[float]:
    """How many entities are found rightly, found, and there."""
    if names is None:
        raise RequestError("entities are told by the names of the tags: give names=")
    found, there = (set(entities_of([names[int(tag)] for tag in tags])) for tags in (predictions, references))
    return len(found & there), len(found), len(there)


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else 0.0


def _of_queries(place: int, sums: Floats, _: int) -> float:
    """The mean over the queries that have a relevant text."""
    return _ratio(sums[place], sums[3])


def _ranked(predictions: Floats, references: Floats, names: Sequence[str] | None) -> Sequence[float]:
    """nDCG@10, MRR@10 and average precision of one query, and 1; four zeros of a query without a relevant text.

    Gains are the relevances themselves (as in trec_eval), discounts ``1 / log2(place + 1)``. A text is relevant where
    its relevance is above 0. Of texts with one score the less relevant come first: a model that tells nothing apart
    gains nothing by the order of the file.
    """
    if not (references > 0).any():
        return (0.0, 0.0, 0.0, 0.0)
    ranked = references[rank_order(predictions, references)]
    discounts = 1 / np.log2(np.arange(2, min(len(ranked), CUTOFF) + 2))
    best = np.sort(references)[::-1]
    hits = np.flatnonzero(ranked > 0)  # the places of the relevant ones, from 0
    reciprocal = 1 / (hits[0] + 1) if hits[0] < CUTOFF else 0.0
    precision = np.mean(np.arange(1, len(hits) + 1) / (hits + 1))
    ndcg = (ranked[:CUTOFF] @ discounts) / (best[:CUTOFF] @ discounts)
    return float(ndcg), float(reciprocal), float(precision), 1.0


_RANKING = {name: partial(_of_queries, place) for place, name in enumerate(("ndcg@10", "mrr@10", "map"))}


def _right_tokens(predictions: Floats, references: Floats, names: Sequence[str] | None) -> Sequence[float]:
    """How many hidden tokens of a text are found, and how many there are."""
    return float(np.sum(predictions == references)), float(len(references))


def _token_logs(predictions: Floats, references: Floats, names: Sequence[str] | None) -> Sequence[float]:
    """The log-probabilities that a model gives the hidden tokens of a text, summed, and how many there are.

    Args:
        predictions: rows that end with that log-probability (`distilnlp.problems.masked_lm.MaskedLM`).
    """
    return float(np.sum(predictions[:, -1])), float(len(references))


_ENTITIES = {
    "entity_f1": lambda counts, _: _ratio(2 * counts[0], counts[1] + counts[2]),
    "entity_precision": lambda counts, _: _ratio(counts[0], counts[1]),
    "entity_recall": lambda counts, _: _ratio(counts[0], counts[2]),
}


def _by_answer(measure: Callable[[str, Sequence[str]], float]) -> ByExample:
    """The mean of a measure of an answer, a text, against those that are right, a tuple of texts."""

    def parts(predictions: NDArray[Any], references: NDArray[Any], names: Sequence[str] | None) -> Sequence[float]:
        return [measure(str(predictions[0]), references[0])]

    return ByExample(parts, lambda sums, examples: float(sums[0] / examples))


# Which of them fit a problem, the problem says: `Problem.accepted_metrics`.
SCORES: dict[str, Score] = {
    "accuracy": Score(accuracy, "accuracy"),
    "f1": Score(f1, "f1"),
    "macro_f1": Score(macro_f1, "f1"),
    "micro_f1": Score(micro_f1, "f1"),
    "matthews_correlation": Score(matthews_correlation, "matthews_correlation"),
    "pearson": Score(pearson, "pearsonr", undefined=undefined_correlation),
    "spearmanr": Score(spearmanr, "spearmanr", undefined=undefined_correlation),
    "mse": Score(mse, "mse", higher_is_better=False),
    "micro_average_precision": Score(
        micro_average_precision, "average_precision", reads="logits", undefined=_without_labels
    ),
    "macro_average_precision": Score(
        macro_average_precision, "average_precision", reads="logits", undefined=_without_labels
    ),
    "translation_accuracy": Score(translation_accuracy, "accuracy", reads="logits"),
    "masked_accuracy": Score(ByExample(_right_tokens, lambda counts, _: _ratio(counts[0], counts[1])), "accuracy"),
    # Of whole words that are hidden together, and so above what hiding one token at a time gives.
    "pseudo_perplexity": Score(
        ByExample(_token_logs, lambda sums, _: float(np.exp(-_ratio(sums[0], sums[1])))),
        "perplexity",
        higher_is_better=False,
        reads="logits",
    ),
    "answer_f1": Score(_by_answer(token_f1), "squad_v2"),
    "exact_match": Score(_by_answer(exact_match), "squad_v2"),
    **{name: Score(ByExample(_entity_counts, total), "seqeval") for name, total in _ENTITIES.items()},
    **{name: Score(ByExample(_ranked, total), "trec_eval") for name, total in _RANKING.items()},
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
    metrics: Sequence[str],
    predictions: ArrayLike,
    references: ArrayLike,
    problem: Problem | str,
    logits: ArrayLike | None = None,
    examples: NDArray[np.int64] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Each metric of finished predictions (classes, 0/1 by label, or numbers; not logits).

    Logs a warning for one that is not defined.

    Args:
        problem: the kind of task, or its name.
        logits: what the predictions were decided by, for the metrics that need no decision (average precision).
        examples: the example of each row, where one has several; those of one stand together.
        names: of the classes, for metrics that read them.
    Shapes:
        predictions, references: ``(examples,)``, or ``(examples, labels)`` for multi-label; logits: as predictions
            where they are used.
    Raises:
        RequestError: no examples, unequal shapes, values that are not classes (or 0 and 1), or a metric that reads
            logits without them.
        RunError: predictions or logits that are not finite numbers.
    """
    problem = get_problem(problem)
    wanted = check_metrics(metrics, problem)
    predicted = problem.decision_array(predictions, "predictions")
    expected = problem.decision_array(references, "references")
    dimensions = 2 if problem.several_labels else 1
    if predicted.shape != expected.shape or expected.ndim != dimensions or expected.size == 0:
        raise RequestError(
            f"metrics of {problem.name} need predictions and references of one shape with {dimensions} dimension(s) "
            f"and at least one example; got {predicted.shape} and {expected.shape}"
        )
    problem.check_decisions(predicted, "predictions")
    problem.check_decisions(expected, "references")
    given = {"decisions": predicted}
    of_logits = [name for name in wanted if SCORES[name].reads == "logits"]
    if of_logits:
        if logits is None:
            raise RequestError(
                f"metric '{of_logits[0]}' is computed from logits, which need no decision: give logits="
            )
        given["logits"] = np.asarray(problem.check_logits(logits), dtype=np.float64)
        if given["logits"].shape[: expected.ndim] != expected.shape:
            raise RequestError(f"the logits are {given['logits'].shape} and the references {expected.shape}")
    for name in wanted:
        why = SCORES[name].undefined(given[SCORES[name].reads], expected)
        if why is not None:
            logger.warning("%s is not defined: %s; reported as 0.0", name, why)
    return {name: SCORES[name].of(given[SCORES[name].reads], expected, examples, names) for name in wanted}
