"""Neuron selectivity transfer: numbers worked out by hand, and the kernel that it is."""

import pytest
import torch
from torch import Tensor

from distilnlp.losses import get_loss
from distilnlp.outputs import Outputs
from tests.losses.cases import LENGTHS, ONE, outputs


def states(h: Tensor) -> Outputs:
    return Outputs(hidden_states={1: h})


def test_nst_of_two_dimensions_worked_out_by_hand() -> None:
    """The teacher's react to one token each, the student's both to the first; columns are dimensions."""
    teacher = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    student = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert get_loss("nst", layer_map=ONE)(states(student), states(teacher), {}).item() == pytest.approx(0.5)


MAP = {"layer_map": [[1, 2], [2, 3]]}


def test_nst_is_the_squared_maximum_mean_discrepancy() -> None:
    """The paper's form: means of squared products over all pairs of dimensions."""
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = []
    for j, i in ((1, 2), (2, 3)):
        for n, length in enumerate(LENGTHS):
            s, t = (h[n, :length].T for h in (student.hidden_states[j], teacher.hidden_states[i]))
            s, t = (f / f.norm(dim=1, keepdim=True) for f in (s, t))
            within = sum((f @ f.T).pow(2).mean() for f in (s, t))
            expected.append(within - 2 * (s @ t.T).pow(2).mean())
    torch.testing.assert_close(get_loss("nst", **MAP)(student, teacher, {}), torch.stack(expected).mean())


def test_nst_knows_neither_the_order_nor_the_size_nor_the_number_of_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    s, t = (torch.randn(2, 5, width, generator=generator, dtype=torch.float64) for width in (8, 12))
    loss = get_loss("nst", layer_map=ONE)
    changed = s[..., torch.randperm(8, generator=generator)] * torch.arange(1, 9)
    torch.testing.assert_close(loss(states(changed), states(t), {}), loss(states(s), states(t), {}))
