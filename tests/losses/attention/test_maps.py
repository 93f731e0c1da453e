"""Losses on attention maps: golden numbers, masks, unequal heads."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import AttentionProbabilities, AttentionScores
from distilnlp.outputs import Outputs
from tests.losses.cases import ONE, Case, mask, outputs


def scores(rows: list[list[float]], valid: list[int] | None = None) -> Outputs:
    """Outputs whose attention scores are ``rows``: the keys are unit vectors and the scale is 1."""
    size = len(rows)
    return Outputs(
        queries={1: torch.tensor(rows).view(1, 1, size, size)},
        keys={1: torch.eye(size).view(1, 1, size, size)},
        scales={1: 1.0},
        attention_mask=None if valid is None else torch.tensor([valid]),
    )


def test_attention_scores_give_the_golden_numbers_with_and_without_padding() -> None:
    zero = [[0.0, 0.0], [0.0, 0.0]]
    teacher = scores([[1.0, 2.0], [3.0, 4.0]])
    assert float(AttentionScores(ONE)(scores(zero), teacher, {})) == pytest.approx(7.5)
    assert float(AttentionScores(ONE)(scores(zero, [1, 0]), teacher, {})) == pytest.approx(1.0)


def test_a_constant_on_a_row_changes_the_scores_but_not_the_attention() -> None:
    student, teacher = scores([[2.0, 3.0], [4.0, 5.0]]), scores([[1.0, 2.0], [3.0, 4.0]])
    assert float(AttentionScores(ONE)(student, teacher, {})) == pytest.approx(1.0)
    assert float(AttentionProbabilities(ONE)(student, teacher, {})) == pytest.approx(0.0, abs=1e-7)


def test_attention_probabilities_give_the_golden_number() -> None:
    """Rows (.5, .5) and (.9, .1) against uniform ones: .184032 nats on the average."""
    teacher = scores([[0.0, 0.0], [0.9, 0.1]])
    teacher.queries[1][0, 0, 1] = torch.tensor([0.9, 0.1]).log()  # type: ignore[index]
    got = AttentionProbabilities(ONE)(scores([[0.0, 0.0], [0.0, 0.0]]), teacher, {})
    assert float(got) == pytest.approx(0.184032, abs=1e-6)


def test_given_probabilities_are_used_as_they_are() -> None:
    """DeBERTa gives no queries and keys; what it gives must mean the same."""
    teacher = scores([[1.0, 2.0], [3.0, 4.0]])
    given = Outputs(attentions={1: torch.softmax(teacher.get_attention_scores(1), dim=-1)})
    student = scores([[0.3, 0.1], [0.0, 2.0]])
    torch.testing.assert_close(
        AttentionProbabilities(ONE)(student, given, {}), AttentionProbabilities(ONE)(student, teacher, {})
    )
    with pytest.raises(RequestError, match="attention_probabilities"):
        AttentionScores(ONE)(student, given, {})


def test_a_local_window_of_one_model_leaves_the_rest_comparable() -> None:
    """Where one model may not look, its probability is 0, and the KL of the other would be infinite."""
    window = torch.tensor([[True, False], [True, True]]).view(1, 1, 2, 2)
    local = Outputs(**{**vars(scores([[1.0, 2.0], [3.0, 4.0]])), "allowed": {1: window}})
    full = scores([[5.0, 2.0], [3.0, 4.0]])
    for loss in (AttentionProbabilities(ONE), AttentionScores(ONE)):
        assert torch.isfinite(loss(local, full, {})) and torch.isfinite(loss(full, local, {}))
    assert float(AttentionProbabilities(ONE)(local, full, {})) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("loss", [AttentionScores, AttentionProbabilities])
def test_unequal_heads_are_refused_unless_averaged(loss: type[AttentionScores]) -> None:
    """Trap 16."""
    case = Case("x")
    with pytest.raises(RequestError, match="heads: mean"):
        loss(ONE).resolve(case.info(heads=4), case.info(heads=2))
    averaged = loss(ONE, heads="mean").resolve(case.info(heads=4), case.info(heads=2))
    four = Outputs(queries={1: torch.randn(4, 4, 6, 4)}, keys={1: torch.randn(4, 4, 6, 4)}, attention_mask=mask())
    assert torch.isfinite(averaged(four, outputs(0), {}))
    with pytest.raises(RequestError, match="heads: mean"):
        loss(ONE)(four, outputs(0), {})


def test_attention_has_no_layer_zero() -> None:
    with pytest.raises(RequestError, match="counted from 1"):
        AttentionScores([(0, 1)])
