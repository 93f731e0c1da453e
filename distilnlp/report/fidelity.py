"""How closely a student answers as its teacher does, which is not how well it answers."""

import numpy as np
from numpy.typing import ArrayLike

from distilnlp.errors import RequestError
from distilnlp.report.metrics import decide
from distilnlp.report.scores import REGRESSION, SINGLE_LABEL, Floats, correlation

__all__ = ["fidelity"]


def fidelity(student_logits: ArrayLike, teacher_logits: ArrayLike, problem_type: str) -> dict[str, float]:
    """Agreement of a student with its teacher on the same examples, computed in float64.

    - classes: ``agreement``, the share of examples with the same largest logit, and ``kl``, the mean of
      ``KL(teacher || student)``;
    - multi-label: ``agreement``, the share of (example, label) decisions that are the same, and ``kl``, the Bernoulli
      ``KL(teacher || student)`` summed over labels, mean over examples;
    - regression: ``agreement``, the Pearson correlation (1.0 when the numbers are the same, else 0.0 where it is not
      defined), and ``mae``, the mean absolute difference.

    A student compared with itself has agreement 1.0 and ``kl`` or ``mae`` 0.0.

    Shapes:
        student_logits, teacher_logits: ``(examples, classes)``, ``(examples, labels)``, ``(examples, 1)`` or
            ``(examples,)``; the same for both.
    Units: ``kl`` in nats, temperature 1; ``mae`` in the units of the target.
    Source: Stanton et al. 2021, arXiv:2106.05945, section 3 (top-1 agreement and predictive KL); the forms for
        regression and multi-label tasks are ours.
    Raises:
        RequestError: unequal or unfit shapes, no examples, an unknown problem type.
        RunError: logits that are not finite numbers.
    """
    student, teacher = (np.asarray(values, dtype=np.float64) for values in (student_logits, teacher_logits))
    if student.shape != teacher.shape or student.size == 0:
        raise RequestError(
            f"fidelity needs student and teacher logits of one shape, with at least one example; "
            f"got {student.shape} and {teacher.shape}"
        )
    answers, targets = decide(student, problem_type), decide(teacher, problem_type)
    if problem_type == REGRESSION:
        student, teacher = student.ravel(), teacher.ravel()  # (examples,)
        same = bool(np.array_equal(student, teacher))
        agreement = 1.0 if same else correlation(student, teacher, "agreement with the teacher")
        return {"agreement": agreement, "mae": float(np.abs(student - teacher).mean())}
    divergence = _class_kl(student, teacher) if problem_type == SINGLE_LABEL else _bernoulli_kl(student, teacher)
    # A KL is >= 0; rounding alone can take it just under.
    return {"agreement": float(np.mean(answers == targets)), "kl": max(0.0, float(divergence.mean()))}


def _class_kl(student: Floats, teacher: Floats) -> Floats:
    log_q, log_p = _log_softmax(student), _log_softmax(teacher)  # (examples, classes)
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=1))  # (examples,)


def _bernoulli_kl(student: Floats, teacher: Floats) -> Floats:
    total = np.zeros(len(student))
    for sign in (1.0, -1.0):  # log sigmoid(z) for "has the label", log sigmoid(-z) for "has it not"
        log_q, log_p = -np.logaddexp(0.0, -sign * student), -np.logaddexp(0.0, -sign * teacher)
        total += (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return total  # (examples,)


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
