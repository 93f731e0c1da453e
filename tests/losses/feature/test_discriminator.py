"""Features of any width are judged, padding aside; the map to the teacher's width learns with the student."""

import dataclasses
import math

import torch

from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo
from distilnlp.problems import get_problem
from tests.losses.cases import tokens

INFO = ModelInfo("model", 2, 2, 2, 3, get_problem("single_label_classification"))


def test_golden_an_undecided_discriminator_gives_ln_two_whatever_the_padding() -> None:
    loss = get_loss("feature_discriminator", layer_map=[[1, 1], [2, 2]])
    module = loss.make_module(INFO, INFO)
    for name, weight in module.named_parameters():
        if "layers.2" in name:
            torch.nn.init.zeros_(weight)
    rows = [[1.0, 2.0], [3.0, 4.0], [torch.inf, torch.nan]]
    value = loss(tokens(rows, [1, 1, 0]), tokens([[5.0, 6.0], [7.0, 8.0], [torch.nan, 0.0]], [1, 1, 0]), {}, module)
    torch.testing.assert_close(value, torch.tensor(math.log(2)))


def test_the_projection_learns_with_the_student() -> None:
    loss = get_loss("feature_discriminator", layer_map=[[1, 1]])
    torch.manual_seed(0)
    module = loss.make_module(INFO, dataclasses.replace(INFO, width=3))["1"]
    student = torch.tensor([[[1.0, 2.0]]])
    module.discriminator.deceived(module.projection(student)).sum().backward()
    assert module.projection.weight.grad is not None
    assert all(each.grad is None for each in module.discriminator.parameters())
