"""CRD and the queue of earlier texts: golden numbers, references, what the queue holds and what it does not."""

import logging
import math

import pytest
import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses import CRD, InfoNCE, Loss, Objective
from distilnlp.losses.relation.base import warn_of_small_batch
from tests.losses.cases import ONE, Case, outputs, points, random_points


def test_info_nce_of_equal_similarities_is_the_log_of_the_batch() -> None:
    basis = torch.eye(5)
    student, teacher = points(basis[4].repeat(4, 1)), points(basis[:4])
    got = InfoNCE(ONE, dimension=None)(student, teacher, {})
    assert float(got) == pytest.approx(1.386294, abs=1e-6)


def test_info_nce_is_its_written_definition() -> None:
    s, t = random_points(0), random_points(1)
    expected = 0.0
    for i in range(5):
        terms = [math.exp(float(torch.cosine_similarity(s[i], t[j], dim=0)) / 0.2) for j in range(5)]
        expected -= math.log(terms[i] / sum(terms)) / 5
    got = InfoNCE(ONE, temperature=0.2, dimension=None)(points(s), points(t), {})
    assert float(got) == pytest.approx(expected)


def test_a_text_that_stands_twice_is_no_negative_of_itself() -> None:
    s, t = random_points(0, batch=3), random_points(1, batch=3)
    twice = torch.tensor([0, 0, 1, 2])
    loss = InfoNCE(ONE, dimension=None)
    rows = torch.cosine_similarity(s[twice][:, None], t[twice][None], dim=-1) / 0.07
    rows[0, 1] = rows[1, 0] = -math.inf
    expected = -torch.log_softmax(rows, dim=-1).diagonal().mean()
    torch.testing.assert_close(loss(points(s[twice]), points(t[twice]), {}), expected)


def made(loss: Loss, width: int = 4) -> nn.Module:
    module = loss.make_module(Case("x").info(width=width), Case("x").info(width=width))
    assert module is not None
    return module.double()


def test_crd_of_four_negatives_and_equal_scores_is_the_golden_number() -> None:
    """log 5 for the text itself and log 1.25 for each of the four others."""
    basis = torch.eye(6)
    student, teacher = points(basis[5].repeat(5, 1)), points(basis[:5])
    loss = CRD(ONE, dimension=None)
    assert float(loss(student, teacher, {}, made(loss, 6))) == pytest.approx(2.502012, abs=1e-6)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a, b, dim=0))


def test_crd_is_its_written_definition_in_the_first_batch_and_in_the_second() -> None:
    loss = CRD(ONE, temperature=0.5, dimension=None, queue=7)
    module = made(loss)
    first, second = (random_points(0), random_points(1)), (random_points(2, 3), random_points(3, 3))
    constant = sum(math.exp(cosine(s, t) / 0.5) for s in first[0] for t in first[1]) / 25
    for (student, teacher), earlier in ((first, first[1][:0]), (second, first[1])):
        texts, expected = torch.cat([teacher, earlier]), 0.0
        for i, s in enumerate(student):
            scores = [math.exp(cosine(s, t) / 0.5) / constant for t in texts]
            negatives = len(scores) - 1
            found = [score / (score + negatives) for score in scores]
            expected -= math.log(found[i]) + sum(math.log(1 - h) for j, h in enumerate(found) if j != i)
        got = loss(points(student), points(teacher), {}, module)
        assert float(got) == pytest.approx(expected / len(student))


def test_info_nce_with_a_queue_is_its_written_definition() -> None:
    loss = InfoNCE(ONE, temperature=0.5, dimension=None, queue=3)
    module = made(loss)
    earlier, student, teacher = random_points(0), random_points(1, 2), random_points(2, 2)
    loss(points(earlier), points(earlier), {}, module)
    texts = torch.cat([teacher, earlier[:3]])  # what does not fit into the queue is not there
    scores = [[math.exp(cosine(s, t) / 0.5) for t in texts] for s in student]
    expected = -sum(math.log(row[i] / sum(row)) for i, row in enumerate(scores)) / 2
    assert float(loss(points(student), points(teacher), {}, module)) == pytest.approx(expected)


def test_a_text_that_comes_again_in_a_later_batch_is_no_negative_of_itself() -> None:
    """In a small data set every text is still in the queue when its turn comes again."""
    student, teacher = random_points(0), random_points(1)
    loss = InfoNCE(ONE, temperature=0.5, dimension=None, queue=8)
    module = made(loss)
    loss(points(student), points(teacher), {}, module)
    expected = 0.0
    for i, s in enumerate(student):
        scores = [math.exp(cosine(s, t) / 0.5) for t in teacher]
        expected -= math.log(scores[i] / (2 * sum(scores) - scores[i])) / 5  # the others twice, itself once
    assert float(loss(points(student), points(teacher), {}, module)) == pytest.approx(expected)


def test_the_queue_holds_the_latest_texts_of_the_teacher_and_is_no_parameter() -> None:
    loss = InfoNCE(ONE, queue=4)
    module = made(loss)
    batches = [random_points(seed, 3) for seed in range(3)]
    for batch in batches:
        loss(points(batch + 1), points(batch), {}, module)
    queue = module.get_buffer("1.queue.vectors")
    torch.testing.assert_close(queue, torch.cat([batches[2], batches[1][:1]]))
    assert not queue.requires_grad and "1.queue.vectors" in module.state_dict()
    assert {name for name, _ in module.named_parameters()} == {
        f"1.{who}.{what}" for who in ("student", "teacher") for what in ("weight", "bias")
    }


def test_evaluation_leaves_the_queue_and_the_constant_alone() -> None:
    loss = CRD(ONE, queue=4)
    module = made(loss).eval()
    loss(points(random_points(0)), points(random_points(1)), {}, module)
    assert not module.get_buffer("1.queue.vectors").any() and module.get_buffer("1.log_constant").isnan()


def test_the_backward_pass_comes_after_the_queue_has_changed() -> None:
    """Saved for the backward pass is what the loss was computed from."""
    loss = CRD(ONE, queue=4)
    module = made(loss)
    student = random_points(0).requires_grad_()
    total = loss(points(student), points(random_points(1)), {}, module)
    total = total + loss(points(student), points(random_points(2)), {}, module)
    total.backward()
    assert student.grad is not None and float(student.grad.abs().sum()) > 0
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_a_resumed_run_goes_on_as_the_uninterrupted_one() -> None:
    loss = CRD(ONE, queue=4)
    kept = made(loss)
    loss(points(random_points(0)), points(random_points(1)), {}, kept)
    resumed = made(loss)
    resumed.load_state_dict(kept.state_dict())
    values = [loss(points(random_points(2)), points(random_points(3)), {}, module) for module in (kept, resumed)]
    torch.testing.assert_close(*values)


def test_crd_without_any_negative_is_zero_and_has_one_with_the_queue_filled(caplog: pytest.LogCaptureFixture) -> None:
    loss = CRD(ONE, queue=4)
    module = made(loss)
    first = loss(points(random_points(0, 1)), points(random_points(1, 1)), {}, module)
    first.backward()  # a process without a gradient for a parameter would stop the others
    assert first.item() == 0 and all(parameter.grad is not None for parameter in module.parameters())
    assert loss(points(random_points(2, 1)), points(random_points(3, 1)), {}, module).item() > 0
    warn_of_small_batch.cache_clear()
    without = CRD(ONE, queue=0)
    with caplog.at_level(logging.WARNING, logger="distilnlp"):
        assert without(points(random_points(0, 1)), points(random_points(1, 1)), {}, made(without)).item() == 0
    assert "crd" in caplog.text


def test_training_brings_the_vectors_of_a_text_together() -> None:
    loss = CRD([(3, 3)], dimension=8, queue=16)
    case = Case("crd")
    torch.manual_seed(0)
    modules = Objective([(1.0, loss)]).make_modules(case.info(), case.info())
    optimizer = torch.optim.Adam(modules.parameters(), lr=0.01)
    values = []
    for _ in range(60):
        value, _ = Objective([(1.0, loss)])(outputs(0), outputs(1), {}, modules)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] / 4


def test_what_cannot_be_made_or_compared_is_refused() -> None:
    for name in ("queue", "dimension", "temperature"):
        with pytest.raises(RequestError, match=name):
            CRD(ONE, **{name: -1})
    with pytest.raises(RequestError, match="make_module"):
        CRD(ONE)(points(random_points(0)), points(random_points(1)), {})
    with pytest.raises(RequestError, match="make_module"):
        InfoNCE(ONE, queue=4)(points(random_points(0)), points(random_points(1)), {})
    unequal = CRD(ONE, dimension=None, queue=0)
    with pytest.raises(RequestError, match="4 wide and the teacher 5"):
        unequal(points(random_points(0)), points(random_points(1, width=5)), {}, made(unequal))
