"""Losses on structure: golden numbers, references from the formulas, invariances, degenerate cases."""

import math

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import CC, FSP, IRG, get_loss
from distilnlp.outputs import Outputs
from tests.losses.cases import LENGTHS, Case, outputs

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
    IRG(TWO).resolve(case.info(num_logits=2), case.info())
    with pytest.raises(RequestError, match="the student has 2"):
        IRG(TWO, vertex_weight=1.0).resolve(case.info(num_logits=2), case.info())


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
