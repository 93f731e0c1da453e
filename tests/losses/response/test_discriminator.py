"""Discriminator and student learn against each other in one step, each from its own loss."""

import math

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import Objective, get_loss
from distilnlp.losses.discriminator import Discriminator
from distilnlp.outputs import ModelInfo, Outputs
from distilnlp.problems import get_problem
from tests.losses.cases import random

INFO = ModelInfo("model", 3, 8, 2, 3, get_problem("single_label_classification"))


def undecided() -> Discriminator:
    """It says one half to everything."""
    module = Discriminator(3, 4).double()
    torch.nn.init.zeros_(module.layers[2].weight)
    torch.nn.init.zeros_(module.layers[2].bias)
    return module


def test_golden_an_undecided_discriminator_loses_two_ln_two_and_the_student_ln_two() -> None:
    module, s, t = undecided(), random(0, 5, 3), random(1, 5, 3)
    torch.testing.assert_close(module.loss(s, t), torch.full((5,), 1.386294, dtype=torch.float64), atol=1e-6, rtol=0)
    value = get_loss("discriminator")(Outputs(logits=s), Outputs(logits=t), {}, module)
    assert value.item() == pytest.approx(math.log(2))


def test_reference_binary_cross_entropies_by_their_formula() -> None:
    torch.manual_seed(0)
    module, s, t = Discriminator(3, 4).double(), random(0, 5, 3), random(1, 5, 3)
    d_s, d_t = torch.sigmoid(module(s)), torch.sigmoid(module(t))
    torch.testing.assert_close(module.loss(s, t), -d_t.log() - (1 - d_s).log())
    torch.testing.assert_close(module.deceived(s), -d_s.log())


def test_the_students_loss_moves_no_weight_of_the_discriminator_and_the_reverse() -> None:
    torch.manual_seed(0)
    module, s, t = Discriminator(3, 4).double(), random(0, 5, 3).requires_grad_(), random(1, 5, 3).requires_grad_()
    module.deceived(s).sum().backward()
    assert s.grad is not None and s.grad.abs().sum() > 0 and all(each.grad is None for each in module.parameters())

    s.grad = None
    module.loss(s, t).sum().backward()
    assert s.grad is None and t.grad is None and all(each.grad is not None for each in module.parameters())


def test_one_step_of_both_is_a_step_of_each() -> None:
    torch.manual_seed(0)
    module, s, t = Discriminator(3, 4).double(), random(0, 5, 3).requires_grad_(), random(1, 5, 3)
    wanted = [
        *torch.autograd.grad(module.deceived(s).sum(), [s]),
        *torch.autograd.grad(module.loss(s, t).sum(), list(module.parameters())),
    ]
    given = torch.autograd.grad(module.both(s, t).sum(), [s, *module.parameters()])
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_the_discriminator_learns_to_tell_and_the_student_to_deceive_it() -> None:
    torch.manual_seed(0)
    loss, module = get_loss("discriminator", hidden=8), Discriminator(3, 8).double()
    t, s = random(1, 64, 3) + 2, (random(0, 64, 3) - 2).requires_grad_()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(50):
        optimizer.zero_grad()
        loss(Outputs(logits=s), Outputs(logits=t), {}, module).backward()
        optimizer.step()
    assert module.loss(s, t).mean() < 0.2
    before = s.detach().clone()
    torch.optim.SGD([s], lr=1.0).step()
    assert (s - before).mean() > 0  # towards where the teacher's are


def test_weight_zero_is_plain_distillation_to_the_bit() -> None:
    plain = {"soft_target": {"weight": 1.0}}
    with_it = Objective.from_dict({**plain, "discriminator": {"weight": 0.0}})
    s, t = Outputs(logits=random(0, 5, 3)), Outputs(logits=random(1, 5, 3))
    assert torch.equal(with_it(s, t, {})[0], Objective.from_dict(plain)(s, t, {})[0])
    assert not with_it.make_modules(INFO, INFO)


@pytest.mark.parametrize("hidden", [0, -1, 1.5])
def test_a_discriminator_has_a_whole_number_of_units(hidden: object) -> None:
    with pytest.raises(RequestError, match="hidden must be a whole number"):
        get_loss("discriminator", hidden=hidden)
