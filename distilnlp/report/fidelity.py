"""How closely a student answers as its teacher does, which is not how well it answers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.problems import Problem, get_problem
from distilnlp.report.predictions import Predictions

__all__ = ["fidelity", "fidelity_of"]


def fidelity(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    problem: Problem | str,
    teacher_problem: Problem | None = None,
    examples: NDArray[np.int64] | None = None,
    found: tuple[Sequence[str], Sequence[str]] | None = None,
) -> dict[str, float]:
    """Agreement of a student with its teacher on the same examples, computed in float64.

    - classes: ``agreement``, the share of examples with the same largest logit, ``kappa``, what of it is not chance
      (Cohen's), and ``kl``, the mean of ``KL(teacher || student)``;
    - multi-label: ``agreement``, the share of (example, label) decisions that are the same, each model's by its own
      thresholds, ``kappa``, where chance is two models that give each label as often and ignore the texts, and ``kl``,
      the Bernoulli ``KL(teacher || student)`` summed over labels, mean over examples;
    - regression: ``agreement``, the Pearson correlation (1.0 when the numbers are the same, else 0.0 where it is not
      defined), and ``mae``, the mean absolute difference;
    - ranking: ``agreement``, Kendall's tau-b of the two orders of a query's texts, mean over the queries, and ``mae``,
      the mean absolute difference of the scores after each query's mean difference is taken off;
    - vectors of texts, whose widths may differ: ``agreement``, the Pearson correlation of the cosines between texts
      (each text and a few others; of pairs of texts those of the pairs), and ``mae``, their mean absolute difference;
    - answers that are texts: ``agreement``, the share of equal ones, ``answer_f1``, the mean F1 between their words,
      and ``mae``, the mean absolute difference of their probabilities.

    A student compared with itself has agreement 1.0 and ``kl`` or ``mae`` 0.0; its kappa is 1.0, but 0.0 where it
    answers every example alike.

    Args:
        problem: the kind of task, as the student decides it (`Problem.decided_by`), or its name.
        teacher_problem: the same as the teacher decides it; default: as the student.
        examples: ``(rows,)``, the example of each row of logits, where one has several.
        found: the texts that the student's and the teacher's rows are about, of a kind whose answers are texts.
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
    problem = get_problem(problem)
    student, teacher = (np.asarray(values, dtype=np.float64) for values in (student_logits, teacher_logits))
    alike = student.shape[:1] == teacher.shape[:1] if problem.vectors else student.shape == teacher.shape
    if not alike or student.size == 0:
        raise RequestError(
            f"fidelity needs student and teacher logits of one shape, with at least one example; "
            f"got {student.shape} and {teacher.shape}"
        )
    logits = problem.check_logits(student), problem.check_logits(teacher)
    return problem.agreement_of(*logits, found, teacher_problem, examples)


def fidelity_of(
    student: Predictions, teacher: Predictions, problem: Problem, names: tuple[str, str]
) -> dict[str, float] | None:
    """`fidelity` of two models' answers to the same held-out examples, each decided by its own thresholds.

    Args:
        student, teacher: their answers.
        problem: the kind of task.
        names: of the two, for what is wrong with them.
    Returns:
        None where the answers are tokens that have other numbers.
    Raises:
        RequestError: answers to other examples; else as `fidelity`.
    """
    if problem.labels_itself and not np.array_equal(student.labels, teacher.labels):
        return None
    decided = problem.decided_by(student.thresholds), problem.decided_by(teacher.thresholds)
    own, theirs = student.matched(teacher, names)
    texts = None if own.found is None or theirs.found is None else (own.found, theirs.found)
    return fidelity(own.logits, theirs.logits, *decided, decided[0].examples_of(own.labels, own.rows), texts)
