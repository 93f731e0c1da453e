"""SemCKD: its formula."""

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo
from tests.losses.cases import LENGTHS, outputs

LAYERS = {"student_layers": [1, 2], "teacher_layers": [1, 2, 3]}


def info(layers: int, width: int = 8) -> ModelInfo:
    return ModelInfo("model", layers, width, 2, 3)


def test_semckd_is_its_formula() -> None:
    student, teacher = outputs(0), outputs(1)
    loss = get_loss("semckd", **LAYERS, dimension=4)
    torch.manual_seed(0)
    module = loss.make_module(info(3), info(3))
    assert module is not None
    parameters = dict(module.named_parameters())

    def linear(name: str, x: Tensor) -> Tensor:
        return parameters[f"{name}.weight"] @ x + parameters[f"{name}.bias"]

    expected = torch.zeros(())
    for n, length in enumerate(LENGTHS):
        for j in (1, 2):
            h_s = student.hidden_states[j][n, :length]
            q = linear(f"queries.{j}", h_s.mean(dim=0))
            k = [linear(f"keys.{i}", teacher.hidden_states[i][n, :length].mean(dim=0)) for i in (1, 2, 3)]
            e = [torch.exp(q @ x / 2) for x in k]  # sqrt(4)
            for i in (1, 2, 3):
                mapped = torch.stack([linear(f"maps.{j}_{i}", x) for x in h_s])
                error = (mapped - teacher.hidden_states[i][n, :length]).pow(2).mean()
                expected = expected + e[i - 1] / sum(e) * error / (4 * 2)
    torch.testing.assert_close(loss(student, teacher, {}, module), expected)


def test_semckd_without_its_module_says_where_to_get_it() -> None:
    with pytest.raises(RequestError, match="make_module"):
        get_loss("semckd", **LAYERS)(outputs(0), outputs(1), {})
    with pytest.raises(RequestError, match="dimension"):
        get_loss("semckd", dimension=0)
