"""Learning without forgetting: the old classes alone, and nothing at the beginning."""

import dataclasses

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import LWF, SoftTarget
from distilnlp.outputs import Outputs
from tests.losses.cases import Case


def logits(seed: int, classes: int) -> torch.Tensor:
    return torch.randn(5, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_soft_target_of_the_old_classes():
    student, teacher = logits(1, 5), logits(2, 3)
    loss = LWF(3.0)(Outputs(logits=student), Outputs(logits=teacher), {})
    assert float(loss) == float(SoftTarget(3.0)(Outputs(logits=student[:, :3]), Outputs(logits=teacher), {}))


def test_the_new_classes_are_untouched():
    student = logits(1, 5).requires_grad_()
    LWF()(Outputs(logits=student), Outputs(logits=logits(2, 3)), {}).backward()
    assert student.grad is not None
    assert not student.grad[:, 3:].any() and bool(student.grad[:, :3].all())


def test_a_student_that_is_still_the_teacher_has_nothing_to_learn_from_it():
    student = logits(1, 5).requires_grad_()
    loss = LWF()(Outputs(logits=student), Outputs(logits=student[:, :3].detach()), {})
    loss.backward()
    assert float(loss.detach()) == 0 and student.grad is not None and float(student.grad.abs().max()) < 1e-15


@pytest.mark.parametrize(("teacher", "message"), [(6, "let the stage have 'labels: grow'"), (1, "needs classes >= 2")])
def test_a_teacher_that_knows_more_or_no_classes_is_refused(teacher: int, message: str):
    student = dataclasses.replace(Case("lwf").info(), num_logits=5)
    with pytest.raises(RequestError, match=message):
        LWF().resolve(student, dataclasses.replace(student, num_logits=teacher))
