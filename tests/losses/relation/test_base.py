"""What the losses on the examples of a batch share: invariances, equal texts, small batches."""

import logging

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import CKA, get_loss
from distilnlp.losses.relation.base import warn_of_small_batch
from distilnlp.outputs import Needs, Outputs
from tests.losses.cases import CASES, ONE, Case, outputs, points, random, random_points

CASE = Case("x")
RELATIONAL = ["rkd_distance", "rkd_angle", "similarity_preserving", "pkt", "cka"]


@pytest.mark.parametrize("name", RELATIONAL)
def test_rotation_and_scale_change_nothing_and_a_shift_nothing_where_it_is_said(name: str) -> None:
    s, t = random_points(0), random_points(1)
    loss = get_loss(name, layer_map=ONE)
    rotation = torch.linalg.qr(random_points(2, 4)).Q
    moved = 1e-3 * s @ rotation
    if name in ("rkd_distance", "rkd_angle", "cka"):
        moved = moved + 5
    torch.testing.assert_close(
        loss(points(moved), points(t), {}), loss(points(s), points(t), {}), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("name", RELATIONAL)
def test_texts_that_stand_twice_give_a_finite_gradient(name: str) -> None:
    s = random_points(0).float()[[0, 0, 1, 1, 2]].requires_grad_()
    get_loss(name, layer_map=ONE)(points(s), points(random_points(1)), {}).backward()
    assert s.grad is not None and torch.isfinite(s.grad).all() and float(s.grad.abs().max()) < 1e3
    same = torch.ones(4, 3, requires_grad=True)
    get_loss(name, layer_map=ONE)(points(same), points(random_points(1, 4)), {}).backward()
    assert same.grad is not None and torch.isfinite(same.grad).all()


@pytest.mark.parametrize("name", [*RELATIONAL, "info_nce"])
def test_a_batch_too_small_is_zero_with_one_warning(name: str, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_small_batch.cache_clear()
    case = next(case for case in CASES if case.name == name)
    module = case.module(outputs(0))
    small = Outputs(hidden_states={layer: torch.randn(1, 3, 8, requires_grad=True) for layer in (1, 2, 3)})
    with caplog.at_level(logging.WARNING, logger="distilnlp"):
        value = case.make()(small, small, {}, module)
        case.make()(small, small, {}, module)
    value.backward()
    assert value.item() == 0 and len(caplog.records) == 1 and name in caplog.text
    # a process without a gradient for a parameter would stop the others
    assert module is None or all(parameter.grad is not None for parameter in module.parameters())


def test_a_relation_needs_no_equal_tokens() -> None:
    """Each model's vectors come from its own tokens: two tokenizers can be compared."""
    longer = Outputs(hidden_states={1: torch.randn(4, 9, 5)})
    assert torch.isfinite(CKA(ONE)(outputs(0), longer, {}))


@pytest.mark.parametrize("name", ["cc", "dark_rank"])
def test_rotation_and_scale_of_a_model_change_nothing(name: str) -> None:
    s, t = random(0, 5, 4), random(1, 5, 4)
    moved = 1e-3 * s @ torch.linalg.qr(random(2, 4, 4)).Q
    loss = get_loss(name, layer_map=ONE)
    torch.testing.assert_close(loss(points(moved), points(t), {}), loss(points(s), points(t), {}))


@pytest.mark.parametrize(
    "name", ["rkd_distance", "rkd_angle", "similarity_preserving", "pkt", "cka", "cc", "dark_rank"]
)
def test_on_logits_it_is_the_same_relation_of_the_vectors_that_the_models_give(name: str) -> None:
    """And asks for no layer, so that the teacher's last ones need not be kept."""
    s, t = random(0, 5, 4), random(1, 5, 7)
    loss = get_loss(name, on="logits")
    expected = get_loss(name, layer_map=ONE)(points(s), points(t), {})
    torch.testing.assert_close(loss(Outputs(logits=s), Outputs(logits=t), {}), expected)
    assert loss.needs_student() == loss.needs_teacher() == Needs(logits=True)


def test_contrast_on_logits_learns_maps_from_vectors_of_any_width() -> None:
    student, teacher = CASE.info(num_logits=4), CASE.info(num_logits=7)
    loss = get_loss("info_nce", on="logits", dimension=3).resolve(student, teacher)
    module = loss.make_module(student, teacher)
    value = loss(Outputs(logits=torch.randn(5, 4)), Outputs(logits=torch.randn(5, 7)), {}, module)
    assert torch.isfinite(value)
    with pytest.raises(RequestError, match="4 wide and the teacher 7"):
        get_loss("info_nce", on="logits", dimension=None)(
            Outputs(logits=torch.randn(5, 4)), Outputs(logits=torch.randn(5, 7)), {}
        )


def test_on_logits_a_row_for_each_token_is_refused() -> None:
    with pytest.raises(RequestError, match="one row of logits a text"):
        CKA(on="logits")(Outputs(logits=torch.randn(4, 3, 2)), Outputs(logits=torch.randn(4, 3, 2)), {})


def test_an_unknown_place_is_told_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean 'logits'"):
        get_loss("cka", on="logit")


def test_what_looks_along_layers_is_refused_on_logits() -> None:
    with pytest.raises(RequestError, match="transformation_weight: 0"):
        get_loss("irg", on="logits")
    assert get_loss("irg", on="logits", transformation_weight=0.0).needs_student() == Needs(logits=True)
