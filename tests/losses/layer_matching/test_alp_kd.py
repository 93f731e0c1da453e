"""ALP-KD: its formula and its limits."""

import itertools

import pytest
import torch

from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo, Outputs
from tests.losses.cases import outputs

LAYERS = {"student_layers": [1, 2], "teacher_layers": [1, 2, 3]}


def test_alp_kd_is_its_formula() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = []
    for n, j in itertools.product(range(4), (1, 2)):
        s = student.hidden_states[j][n, 0]
        t = [teacher.hidden_states[i][n, 0] for i in (1, 2, 3)]
        e = [float(torch.exp(s @ x)) for x in t]
        context = sum(weight / sum(e) * x for weight, x in zip(e, t, strict=True))
        expected.append((s - context).pow(2).mean())
    torch.testing.assert_close(get_loss("alp_kd", **LAYERS)(student, teacher, {}), torch.stack(expected).mean())


def test_alp_kd_with_one_hot_attention_is_a_fixed_map() -> None:
    """Large states: all attention goes to the layer of the largest product."""
    h = torch.eye(3)[:, None, None, :] * 100.0  # three orthogonal states
    student = Outputs(hidden_states={1: h[0] * 0.5, 2: h[2] * 0.5})
    teacher = Outputs(hidden_states={1: h[0], 2: h[1], 3: h[2]})
    got = get_loss("alp_kd", **LAYERS)(student, teacher, {})
    assert got.item() == pytest.approx(50.0**2 / 3)  # layers 1 and 3, each at half the size


def test_alp_kd_with_one_teacher_layer_is_the_squared_error_of_cls() -> None:
    student, teacher = outputs(0), outputs(1)
    expected = (student.hidden_states[2][:, 0] - teacher.hidden_states[3][:, 0]).pow(2).mean()
    got = get_loss("alp_kd", student_layers=[2], teacher_layers=[3])(student, teacher, {})
    torch.testing.assert_close(got, expected)


def info(layers: int, width: int = 8) -> ModelInfo:
    return ModelInfo("model", layers, width, 2, 3)


def test_alp_kd_learns_a_map_where_the_widths_differ_and_only_there() -> None:
    loss = get_loss("alp_kd", **LAYERS)
    assert loss.make_module(info(3), info(3)) is None
    module = loss.make_module(info(3), info(3, width=12))
    assert module is not None and {p.shape for p in module.parameters()} == {(12, 8), (12,)}
