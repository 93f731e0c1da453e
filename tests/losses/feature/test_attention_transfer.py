"""Attention transfer: golden number, reference, invariances."""

import math

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import AttentionTransfer
from distilnlp.outputs import Outputs
from tests.losses.cases import LENGTHS, ONE, outputs, random_points, tokens


def test_attention_transfer_gives_the_golden_number_with_and_without_padding() -> None:
    h_t, h_s = [[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]], [[0.0, 1.0], [1.0, 0.0], [-7.0, 3.0]]
    loss = AttentionTransfer(ONE)
    assert float(loss(tokens(h_s[:2]), tokens(h_t[:2]), {})) == pytest.approx(0.142507, abs=1e-6)
    assert float(loss(tokens(h_s, [1, 1, 0]), tokens(h_t), {})) == pytest.approx(0.142507, abs=1e-6)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_attention_transfer_is_its_written_definition(power: float) -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        maps = []
        for out in (student, teacher):
            q = [sum(abs(x) ** power for x in token) for token in out.hidden_states[1][row, :length].tolist()]
            maps.append([value / math.hypot(*q) for value in q])
        expected += sum((a - b) ** 2 for a, b in zip(*maps, strict=True)) / length / len(LENGTHS)
    assert float(AttentionTransfer(ONE, power)(student, teacher, {})) == pytest.approx(expected)
    with pytest.raises(RequestError, match="at least 1"):
        AttentionTransfer(ONE, 0.5)


def test_attention_transfer_of_squares_forgets_rotation_and_scale() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    rotation = torch.linalg.qr(random_points(0, 8, 8)).Q
    turned = Outputs(hidden_states={1: 3 * student.hidden_states[1] @ rotation}, attention_mask=student.attention_mask)
    torch.testing.assert_close(
        AttentionTransfer(ONE)(turned, teacher, {}), AttentionTransfer(ONE)(student, teacher, {})
    )
