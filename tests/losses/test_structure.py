"""Losses on structure: golden numbers, references from the formulas, invariances, degenerate cases."""

import dataclasses
import itertools
import logging
import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import CC, CKD, FSP, IRG, MGSKD, DarkRank, get_loss
from distilnlp.outputs import Outputs
from tests.losses.cases import LENGTHS, Case, mapped, outputs

ONE = [(1, 1)]
X, Y = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


def points(rows: list[list[float]] | Tensor) -> Outputs:
    """Texts of one token each, whose states are ``rows``."""
    return Outputs(hidden_states={1: torch.as_tensor(rows)[:, None]})


def tokens(rows: list[list[float]], valid: list[int] | None = None) -> Outputs:
    """One text, with the same states at layers 1 and 2."""
    states = torch.tensor([rows])
    return Outputs(
        hidden_states={1: states, 2: states}, attention_mask=None if valid is None else torch.tensor([valid])
    )


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cc_gives_the_golden_number() -> None:
    assert float(CC(ONE)(points(Y), points(X), {})) == pytest.approx(0.103534, abs=1e-6)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_cc_is_its_written_definition(order: int) -> None:
    """Of unit vectors and squared (traps P8 and P9: two other libraries have it without the one or the other)."""
    s, t = random(0, 5, 4), random(1, 5, 7)
    expected = 0.0
    for i in range(5):
        for j in range(5):
            kernels = []
            for x in (s, t):
                cosine = float(torch.cosine_similarity(x[i], x[j], dim=0))
                series = sum((0.6 * cosine) ** p / math.factorial(p) for p in range(order + 1))
                kernels.append(math.exp(-0.6) * series)
            expected += (kernels[0] - kernels[1]) ** 2 / 25
    got = CC(ONE, gamma=0.3, order=order)(points(s), points(t), {})
    assert float(got) == pytest.approx(expected, rel=1e-9)


def test_cc_of_a_long_series_compares_gaussian_kernels() -> None:
    s, t = random(0, 5, 4), random(1, 5, 4)
    gaussian = [
        torch.exp(-0.4 * torch.cdist(u, u).square()) for u in (torch.nn.functional.normalize(x) for x in (s, t))
    ]
    expected = (gaussian[0] - gaussian[1]).square().mean()
    torch.testing.assert_close(CC(ONE, order=30)(points(s), points(t), {}), expected)


@pytest.mark.parametrize("name", ["cc", "dark_rank"])
def test_rotation_and_scale_of_a_model_change_nothing(name: str) -> None:
    s, t = random(0, 5, 4), random(1, 5, 4)
    moved = 1e-3 * s @ torch.linalg.qr(random(2, 4, 4)).Q
    loss = get_loss(name, layer_map=ONE)
    torch.testing.assert_close(loss(points(moved), points(t), {}), loss(points(s), points(t), {}))


@pytest.mark.parametrize("settings", [{"gamma": 0.0}, {"order": 0}, {"order": 1.5}])
def test_cc_refuses_what_is_no_kernel(settings: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=next(iter(settings))):
        get_loss("cc", **settings)


TWO = [(1, 1), (2, 2)]


def test_fsp_gives_the_golden_number_with_and_without_padding() -> None:
    """G_t = diag(1/2, 2) and G_s = diag(1/2, 1/2)."""
    h_t, h_s = [[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]], [[0.0, 1.0], [1.0, 0.0], [-7.0, 3.0]]
    assert float(FSP(TWO)(tokens(h_s[:2]), tokens(h_t[:2]), {})) == 0.5625
    assert float(FSP(TWO)(tokens(h_s, [1, 1, 0]), tokens(h_t), {})) == 0.5625


def test_fsp_is_its_written_definition_from_each_mapped_layer_to_the_next() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for (a, b), (u, v) in [((0, 1), (1, 2)), ((1, 3), (2, 3))]:  # layers of the student, of the teacher
            h, k = student.hidden_states, teacher.hidden_states
            g_s = torch.einsum("ti,tj->ij", h[a][row, :length], h[b][row, :length]) / length
            g_t = torch.einsum("ti,tj->ij", k[u][row, :length], k[v][row, :length]) / length
            expected += float((g_s - g_t).square().mean()) / 2 / len(LENGTHS)
    for layer_map in ([(0, 1), (1, 2), (3, 3)], [(3, 3), (0, 1), (1, 2)]):  # in any order
        assert float(FSP(layer_map)(student, teacher, {})) == pytest.approx(expected)


def test_a_text_whose_tokens_stand_twice_has_the_same_flow() -> None:
    once, twice = (
        Outputs(hidden_states={layer: random(layer, 1, 3, 4).repeat(1, times, 1) for layer in (1, 2)})
        for times in (1, 2)
    )
    other = {
        times: Outputs(hidden_states={layer: random(9, 1, 3, 4).repeat(1, times, 1) for layer in (1, 2)})
        for times in (1, 2)
    }
    torch.testing.assert_close(FSP(TWO)(twice, other[2], {}), FSP(TWO)(once, other[1], {}))


def test_fsp_needs_a_next_layer_and_equal_widths_or_a_projection() -> None:
    case = Case("fsp")
    with pytest.raises(RequestError, match="one pair only"):
        FSP(ONE)
    with pytest.raises(RequestError, match="one pair only"):
        FSP("final").resolve(case.info(), case.info())
    wide = Outputs(hidden_states={layer: random(layer, 2, 3, 8).float() for layer in (1, 2)})
    narrow = Outputs(hidden_states={layer: random(layer, 2, 3, 4).float() for layer in (1, 2)})
    with pytest.raises(RequestError, match="make_module"):
        FSP(TWO)(narrow, wide, {})
    module = FSP(TWO).make_module(case.info(width=4), case.info())
    assert module is not None
    FSP(TWO)(narrow, wide, {}, module).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


RIGHT, SMALL = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


def test_the_edges_of_irg_give_the_golden_number() -> None:
    edges = IRG(ONE, transformation_weight=0.0)
    assert float(edges(points(SMALL), points(RIGHT), {})) == pytest.approx(0.008711, abs=1e-6)


def test_irg_is_its_written_definition() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    assert student.logits is not None and teacher.logits is not None

    def relative(values: list[float]) -> list[float]:
        return [value / max(values) for value in values]

    def gap(ours: list[list[float]]) -> float:
        s, t = map(relative, ours)
        return sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(s)

    first = [  # the first token's states, by model and mapped layer
        [out.hidden_states[layer][:, 0].tolist() for layer in layers]
        for out, layers in ((student, (1, 2)), (teacher, (1, 3)))
    ]
    edges = [gap([[math.dist(a, b) ** 2 for a in model[k] for b in model[k]] for model in first]) for k in (0, 1)]
    moves = gap([[math.dist(a, b) ** 2 for a, b in zip(*model, strict=True)] for model in first])
    vertices = float((student.logits - teacher.logits).square().mean())
    pairs = [(1, 1), (2, 3)]
    assert float(IRG(pairs, "cls", 1.0, 0.0, 0.0)(student, teacher, {})) == pytest.approx(sum(edges) / 2)
    assert float(IRG(pairs, "cls", 0.0, 0.0, 1.0)(student, teacher, {})) == pytest.approx(moves)
    expected = 2 * sum(edges) / 2 + 3 * vertices + 5 * moves
    assert float(IRG(pairs, "cls", 2.0, 3.0, 5.0)(student, teacher, {})) == pytest.approx(expected)


def test_a_model_that_is_turned_shifted_and_scaled_has_the_same_graph() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    rotation = torch.linalg.qr(random(2, 8, 8)).Q
    moved = Outputs(hidden_states={layer: 7 * h @ rotation + 3 for layer, h in student.hidden_states.items()})
    torch.testing.assert_close(IRG(TWO)(moved, teacher, {}), IRG(TWO)(student, teacher, {}))


def test_irg_asks_for_logits_only_where_it_compares_them() -> None:
    case = Case("irg")
    assert not IRG(TWO).needs_student().logits and IRG(TWO, vertex_weight=1.0).needs_teacher().logits
    IRG(TWO).resolve(case.info(outputs=2), case.info())
    with pytest.raises(RequestError, match="the student has 2"):
        IRG(TWO, vertex_weight=1.0).resolve(case.info(outputs=2), case.info())


def test_irg_refuses_what_would_train_nothing() -> None:
    with pytest.raises(RequestError, match="one pair only"):
        IRG(ONE)
    with pytest.raises(RequestError, match="nothing would train"):
        IRG(TWO, "cls", 0.0, 0.0, 0.0)
    with pytest.raises(RequestError, match="edge_weight"):
        IRG(TWO, edge_weight=-1.0)


def test_texts_that_lie_on_one_point_give_a_finite_gradient() -> None:
    same = torch.ones(4, 1, 3, requires_grad=True)
    student, teacher = Outputs(hidden_states={1: same, 2: same}), outputs(0)
    IRG(TWO)(student, teacher, {}).backward()
    assert same.grad is not None and torch.isfinite(same.grad).all()


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


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("candidates", [2, 3, 6])
def test_dark_rank_is_its_written_definition(kind: Literal["hard", "soft"], candidates: int) -> None:
    s, t = random(0, 5, 4), random(1, 5, 7)
    units = [x / x.norm(dim=1, keepdim=True) for x in (s, t)]
    expected = 0.0
    for i in range(5):
        score_s, score_t = ([-2 * math.dist(x[i], x[j]) ** 1.5 for j in range(5)] for x in units)
        nearest = sorted((j for j in range(5) if j != i), key=lambda j: -score_t[j])[:candidates]

        def likelihood(scores: list[float], order: tuple[int, ...]) -> float:
            weights = [math.exp(scores[j]) for j in order]
            return math.prod(weights[k] / sum(weights[k:]) for k in range(len(weights)))

        if kind == "hard":
            expected -= math.log(likelihood(score_s, tuple(nearest))) / 5
        else:
            for order in itertools.permutations(nearest):
                p, q = likelihood(score_t, order), likelihood(score_s, order)
                expected += p * math.log(p / q) / 5
    got = DarkRank(ONE, "cls", kind, candidates, alpha=2.0, beta=1.5)(points(s), points(t), {})
    assert float(got) == pytest.approx(expected)


@pytest.mark.parametrize(
    "settings",
    [{"kind": "both"}, {"candidates": 1}, {"kind": "soft", "candidates": 7}, {"alpha": 0.0}, {"beta": 0.5}],
)
def test_dark_rank_refuses_what_it_cannot_rank(settings: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=list(settings)[-1]):
        get_loss("dark_rank", **settings)


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
    assert not MGSKD(TWO, word_weight=0.0).reads_words and not MGSKD(TWO, token_layers=0).reads_words
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
