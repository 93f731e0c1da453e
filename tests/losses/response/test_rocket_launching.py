"""Rocket launching: who learns from whom."""

import dataclasses
import logging

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import Outputs
from distilnlp.problems import get_problem
from tests.losses.cases import BATCH, CASES, TOKENS, outputs

CASE = next(case for case in CASES if case.name == "rocket_launching")


LABELS = {"labels": torch.tensor([0, 2, 1, 0])}


def booster_logits(student: Outputs, module: torch.nn.Module, every_token: bool = False) -> Tensor:
    states = student.hidden_states[1]
    logits: Tensor = module(states, student.token_mask(states), every_token=every_token)
    return logits


def test_it_is_the_boosters_cross_entropy_and_the_squared_difference_of_the_logits() -> None:
    student = outputs(0, dtype=torch.float64)
    module = CASE.module(student)
    assert module is not None and student.logits is not None
    z = booster_logits(student, module)
    expected = -z.log_softmax(-1)[torch.arange(BATCH), LABELS["labels"]].mean()
    expected = expected + 0.5 * (student.logits - z).pow(2).sum() / (BATCH * 3)
    torch.testing.assert_close(CASE.make()(student, None, LABELS, module), expected)


def test_the_gradient_block_the_booster_learns_the_labels_and_nothing_of_the_student() -> None:
    student = outputs(0)
    module = CASE.module(student)
    assert module is not None
    gradients = []
    for weight in (0.5, 50.0):
        module.zero_grad()
        loss = get_loss("rocket_launching", blocks=2, hint_weight=weight)
        loss(student, None, LABELS, module).backward()
        gradients.append([p.grad.clone() for p in module.parameters() if p.grad is not None])
    assert gradients[0] and all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_students_logits_learn_from_the_booster_and_its_lower_layers_from_the_labels() -> None:
    student = outputs(0)
    assert student.logits is not None
    module = CASE.module(student)
    assert module is not None
    logits, states = student.logits.requires_grad_(), student.hidden_states[1].requires_grad_()
    CASE.make()(student, None, LABELS, module).backward()
    z = booster_logits(student, module).detach()
    torch.testing.assert_close(logits.grad, 0.5 * 2 * (logits.detach() - z) / (BATCH * 3))
    shared = states.detach().clone().requires_grad_()
    changed = dataclasses.replace(student, hidden_states={1: shared})
    F.cross_entropy(booster_logits(changed, module), LABELS["labels"]).backward()
    torch.testing.assert_close(states.grad, shared.grad)


def test_a_head_on_every_token_gets_a_booster_on_every_token() -> None:
    student = dataclasses.replace(outputs(0), logits=torch.randn(BATCH, TOKENS, 3))
    module = CASE.module(student)
    assert module is not None
    real = student.token_mask(student.hidden_states[1])
    labels = torch.arange(BATCH * TOKENS).view(BATCH, TOKENS) % 3
    z = booster_logits(student, module, every_token=True)
    assert student.logits is not None
    expected = torch.stack(
        [
            F.cross_entropy(z[n][real[n]], labels[n][real[n]])
            + 0.5 * (student.logits[n] - z[n])[real[n]].pow(2).mean()
            for n in range(BATCH)
        ]
    ).mean()
    torch.testing.assert_close(CASE.make()(student, None, {"labels": labels}, module), expected)


def test_a_regression_is_boosted_by_its_squared_error() -> None:
    student = outputs(0, classes=1)
    module = CASE.make().make_module(CASE.info(num_logits=1, problem=get_problem("regression")), None)
    assert module is not None and student.logits is not None
    target = torch.tensor([0.5, 1.0, -1.0, 2.0])
    z = booster_logits(student, module)
    expected = (z[:, 0] - target).pow(2).mean() + 0.5 * (student.logits - z).pow(2).mean()
    torch.testing.assert_close(CASE.make()(student, None, {"labels": target}, module), expected)


def test_a_booster_that_is_no_deeper_than_the_student_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        get_loss("rocket_launching", shared=1, blocks=2).resolve(CASE.info(), None)
    assert "2 blocks on layer 1 and the student 2" in caplog.text
    caplog.clear()
    get_loss("rocket_launching", shared=1, blocks=3).resolve(CASE.info(), None)
    assert not caplog.text


@pytest.mark.parametrize("settings", [{"shared": -1}, {"shared": 0.5}, {"blocks": 0}, {"hint_weight": 0.0}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=next(iter(settings))):
        get_loss("rocket_launching", **settings)


def test_a_layer_that_the_student_has_not_is_refused() -> None:
    with pytest.raises(RequestError, match="layer 4; the student has 3 layers"):
        get_loss("rocket_launching", shared=4).resolve(CASE.info(), None)
