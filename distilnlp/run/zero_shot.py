"""A classifier that nobody has trained: an entailment model is asked, once for each label, whether a text has it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilnlp.errors import RequestError
from distilnlp.label_names import find_name
from distilnlp.models.backend import Backend
from distilnlp.models.predictor import Predictor, Text
from distilnlp.problems import Problem
from distilnlp.report.escape import one_line

__all__ = ["HYPOTHESIS", "Hypotheses", "ZeroShot"]

HYPOTHESIS = "This text is about {}."
PLACE = "{}"


@dataclass(frozen=True)
class Hypotheses:
    """The labels of a task, and the sentence that is true of a text with one of them.

    Args:
        labels: two or more.
        template: the sentence, with ``{}`` for the label.
    Raises:
        RequestError: fewer than two labels, or one of them twice; a sentence without a place for them.
    """

    labels: tuple[str, ...]
    template: str = HYPOTHESIS

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels) or not all(map(str.strip, self.labels)):
            raise RequestError(
                f"the labels are {', '.join(self.labels) or 'none'}: two or more different ones are needed (--labels"
                " a,b,c)"
            )
        if PLACE not in self.template:
            raise RequestError(f"the hypothesis '{self.template}' has no {PLACE} for the label (--hypotheses)")

    def of(self, label: str) -> str:
        """The sentence about a label."""
        return self.template.replace(PLACE, label)


class ZeroShot:
    """Answers as a `Predictor` of the labels would.

    The logit of a label is ``log p(entailment | text, sentence about the label)``, so that its probability is its
    share of the labels' entailment probabilities.

    Args:
        predictor: of a model for pairs with a label that is called entailment.
        hypotheses: what it is asked.
        name: of the model, for messages.
    Source: Yin et al. 2019, "Benchmarking Zero-shot Text Classification", arXiv:1909.00161. They take the likeliest
        label alone.
    Raises:
        RequestError: a model without exclusive classes, or without one that is called entailment.
    """

    def __init__(self, predictor: Predictor, hypotheses: Hypotheses, name: str) -> None:
        problem = predictor.problem
        names = list(predictor.label_names) if problem.named_labels and problem.rows == "text" else []
        entailment = find_name("entailment", names)
        if entailment is None or problem.several_labels:
            raise RequestError(
                f"{name} is for {problem.name}{' with the labels ' if names else ''}"
                f"{', '.join(map(one_line, names))}: labels as hypotheses are for a model that was trained on"
                " entailment and calls a label so"
            )
        self._predictor = predictor
        self._entailment = names.index(entailment)
        self._hypotheses = hypotheses
        self.problem: Problem = problem
        self.label_names: Sequence[str] = hypotheses.labels

    @property
    def backend(self) -> Backend:
        """Of the entailment model."""
        return self._predictor.backend

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """``(texts, labels)``. Raises RequestError for pairs of texts."""
        single = [text if isinstance(text, str) else text[0] for text in texts]
        if any(not isinstance(text, str) and len(text) > 1 for text in texts):
            raise RequestError("labels as hypotheses are for single texts: a hypothesis takes the place of the second")
        labels = self._hypotheses.labels
        asked: list[Text] = [(str(text), self._hypotheses.of(label)) for text in single for label in labels]
        given = self._predictor.logits(asked).astype(np.float64)  # (texts * labels, classes)
        highest = given.max(axis=-1, keepdims=True)
        log_sum = highest[:, 0] + np.log(np.exp(given - highest).sum(axis=-1))
        entailed: NDArray[np.float64] = given[:, self._entailment] - log_sum
        return entailed.reshape(len(single), len(labels)).astype(np.float32)
