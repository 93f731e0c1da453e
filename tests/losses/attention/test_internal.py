"""Internal distillation: numbers worked out by hand."""

import pytest
import torch

from distilnlp.losses import get_loss
from distilnlp.outputs import Outputs
from tests.losses.cases import ONE, outputs


def attention(rows: list[list[float]], cls: list[float]) -> Outputs:
    """One head whose attention has these rows, and a state of the first token."""
    return Outputs(
        attentions={1: torch.tensor([[rows]], dtype=torch.float64)},
        hidden_states={1: torch.tensor([[cls, [0.0, 0.0]]], dtype=torch.float64)},
    )


def test_internal_is_the_kl_of_the_rows_worked_out_by_hand_and_a_cosine() -> None:
    teacher = attention([[0.5, 0.5], [0.9, 0.1]], [1.0, 0.0])
    uniform = [[0.5, 0.5], [0.5, 0.5]]
    loss = get_loss("internal", layer_map=ONE)
    assert loss(attention(uniform, [3.0, 0.0]), teacher, {}).item() == pytest.approx(0.184032, abs=1e-6)
    assert loss(attention(uniform, [0.0, 2.0]), teacher, {}).item() == pytest.approx(1.184032, abs=1e-6)
    assert loss(attention(uniform, [-1.0, 0.0]), teacher, {}).item() == pytest.approx(2.184032, abs=1e-6)


MAP = {"layer_map": [[1, 2], [2, 3]]}


def test_internal_is_the_mean_over_its_layers() -> None:
    student, teacher = outputs(0), outputs(1)
    each = [get_loss("internal", layer_map=[pair])(student, teacher, {}) for pair in MAP["layer_map"]]
    torch.testing.assert_close(get_loss("internal", **MAP)(student, teacher, {}), (each[0] + each[1]) / 2)
