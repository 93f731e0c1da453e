"""CKD against its formula: how the tokens of a text, and the layers of a token, lie to one another."""

import itertools
import logging
import math

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import CKD
from distilnlp.outputs import Outputs
from tests.losses.cases import LENGTHS, ONE, TWO, Case, outputs, random


def pair_divergence(ours: list[Tensor], i: int, others: list[int]) -> float:
    """KL(P_t || P_s) at point ``i``, of the student's and the teacher's points."""
    q, p = ([math.exp(float(torch.cosine_similarity(x[i], x[j], dim=0))) for j in others] for x in ours)
    return sum(b / sum(p) * math.log(b / sum(p) / (a / sum(q))) for a, b in zip(q, p, strict=True))


def angle_gap(ours: list[Tensor], i: int, others: list[int]) -> float:
    gaps = []
    for j, k in itertools.permutations(others, 2):
        s, t = (float(torch.cosine_similarity(x[j] - x[i], x[k] - x[i], dim=0)) for x in ours)
        gaps.append((s - t) ** 2)
    return sum(gaps) / len(gaps) if gaps else 0.0


@pytest.mark.parametrize("window", [3, 5, 21])
@pytest.mark.parametrize("term", range(4))
def test_ckd_is_its_written_definition(term: int, window: int) -> None:
    """Padding is in no pair and no angle, also not within the window of the last token."""
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    pairs = [(0, 1), (1, 2), (3, 3)]
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for i in range(length):
            if term < 2:
                for a, b in pairs:
                    ours = [student.hidden_states[a][row], teacher.hidden_states[b][row]]
                    others = [j for j in range(length) if j != i and (term == 0 or abs(i - j) <= window // 2)]
                    value = (pair_divergence, angle_gap)[term](ours, i, others)
                    expected += value / len(pairs) / length / len(LENGTHS)
            else:
                s = torch.stack([student.hidden_states[a][row, i] for a, _ in pairs])
                t = torch.stack([teacher.hidden_states[b][row, i] for _, b in pairs])
                for layer in range(3):
                    others = [other for other in range(3) if other != layer]
                    expected += (
                        (pair_divergence, angle_gap)[term - 2]([s, t], layer, others) / 3 / length / len(LENGTHS)
                    )
    weights = [2.0 * (index == term) for index in range(4)]
    assert float(CKD(pairs, window, *weights)(student, teacher, {})) == pytest.approx(2 * expected)
    assert expected > 1e-4


def test_ckd_forgets_the_rotation_and_scale_of_a_model_and_takes_any_width() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    rotation = torch.linalg.qr(random(2, 12, 12)).Q[:8]  # into 12 dimensions
    turned = Outputs(
        hidden_states={layer: 7 * h @ rotation for layer, h in student.hidden_states.items()},
        attention_mask=student.attention_mask,
    )
    loss = CKD([(1, 1), (2, 2), (3, 3)])
    torch.testing.assert_close(loss(turned, teacher, {}), loss(student, teacher, {}))


def test_ckd_says_when_there_are_too_few_layers_to_relate(caplog: pytest.LogCaptureFixture) -> None:
    case, words = Case("ckd"), CKD(TWO, layer_pair_weight=0.0, layer_angle_weight=0.0)
    with caplog.at_level(logging.WARNING, logger="distilnlp"):
        words.resolve(case.info(), case.info())
        assert not caplog.records
        both = CKD(TWO).resolve(case.info(), case.info())
    assert "three or more" in caplog.text
    student, teacher = outputs(0), outputs(1)
    torch.testing.assert_close(both(student, teacher, {}), words(student, teacher, {}))
    with pytest.raises(RequestError, match="three mapped layers"):
        CKD(TWO, 21, 0.0, 0.0)


@pytest.mark.parametrize("window", [0, 1, 4, 2.5])
def test_ckd_refuses_a_window_without_a_middle(window: int) -> None:
    with pytest.raises(RequestError, match="window"):
        CKD(TWO, window)


def test_ckd_of_a_text_of_one_token_is_zero_with_a_gradient() -> None:
    states = random(0, 2, 1, 4).requires_grad_()
    student, teacher = Outputs(hidden_states={1: states}), Outputs(hidden_states={1: random(1, 2, 1, 4)})
    value = CKD(ONE)(student, teacher, {})
    value.backward()
    assert value.item() == 0 and states.grad is not None
