"""MiniLM and MiniLMv2: golden numbers, references, masks, heads, rotations."""

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import AttentionProbabilities, Loss, MiniLM, MiniLMv2
from distilnlp.models.capture import Capture
from distilnlp.outputs import Outputs
from tests.losses.cases import LENGTHS, ONE, Case, outputs
from tests.tiny import tiny_model


def one_wide(queries: list[float], valid: list[int] | None = None) -> Outputs:
    rows = torch.tensor(queries).view(1, 1, -1, 1)
    mask = None if valid is None else torch.tensor([valid])
    return Outputs(queries={1: rows}, keys={1: rows}, values={1: rows}, attention_mask=mask)


def test_minilmv2_gives_the_golden_number() -> None:
    loss = MiniLMv2(ONE, relation_heads=1, key_weight=0.0, value_weight=0.0)
    for student, teacher in (
        (one_wide([0.0, 0.0]), one_wide([1.0, 2.0])),
        (one_wide([0.0, 0.0, 9.0], [1, 1, 0]), one_wide([1.0, 2.0, -7.0])),
    ):
        assert float(loss(student, teacher, {})) == pytest.approx(0.219379, abs=1e-6)


def written(student: Tensor, teacher: Tensor, heads: int) -> Tensor:
    """One text at a time and head by head, probabilities made explicitly."""
    total = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(LENGTHS):
        maps = []
        for vectors in (student, teacher):
            joined = torch.cat(list(vectors[row]), dim=-1)[:length]  # (tokens, width)
            size = joined.shape[1] // heads
            pieces = [joined[:, head * size : (head + 1) * size] for head in range(heads)]
            maps.append([torch.softmax(piece @ piece.T / size**0.5, dim=-1) for piece in pieces])
        for q, p in zip(*maps, strict=True):
            total = total + (p * (p / q).log()).sum() / (heads * length * len(LENGTHS))
    return total


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_minilmv2_is_the_written_definition(heads: int) -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    weights = {"queries": 0.5, "keys": 2.0, "values": 3.0}
    expected = sum(
        weight * written(getattr(student, what)[2], getattr(teacher, what)[3], heads)
        for what, weight in weights.items()
    )
    torch.testing.assert_close(MiniLMv2([(2, 3)], heads, *weights.values())(student, teacher, {}), expected)


def test_minilm_is_attention_and_the_written_value_relation() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    attention = AttentionProbabilities([(2, 3)])(student, teacher, {})
    expected = attention + written(student.values[2], teacher.values[3], 2)
    torch.testing.assert_close(MiniLM([(2, 3)])(student, teacher, {}), expected)


VECTORS = ("queries", "keys", "values")


def test_other_widths_and_numbers_of_heads_are_compared_by_relation_heads() -> None:
    three = {1: torch.randn(4, 3, 6, 4)}  # three heads of four against two heads of four
    student = Outputs(queries=three, keys=three, values=three, attention_mask=outputs(0).attention_mask)
    expected = sum(written(three[1].double(), getattr(outputs(1), what)[1].double(), 4) for what in VECTORS)
    torch.testing.assert_close(MiniLMv2(ONE, 4)(student, outputs(1), {}).double(), expected, atol=1e-6, rtol=1e-5)


def test_a_rotation_inside_a_relation_head_changes_nothing() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    turned = Outputs(
        **{what: {1: getattr(student, what)[1] @ rotation} for what in VECTORS}, attention_mask=student.attention_mask
    )
    loss = MiniLMv2(ONE, relation_heads=2)
    torch.testing.assert_close(loss(turned, teacher, {}), loss(student, teacher, {}))


def test_a_relation_of_weight_zero_is_not_asked_for() -> None:
    only_values = MiniLMv2(ONE, 4, query_weight=0.0, key_weight=0.0)
    assert not only_values.needs_student().attention and only_values.needs_student().values == {1}
    assert not MiniLMv2(ONE, 4, value_weight=0.0).needs_teacher().values
    with pytest.raises(RequestError, match="nothing would train"):
        MiniLMv2(ONE, 4, 0.0, 0.0, 0.0)


def test_heads_that_do_not_fit_are_refused_before_the_first_step() -> None:
    case = Case("x")
    with pytest.raises(RequestError, match="use 'minilmv2'"):
        MiniLM().resolve(case.info(heads=4), case.info(heads=2))
    with pytest.raises(RequestError, match="relation_heads to a divisor"):
        MiniLMv2(relation_heads=3).resolve(case.info(), case.info())
    with pytest.raises(RequestError, match="relation_heads to a divisor"):
        MiniLMv2(ONE, relation_heads=3)(outputs(0), outputs(1), {})
    assert MiniLM().resolve(case.info(layers=2), case.info(layers=4)).pairs.pairs == ((2, 4),)


@pytest.mark.parametrize("loss", [MiniLM(ONE), MiniLMv2(ONE, 4)])
def test_a_model_with_its_own_attention_is_refused(loss: Loss) -> None:
    model = tiny_model("deberta-v2", layers=2)
    capture = Capture(model, loss.needs_student())
    with pytest.raises(RequestError, match="did not come out"):
        capture.run({"input_ids": torch.ones(1, 3, dtype=torch.long)})
    capture.remove()
    given = Outputs(attentions={1: torch.eye(3).expand(1, 2, 3, 3)})
    with pytest.raises(RequestError, match="whose attention is its own"):
        loss(given, given, {})
