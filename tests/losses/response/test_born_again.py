"""Born-again networks: examples weighted by the teacher's confidence, and the teacher's answer in disorder."""

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import CWTM, DKPP, HardLabel, SoftTarget
from distilnlp.losses.response.born_again import permuted
from distilnlp.outputs import Outputs
from tests.losses.cases import Case


def logits(seed: int, rows: int = 6, classes: int = 5) -> Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_example_weighs_as_much_as_the_teacher_is_sure_of_it() -> None:
    """Teachers of .9 and .6 give the weights .6 and .4."""
    teacher, student = torch.tensor([[0.9, 0.1], [0.6, 0.4]]).double().log(), logits(1, 2, 2)
    labels = torch.tensor([1, 0])
    each = [float(HardLabel()(Outputs(logits=student[[i]]), None, {"labels": labels[[i]]})) for i in range(2)]
    loss = CWTM()(Outputs(logits=student), Outputs(logits=teacher), {"labels": labels})
    assert float(loss) == pytest.approx(0.6 * each[0] + 0.4 * each[1])


def test_a_teacher_that_is_equally_sure_of_all_changes_nothing() -> None:
    student, labels = logits(1), torch.tensor([0, 1, 2, 3, 4, 0])
    teacher = torch.eye(5).double()[labels] * 3
    loss = CWTM()(Outputs(logits=student), Outputs(logits=teacher), {"labels": labels})
    assert float(loss) == pytest.approx(float(HardLabel()(Outputs(logits=student), None, {"labels": labels})))


def test_disorder_keeps_the_best_class_and_all_the_values() -> None:
    teacher = logits(2, 200)
    disordered = permuted(teacher)
    assert torch.equal(disordered.argmax(dim=-1), teacher.argmax(dim=-1))
    assert torch.equal(disordered.sort(dim=-1).values, teacher.sort(dim=-1).values)


def test_every_order_of_the_other_classes_is_about_as_frequent() -> None:
    teacher = logits(3, 6000, 4)
    others = teacher.argsort(dim=-1, descending=True)[:, 1:]
    ranks = permuted(teacher).gather(-1, others).argsort(dim=-1, descending=True)
    counts = torch.unique(ranks, dim=0, return_counts=True)[1]
    assert len(counts) == 6
    assert int(counts.min()) > 800 and int(counts.max()) < 1200


def test_an_example_has_the_same_order_each_time_and_in_any_batch() -> None:
    teacher = logits(4)
    again = torch.cat([permuted(teacher[3:] + 1e-9), permuted(teacher[:3])])
    torch.testing.assert_close(again, permuted(teacher)[[3, 4, 5, 0, 1, 2]])


def test_the_loss_is_that_of_soft_targets_in_disorder() -> None:
    student, teacher = Outputs(logits=logits(5)), logits(6)
    loss = DKPP(3.0)(student, Outputs(logits=teacher), {})
    assert float(loss) == pytest.approx(float(SoftTarget(3.0)(student, Outputs(logits=permuted(teacher)), {})))
    assert float(loss) != pytest.approx(float(SoftTarget(3.0)(student, Outputs(logits=teacher), {})))


def test_of_two_classes_there_is_nothing_to_put_in_disorder() -> None:
    two = Case("dkpp").info(num_logits=2)
    with pytest.raises(RequestError, match="only one other"):
        DKPP().resolve(two, two)
