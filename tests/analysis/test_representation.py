"""CKA, effective rank and the divergence of attention: their invariants, and formulas written out."""

import numpy as np
import pytest
import torch

from distilnlp.analysis.representation import (
    attention_divergence,
    cka,
    cka_map,
    effective_rank,
    proposed_layer_map,
)
from distilnlp.errors import RequestError
from distilnlp.losses.relation.cka import CKA

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(40, 6)), rng.normal(size=(40, 9))


def test_a_layer_is_like_itself_rotated_shifted_and_scaled() -> None:
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert cka(X, X) == pytest.approx(1.0)
    assert cka(X, 3 * X @ turn + 5) == pytest.approx(1.0)
    assert cka(X, Y) == pytest.approx(cka(Y, X)) and cka(X, Y) < 0.6


def test_it_is_what_the_loss_brings_down() -> None:
    loss = CKA().relate(torch.tensor(X), torch.tensor(Y), None)
    assert cka(X, Y) == pytest.approx(1 - float(loss), abs=1e-6)


def test_a_map_of_layers_has_each_with_each() -> None:
    found = cka_map([X, Y], [X, Y, X @ rng.normal(size=(6, 4))])
    assert found.shape == (2, 3)
    assert found[0, 0] == pytest.approx(1) and found[1, 1] == pytest.approx(1)
    assert cka_map([np.ones((5, 2))], [X[:5]])[0, 0] == 0, "vectors without a difference are like nothing"


def test_the_proposed_map_rises_and_has_the_largest_sum() -> None:
    similarity = np.zeros((3, 5))
    similarity[1, 4], similarity[1, 2], similarity[2, 3] = 0.9, 0.7, 0.8
    # Alone, layer 1 is most like 4; then nothing is left above for layer 2.
    assert proposed_layer_map(similarity).pairs == ((1, 2), (2, 3))
    same = np.eye(4)
    assert proposed_layer_map(same).pairs == ((1, 1), (2, 2), (3, 3))


def test_the_effective_rank_counts_directions() -> None:
    line = np.outer(np.arange(10.0), [1.0, 2.0, 3.0])
    assert effective_rank(line) == pytest.approx(1.0)
    corners = np.concatenate([np.eye(4), -np.eye(4)])
    assert effective_rank(corners) == pytest.approx(4.0)
    assert effective_rank(np.ones((5, 3))) == 0.0


def test_attention_diverges_from_none_of_itself_and_by_the_formula_from_another() -> None:
    def attention(heads: int) -> np.ndarray:
        made = rng.random((2, heads, 3, 3))
        return made / made.sum(axis=-1, keepdims=True)

    student, teacher, mask = attention(2), attention(3), np.array([[1, 1, 1], [1, 0, 0]])
    assert np.diag(attention_divergence(teacher, teacher, mask)) == pytest.approx(np.zeros(3), abs=1e-12)
    found = attention_divergence(student, teacher, mask)
    rows = [(0, 0), (0, 1), (0, 2), (1, 0)]
    for own in range(2):
        for other in range(3):
            kl = [
                sum(t * np.log(t / s) for t, s in zip(teacher[a, other, b], student[a, own, b], strict=True))
                for a, b in rows
            ]
            assert found[own, other] == pytest.approx(np.mean(kl))


def test_what_has_no_answer_is_refused() -> None:
    with pytest.raises(RequestError, match="at least 3 finite vectors"):
        cka(X[:2], Y[:2])
    with pytest.raises(RequestError, match="same things"):
        cka(X, Y[:20])
    with pytest.raises(RequestError, match="no more student layers"):
        proposed_layer_map(np.zeros((5, 3)))
    with pytest.raises(RequestError, match="mask has none"):
        attention_divergence(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), [[0]])
