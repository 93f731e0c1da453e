"""BERT-EMD: plans worked out by hand."""

import itertools

import pytest
import torch
from torch import Tensor

from distilnlp.losses import get_loss
from distilnlp.losses.layer_matching.bert_emd import transport
from distilnlp.outputs import ModelInfo, Outputs
from tests.losses.cases import LENGTHS, outputs


def test_the_plan_of_two_layers_and_three_is_the_one_worked_out_by_hand() -> None:
    costs = torch.tensor([[1.0, 3, 5], [4, 2, 0]])
    plan = transport(costs)
    torch.testing.assert_close(plan, torch.tensor([[1 / 3, 1 / 6, 0], [0, 1 / 6, 1 / 3]]))
    assert (plan * costs).sum().item() == pytest.approx(1.166667, abs=1e-6)


def test_a_plan_moves_all_of_each_layer() -> None:
    plan = transport(torch.rand(4, 6, generator=torch.Generator().manual_seed(0)))
    assert bool((plan >= 0).all())
    torch.testing.assert_close(plan.sum(dim=1), torch.full((4,), 1 / 4))
    torch.testing.assert_close(plan.sum(dim=0), torch.full((6,), 1 / 6))


def test_a_plan_does_not_depend_on_the_size_of_the_costs() -> None:
    costs = torch.rand(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(transport(costs * 1e-30), transport(costs))


def levels(*numbers: float) -> Outputs:
    """A model whose layers hold one number each; layer 1 comes first."""
    return Outputs(hidden_states={k: torch.full((1, 1, 1), float(x)) for k, x in enumerate(numbers, 1)})


def test_a_cost_that_is_not_a_number_reaches_the_loss() -> None:
    """The trainer stops at it; a plan that left it out would hide it."""
    got = get_loss("bert_emd", student_layers=[1], teacher_layers=[1, 2])(levels(0.0), levels(1.0, torch.nan), {})
    assert torch.isnan(got)


def test_bert_emd_of_one_layer_and_two_is_the_mean_cost() -> None:
    got = get_loss("bert_emd", student_layers=[1], teacher_layers=[1, 2])(levels(0.0), levels(1.0, 3.0**0.5), {})
    assert got.item() == pytest.approx(2.0)  # costs 1 and 3


def distance(h_s: Tensor, h_t: Tensor) -> Tensor:
    """Squared error over the real tokens, example by example."""
    return torch.stack([(h_s[n, :k] - h_t[n, :k]).pow(2).mean() for n, k in enumerate(LENGTHS)])


def info(layers: int, width: int = 8) -> ModelInfo:
    return ModelInfo("model", layers, width, 2, 3)


def test_bert_emd_of_equally_many_layers_is_the_cheapest_pairing() -> None:
    """A plan between equal weights is a permutation: all of them are tried."""
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    s, t = student.hidden_states, teacher.hidden_states
    cheapest = min(
        sum(distance(s[j], t[i]).mean() for j, i in zip((1, 2, 3), order, strict=True)) / 3
        for order in itertools.permutations((1, 2, 3))
    )
    loss = get_loss("bert_emd").resolve(info(3), info(3))
    torch.testing.assert_close(loss(student, teacher, {}), torch.as_tensor(cheapest))


def test_bert_emd_learns_a_map_where_the_widths_differ_and_only_there() -> None:
    loss = get_loss("bert_emd", student_layers=[1], teacher_layers=[1])
    assert loss.make_module(info(1), info(1)) is None
    module = loss.make_module(info(1), info(1, width=12))
    assert module is not None and {p.shape for p in module.parameters()} == {(12, 8), (12,)}
