"""Patient knowledge distillation: golden number, invariances, layers, projections."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import PKD
from tests.losses.cases import ONE, Case, points, random_points


def test_pkd_is_two_minus_two_cosines_and_forgets_scale() -> None:
    s, t = random_points(0), random_points(1)
    expected = (2 - 2 * torch.cosine_similarity(s, t)).mean()
    torch.testing.assert_close(PKD(ONE)(points(s * 7), points(t), {}), expected)


def test_pkd_leaves_the_last_layer_out_and_projects_unequal_widths() -> None:
    case = Case("x")
    assert PKD().resolve(case.info(layers=6), case.info(layers=12)).pairs.teacher == (2, 4, 6, 8, 10)
    assert PKD("last").resolve(case.info(layers=6), case.info(layers=12)).pairs.teacher == (7, 8, 9, 10, 11)
    assert PKD(ONE).make_module(case.info(), case.info()) is None
    module = PKD(ONE).make_module(case.info(width=4), case.info())
    assert module is not None
    PKD(ONE)(points(random_points(0).float()), points(torch.randn(5, 8)), {}, module).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    with pytest.raises(RequestError, match="make_module"):
        PKD(ONE)(points(random_points(0)), points(torch.randn(5, 8)), {})


def test_pkd_gives_the_golden_number() -> None:
    student, teacher = [[4.0, 3.0]], [[3.0, 4.0]]
    assert float(PKD(ONE)(points(student), points(teacher), {})) == pytest.approx(0.08, abs=2e-6)
