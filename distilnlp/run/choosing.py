"""Which texts to ask a costly teacher about: any, those a student doubts, or those on which two models differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from distilnlp.data.shards import row_texts
from distilnlp.errors import RequestError, unknown
from distilnlp.label_names import match_names
from distilnlp.models.predictor import Answered, Predictor
from distilnlp.problems import Problem
from distilnlp.run.evaluation import texts_of

__all__ = ["WAYS", "Choice"]

# Of each way, how many models it asks.
WAYS = {"random": 0, "margin": 1, "entropy": 1, "disagreement": 2}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """Which texts are asked about.

    Args:
        budget: how many answers there are to be in all, earlier ones included; 1 or more.
        by: ``random``; ``margin``, the texts with the smallest distance between the two largest probabilities first
            (of several labels a text: of the label that is nearest to one half); ``entropy``, those with the largest;
            ``disagreement``, those on whose probabilities (or numbers) two models differ most.
        model: folder or Hub id of the student that is asked what it is unsure of; None at random.
        control: of the other model, for ``disagreement`` alone.
        seed: of the random order.
    Raises:
        RequestError: another word for ``by``; a budget below 1; models that are missing, or that nobody would ask.
    """

    budget: int
    by: str = "random"
    model: str | None = None
    control: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise unknown("way to choose texts:", self.by, tuple(WAYS))
        if self.budget < 1:
            raise RequestError(f"the budget is {self.budget}: give 1 or more questions", key=["budget"])
        for number, (option, given) in enumerate((("--model", self.model), ("--control", self.control)), start=1):
            if (given is None) == (WAYS[self.by] >= number):
                what = "give" if given is None else "leave out"
                raise RequestError(f"--by {self.by} asks {_ASKED[WAYS[self.by]]}: {what} {option}")

    def of(
        self, data: Dataset, answered: frozenset[Any], *, max_length: int | None = None, batch_size: int = 32
    ) -> list[int]:
        """The rows to ask about, in the order of the data; each text once, and none that is answered.

        Of equals the earlier row comes first, so that the same call chooses the same rows.

        Args:
            data: with the columns ``text`` and maybe ``text_pair``.
            answered: the texts that have an answer, as `row_texts` gives them.
            max_length, batch_size: as for `Predictor`.
        Raises:
            RequestError: models that cannot answer the texts, that have no probabilities, or are of two kinds or for
                other labels.
        """
        keys = row_texts(data)
        first: dict[Any, int] = {}
        for row, key in enumerate(keys):
            first.setdefault(key, row)
        rows = np.array([*first.values()])
        # Of all texts and not of those that are left: a larger budget adds to a smaller one.
        place = np.random.default_rng(self.seed).permutation(len(rows)).astype(np.float64)
        left = np.array([keys[row] not in answered for row in rows], dtype=np.bool_)
        wanted = self.budget - len(answered)
        rows, place = rows[left], place[left]
        if wanted <= 0 or not len(rows):
            return []
        if self.by != "random" and wanted < len(rows):
            place = self._doubts(data.select(rows), max_length, batch_size)
        return sorted(rows[np.argsort(place, kind="stable")[:wanted]].tolist())

    def _doubts(self, data: Dataset, max_length: int | None, batch_size: int) -> Floats:
        """How sure the models are of each text, ``(texts,)``: the smallest is asked about first."""
        names = [name for name in (self.model, self.control) if name is not None]
        models = [Predictor.load(name, max_length=max_length, batch_size=batch_size) for name in names]
        problem = models[0].problem
        _check_kinds(names, models, self.by)
        found = [model.answered(texts_of(data)) for model in models]
        probabilities = [_probabilities(problem, each) for each in found]
        if self.by == "disagreement":
            order = match_names(models[0].label_names, models[1].label_names)
            if problem.named_labels and order is None:
                raise RequestError(
                    f"the labels of {names[1]} are {', '.join(models[1].label_names)} and those of {names[0]}"
                    f" {', '.join(models[0].label_names)}: give two models for the same labels"
                )
            other = probabilities[1] if order is None else probabilities[1][:, list(order)]
            values = -np.abs(probabilities[0] - other).sum(axis=1) / (2 if problem.exclusive_classes else 1)
        else:
            values = (_margins if self.by == "margin" else _certainties)(problem, probabilities[0])
        example = found[0].example
        sums = np.bincount(example, weights=values, minlength=len(data))
        return np.asarray(sums / np.maximum(np.bincount(example, minlength=len(data)), 1))


_ASKED = ("no model", "one model, the student", "two models, student and control")


def _check_kinds(names: Sequence[str], models: Sequence[Predictor], by: str) -> None:
    first = models[0].problem
    if first.rows not in ("text", "token") or first.vectors or first.labels_itself:
        raise RequestError(
            f"{names[0]} is for {first.name}, whose answers are no probabilities: choose with --by random"
        )
    if not first.named_labels and by != "disagreement":
        raise RequestError(
            f"{names[0]} is for {first.name} and does not tell how sure it is: choose with --by random or disagreement"
        )
    for name, model in zip(names[1:], models[1:], strict=True):
        if type(model.problem) is not type(first):
            raise RequestError(
                f"{name} is for {model.problem.name} and {names[0]} for {first.name}: give two of a kind"
            )


def _probabilities(problem: Problem, answered: Answered) -> Floats:
    """Of each row of logits, ``(rows, labels)``; the number itself of a regression."""
    return problem.probabilities_of(np.atleast_2d(answered.logits.astype(np.float64)))


def _margins(problem: Problem, probabilities: Floats) -> Floats:
    if not problem.exclusive_classes:
        return np.asarray(np.abs(2 * probabilities - 1).min(axis=1))
    largest = np.sort(probabilities, axis=1)
    return np.asarray(largest[:, -1] - largest[:, -2])


def _certainties(problem: Problem, probabilities: Floats) -> Floats:
    """The entropy of each row below 0, in nats; of several labels a text the sum of theirs."""
    parts = [probabilities] if problem.exclusive_classes else [probabilities, 1 - probabilities]
    return np.asarray(sum((each * np.log(np.maximum(each, 1e-12))).sum(axis=1) for each in parts))
