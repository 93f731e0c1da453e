"""MGSKD against its formula: tokens, words and texts."""

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import MGSKD
from distilnlp.outputs import Outputs
from tests.losses.cases import LENGTHS, TWO, Case, mapped, outputs, random


def huber(gap: float) -> float:
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def angles(ours: list[Tensor], triples: list[tuple[int, int, int]]) -> list[float]:
    """Huber of the two cosines at the first of each three points."""
    cosines = [[float(torch.cosine_similarity(x[j] - x[i], x[k] - x[i], dim=0)) for i, j, k in triples] for x in ours]
    return [huber(a - b) for a, b in zip(*cosines, strict=True)]


def test_the_text_term_of_mgskd_is_its_written_definition() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    ours = [
        torch.stack([out.hidden_states[layer][row, :length].mean(0) for row, length in enumerate(LENGTHS)])
        for out, layer in ((student, 2), (teacher, 3))
    ]
    triples = list(itertools.permutations(range(4), 3))
    expected = sum(sum(angles([x[:, 4 * head : 4 * head + 4] for x in ours], triples)) for head in (0, 1))
    got = MGSKD([(2, 3)], token_layers=0, relation_heads=2)(student, teacher, {})
    assert float(got) == pytest.approx(4 * expected / 2 / 4**3)


def words_of(states: Tensor) -> Tensor:
    """The means of the words of a text whose tokens are those of `outputs`: special, two pieces, one, two."""
    pieces = [states[1:3], states[3:4], states[4:6]]
    return torch.stack([piece.mean(0) for piece in pieces if len(piece)])


@pytest.mark.parametrize("words", [False, True], ids=["tokens", "words"])
@pytest.mark.parametrize(("central", "neighbours"), [(20, 20), (2, 3), (1, 2)])
def test_the_token_and_word_terms_of_mgskd_are_their_written_definition(
    central: int, neighbours: int, words: bool
) -> None:
    """The teacher chooses the tokens, or the words; padding is never chosen, a special token is no word."""
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        ours = [student.hidden_states[1][row, :length], teacher.hidden_states[2][row, :length]]
        if words:
            ours = [words_of(x) for x in ours]
            length = len(ours[0])
        scores = [[x[:, c : c + 4] @ x[:, c : c + 4].T / 2 for c in (0, 4)] for x in ours]  # model, head
        pairs = sum(float((s - t).square().mean()) for s, t in zip(*scores, strict=True)) / 2
        attention = sum(score.softmax(-1) for score in scores[1])
        assert isinstance(attention, Tensor)
        total = attention.sum(0).tolist()
        triples = []
        for i in sorted(range(length), key=lambda j: -total[j])[:central]:
            others = [j for j in range(length) if j != i]
            chosen = sorted(others, key=lambda j: -float(attention[i, j]))[:neighbours]
            triples += [(i, j, k) for j, k in itertools.permutations(chosen, 2)]
        gaps = angles(ours, triples)
        expected += (pairs + (sum(gaps) / len(gaps) if gaps else 0.0)) / len(LENGTHS)
    got = MGSKD([(1, 2)], 2, 2, central, neighbours, float(not words), float(words))(student, teacher, {})
    assert float(got) == pytest.approx(expected)


def test_mgskd_on_words_without_words_says_what_to_do() -> None:
    states = dataclasses.replace(outputs(0), words=None)
    with pytest.raises(RequestError, match=r"words=True\); or set word_weight to 0"):
        MGSKD(TWO, relation_heads=2)(states, outputs(1), {})
    assert not MGSKD(TWO, word_weight=0.0).needs_always().words and not MGSKD(TWO, token_layers=0).needs_always().words
    MGSKD(TWO, relation_heads=2, word_weight=0.0)(states, outputs(1), {})


def test_a_text_of_special_tokens_alone_has_no_words_and_counts_nothing() -> None:
    student, teacher = outputs(0), outputs(1)
    loss = MGSKD([(1, 1)], 1, 2, token_weight=0.0)
    assert student.words is not None
    none = dataclasses.replace(student, words=torch.full_like(student.words, -1))
    assert float(loss(none, teacher, {})) == 0.0
    some = dataclasses.replace(student, words=torch.where(torch.arange(4)[:, None] < 2, student.words, -1))
    first = [mapped(out, lambda tensor, _: tensor[:2]) for out in (student, teacher)]
    torch.testing.assert_close(loss(some, teacher, {}), loss(*first, {}) / 2)


def test_the_text_term_of_mgskd_forgets_what_turns_shifts_and_scales_each_head() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    rotation = torch.block_diag(*(torch.linalg.qr(random(seed, 4, 4)).Q * seed for seed in (2, 3)))
    moved = Outputs(
        hidden_states={2: student.hidden_states[2] @ rotation + random(4, 8)}, attention_mask=student.attention_mask
    )
    loss = MGSKD([(2, 3)], token_layers=0, relation_heads=2)
    torch.testing.assert_close(loss(moved, teacher, {}), loss(student, teacher, {}))


def test_mgskd_refuses_what_it_cannot_cut_and_what_would_train_nothing() -> None:
    case = Case("mgskd")
    with pytest.raises(RequestError, match="relation heads"):
        MGSKD(TWO).resolve(case.info(), case.info())
    with pytest.raises(RequestError, match="relation heads"):
        MGSKD(TWO)(outputs(0), outputs(1), {})
    with pytest.raises(RequestError, match="no term left"):
        MGSKD(TWO, token_layers=2, token_weight=0.0, word_weight=0.0)
    with pytest.raises(RequestError, match="neighbours"):
        MGSKD(TWO, neighbours=0)
