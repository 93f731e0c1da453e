"""Losses on hidden states: golden numbers, masks, projections, means over examples."""

import pytest
import torch
from torch import nn

from distilnlp.errors import RequestError
from distilnlp.losses import AttentionScores, Embedding, HiddenState, HiddenStateCosine
from distilnlp.outputs import Outputs
from tests.losses.cases import ONE, Case, mask, outputs


def hidden(rows: list[list[float]], valid: list[int] | None = None, layer: int = 1) -> Outputs:
    return Outputs(
        hidden_states={layer: torch.tensor([rows])}, attention_mask=None if valid is None else torch.tensor([valid])
    )


H_T = [[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]


H_S = [[0.0, 1.0], [1.0, 0.0], [-7.0, 3.0]]


def test_hidden_state_gives_the_golden_number_and_not_the_one_with_padding() -> None:
    """Trap 9: 49.8333 is what the same tensors give when the padded row counts."""
    assert float(HiddenState(ONE)(hidden(H_S, [1, 1, 0]), hidden(H_T), {})) == pytest.approx(1.75)
    assert float(HiddenState(ONE)(hidden(H_S), hidden(H_T), {})) == pytest.approx(49.8333, abs=1e-4)


def test_each_example_weighs_the_same_whatever_its_length() -> None:
    student = Outputs(
        hidden_states={1: torch.tensor([[[2.0], [2.0]], [[4.0], [9.0]]])}, attention_mask=mask((2, 1), 2)
    )
    teacher = Outputs(hidden_states={1: torch.zeros(2, 2, 1)})
    assert float(HiddenState(ONE)(student, teacher, {})) == pytest.approx((4 + 16) / 2)


def test_the_mean_is_over_the_mapped_layers() -> None:
    student = Outputs(hidden_states={1: torch.ones(1, 1, 2), 2: 3 * torch.ones(1, 1, 2)})
    teacher = Outputs(hidden_states={2: torch.zeros(1, 1, 2), 4: torch.zeros(1, 1, 2)})
    assert float(HiddenState([(1, 2), (2, 4)])(student, teacher, {})) == pytest.approx((1 + 9) / 2)


def test_cosine_gives_the_golden_number_and_forgets_scale() -> None:
    student, teacher = hidden([[3.0, 4.0]]), hidden([[4.0, 3.0]])
    assert float(HiddenStateCosine(ONE)(student, teacher, {})) == pytest.approx(0.04)
    assert float(HiddenStateCosine(ONE)(hidden([[300.0, 400.0]]), teacher, {})) == pytest.approx(0.04)


def test_embedding_compares_layer_zero() -> None:
    assert float(Embedding()(hidden(H_S, [1, 1, 0], layer=0), hidden(H_T, layer=0), {})) == pytest.approx(1.75)


def test_unequal_widths_get_a_projection_for_each_layer_and_equal_ones_none() -> None:
    case = Case("x")
    loss = HiddenState([(1, 1), (2, 3)])
    assert loss.make_module(case.info(), case.info()) is None
    module = loss.make_module(case.info(width=4), case.info())
    assert isinstance(module, nn.ModuleDict) and sorted(module) == ["1", "2"]
    assert all(projection.weight.shape == (8, 4) for projection in module.values())
    narrow = Outputs(hidden_states={layer: torch.randn(4, 6, 4) for layer in (1, 2)}, attention_mask=mask())
    loss(narrow, outputs(0), {}, module).backward()
    assert all(projection.weight.grad is not None for projection in module.values())


def test_an_identity_projection_of_equal_states_gives_zero() -> None:
    identity = nn.Linear(2, 2)
    with torch.no_grad():
        identity.weight.copy_(torch.eye(2))
        identity.bias.zero_()
    assert HiddenState(ONE)(hidden(H_T), hidden(H_T), {}, nn.ModuleDict({"1": identity})).item() == 0


def test_unequal_widths_without_the_projection_are_refused() -> None:
    with pytest.raises(RequestError, match="wide"):
        HiddenState(ONE)(hidden([[1.0]]), hidden([[1.0, 2.0]]), {})


def scores(rows: list[list[float]], valid: list[int] | None = None) -> Outputs:
    """Outputs whose attention scores are ``rows``: the keys are unit vectors and the scale is 1."""
    size = len(rows)
    return Outputs(
        queries={1: torch.tensor(rows).view(1, 1, size, size)},
        keys={1: torch.eye(size).view(1, 1, size, size)},
        scales={1: 1.0},
        attention_mask=None if valid is None else torch.tensor([valid]),
    )


@pytest.mark.parametrize("loss", [HiddenState(ONE), AttentionScores(ONE)])
def test_texts_cut_into_other_tokens_are_refused(loss: HiddenState) -> None:
    student, teacher = (
        (hidden(H_S), hidden(H_T[:2]))
        if isinstance(loss, HiddenState)
        else (
            scores([[1.0, 2.0], [3.0, 4.0]]),
            scores([[1.0]]),
        )
    )
    with pytest.raises(RequestError, match="same tokens"):
        loss(student, teacher, {})


def test_an_example_of_nothing_but_padding_is_an_error_and_not_a_nan() -> None:
    with pytest.raises(RequestError, match="no valid token"):
        HiddenState(ONE)(hidden(H_S, [0, 0, 0]), hidden(H_T), {})
