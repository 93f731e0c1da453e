"""Which of several weights a student ends with: those that score best on the evaluation data."""

import logging
import math
from collections.abc import Callable, Mapping

from torch import Tensor, nn
from transformers import TrainingArguments

from distilnlp.errors import unknown
from distilnlp.teachers.student_copy import load_tensors, tensors_of

__all__ = ["take_best"]

logger = logging.getLogger(__name__)

OWN = "student"


def take_best(
    student: nn.Module,
    offered: Mapping[str, Mapping[str, Tensor]],
    arguments: TrainingArguments,
    evaluate: Callable[[str], Mapping[str, float]],
) -> dict[str, float]:
    """Give a student the best of its own weights and those that the parts of its training offer.

    Args:
        student: what is evaluated; it ends with the best weights.
        offered: as `Part.candidates` gives them.
        arguments: ``metric_for_best_model`` (default: the loss) and ``greater_is_better`` say what is best.
        evaluate: the student as it is, with the prefix of its metrics' names.
    Returns:
        The score of each candidate, the best first; the student's own weights are ``student``, and win a draw.
    Raises:
        RequestError: the metric is not measured; the student has its own weights then.
    """
    named = (arguments.metric_for_best_model or "loss").removeprefix("eval_")
    greater = arguments.greater_is_better
    sign = 1.0 if (not named.endswith("loss") if greater is None else greater) else -1.0
    weights = {OWN: {name: tensor.detach().clone() for name, tensor in tensors_of(student).items()}, **offered}
    scores: dict[str, float] = {}
    best = OWN
    try:
        for candidate, tensors in weights.items():
            load_tensors(student, tensors)
            metrics = evaluate(f"eval_{candidate}")
            known = {name.removeprefix(f"eval_{candidate}_"): score for name, score in metrics.items()}
            if named not in known:
                raise unknown("metric", named, known)
            scores[candidate] = known[named]
        # The order of equals stays, so that the student is the first of them.
        ranked = sorted(scores, key=lambda name: math.inf if math.isnan(scores[name]) else -sign * scores[name])
        best = ranked[0]
    finally:
        load_tensors(student, weights[best])
    told = ", ".join(f"{name} {scores[name]:.4f}" for name in ranked)
    logger.info("%s: %s; the model that is saved is %s", named, told, best)
    return {name: scores[name] for name in ranked}
