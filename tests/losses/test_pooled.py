"""Pooled, relational, contrastive and variational losses: golden numbers, references, invariances, small batches."""

import itertools
import logging
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses import (
    CKA,
    PKD,
    PKT,
    VID,
    AttentionTransfer,
    InfoNCE,
    Loss,
    RKDAngle,
    RKDDistance,
    SimilarityPreserving,
    get_loss,
)
from distilnlp.losses.pooling import pool
from distilnlp.losses.relation.base import warn_of_small_batch
from distilnlp.outputs import Outputs
from tests.losses.cases import CASES, LENGTHS, Case, outputs

ONE = [(1, 1)]
RELATIONAL = ["rkd_distance", "rkd_angle", "similarity_preserving", "pkt", "cka"]


def points(rows: list[list[float]] | Tensor) -> Outputs:
    """Texts of one token each, whose states are ``rows``."""
    return Outputs(hidden_states={1: torch.as_tensor(rows)[:, None]})


def tokens(rows: list[list[float]], valid: list[int] | None = None) -> Outputs:
    mask = None if valid is None else torch.tensor([valid])
    return Outputs(hidden_states={1: torch.tensor([rows])}, attention_mask=mask)


def random_points(seed: int, batch: int = 5, width: int = 4) -> Tensor:
    return torch.randn(batch, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


RIGHT, SMALL = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
X, Y = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("loss", "student", "teacher", "golden"),
    [
        (RKDDistance(ONE), SMALL, RIGHT, 0.003481),
        (RKDAngle(ONE), SMALL, RIGHT, 0.000744),
        (SimilarityPreserving(ONE), [[1.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], 1 - 0.5**0.5),
        (PKT(ONE, include_self=True), Y, X, 3 * 0.027626),  # the authors' code divides by the batch once more
        (CKA(ONE), Y, X, 1 - 0.316228),
        (PKD(ONE), [[4.0, 3.0]], [[3.0, 4.0]], 0.08),
    ],
    ids=lambda value: value.name if isinstance(value, Loss) else None,
)
def test_the_golden_numbers(loss: Loss, student: list[list[float]], teacher: list[list[float]], golden: float) -> None:
    assert float(loss(points(student), points(teacher), {})) == pytest.approx(golden, abs=2e-6)


def test_attention_transfer_gives_the_golden_number_with_and_without_padding() -> None:
    h_t, h_s = [[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]], [[0.0, 1.0], [1.0, 0.0], [-7.0, 3.0]]
    loss = AttentionTransfer(ONE)
    assert float(loss(tokens(h_s[:2]), tokens(h_t[:2]), {})) == pytest.approx(0.142507, abs=1e-6)
    assert float(loss(tokens(h_s, [1, 1, 0]), tokens(h_t), {})) == pytest.approx(0.142507, abs=1e-6)


def distance_reference(s: Tensor, t: Tensor) -> float:
    batch, relative = len(s), []
    for x in (s, t):
        d = [[math.dist(a, b) for b in x.tolist()] for a in x.tolist()]
        mean = sum(map(sum, d)) / (batch * (batch - 1))
        relative.append([value / mean for row in d for value in row])
    gaps = [abs(a - b) for a, b in zip(*relative, strict=True)]
    return sum(gap**2 / 2 if gap < 1 else gap - 0.5 for gap in gaps) / batch**2


def angle_reference(s: Tensor, t: Tensor) -> float:
    total = 0.0
    for i, j, k in itertools.permutations(range(len(s)), 3):
        cosines = []
        for x in (s, t):
            a, b = x[i] - x[j], x[k] - x[j]
            cosines.append(float((a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()))
        gap = abs(cosines[0] - cosines[1])
        total += gap**2 / 2 if gap < 1 else gap - 0.5
    return total / len(s) ** 3


def similarity_reference(s: Tensor, t: Tensor) -> float:
    total = 0.0
    for i in range(len(s)):
        rows = [[float((x[i] * x[j]).sum()) for j in range(len(x))] for x in (s, t)]
        a, b = ([value / math.hypot(*row) for value in row] for row in rows)
        total += sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    return total / len(s) ** 2


def pkt_reference(s: Tensor, t: Tensor) -> float:
    total = 0.0
    for i in range(len(s)):
        rows = []
        for x in (s, t):
            kernel = [(float(torch.cosine_similarity(x[i], x[j], dim=0)) + 1) / 2 for j in range(len(x)) if j != i]
            rows.append([value / sum(kernel) for value in kernel])
        total += sum(p * math.log(p / q) for q, p in zip(*rows, strict=True))
    return total / len(s)


def cka_reference(s: Tensor, t: Tensor) -> float:
    s, t = s - s.mean(0), t - t.mean(0)
    norms = [(x.T @ x).square().sum().sqrt() for x in (s, t)]
    return float(1 - (s.T @ t).square().sum() / (norms[0] * norms[1]))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("rkd_distance", distance_reference),
        ("rkd_angle", angle_reference),
        ("similarity_preserving", similarity_reference),
        ("pkt", pkt_reference),
        ("cka", cka_reference),
    ],
)
def test_a_relational_loss_is_its_written_definition(name: str, reference: Callable[[Tensor, Tensor], float]) -> None:
    s, t = random_points(0), random_points(1, width=7)  # widths are free
    got = get_loss(name, layer_map=ONE)(points(s), points(t), {})
    assert float(got) == pytest.approx(reference(s, t), rel=1e-5)


def test_unbiased_cka_is_that_of_song_et_al() -> None:
    """Their formula with traces; the code centres the kernels instead."""
    s, t = random_points(0), random_points(1)
    n, one = 5, torch.ones(5, dtype=torch.float64)

    def hsic(a: Tensor, b: Tensor) -> Tensor:
        k, m = (x @ x.T - torch.diag((x @ x.T).diagonal()) for x in (a, b))
        terms = (k @ m).trace() + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return (terms - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))

    expected = 1 - hsic(s, t) / (hsic(s, s) * hsic(t, t)).sqrt()
    torch.testing.assert_close(CKA(ONE, unbiased=True)(points(s), points(t), {}), expected)


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


def test_cka_sees_an_anisotropic_scale() -> None:
    s = random_points(0, batch=50, width=2)
    assert float(CKA(ONE)(points(s * torch.tensor([1.0, 5.0])), points(s), {})) > 0.01


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


def test_pooling_takes_the_first_real_token_or_the_mean_of_the_real_ones() -> None:
    right, left = tokens([[1.0], [3.0], [9.0]], [1, 1, 0]), tokens([[9.0], [1.0], [3.0]], [0, 1, 1])
    for out in (right, left):
        assert pool(out, 1, "cls").item() == 1 and pool(out, 1, "mean").item() == 2
    with pytest.raises(RequestError, match="no valid token"):
        pool(tokens([[1.0]], [0]), 1, "cls")
    with pytest.raises(RequestError, match="pooling"):
        CKA(ONE, pooling="max")  # type: ignore[arg-type]


def test_a_relation_needs_no_equal_tokens() -> None:
    """Each model's vectors come from its own tokens: two tokenizers can be compared."""
    longer = Outputs(hidden_states={1: torch.randn(4, 9, 5)})
    assert torch.isfinite(CKA(ONE)(outputs(0), longer, {}))


def test_pkd_is_two_minus_two_cosines_and_forgets_scale() -> None:
    s, t = random_points(0), random_points(1)
    expected = (2 - 2 * torch.cosine_similarity(s, t)).mean()
    torch.testing.assert_close(PKD(ONE)(points(s * 7), points(t), {}), expected)


def test_pkd_leaves_the_last_layer_out_and_projects_unequal_widths() -> None:
    case = Case("x")
    assert PKD().resolve(case.info(layers=6), case.info(layers=12)).pairs.teacher == (2, 4, 6, 8, 10)
    assert PKD("last").resolve(case.info(layers=6), case.info(layers=12)).pairs.teacher == (7, 8, 9, 10, 11)
    assert PKD(ONE).make_module(case.info(), case.info()) is None
    module = PKD(ONE).make_module(case.info(width=4), case.info())
    assert module is not None
    PKD(ONE)(points(random_points(0).float()), points(torch.randn(5, 8)), {}, module).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    with pytest.raises(RequestError, match="make_module"):
        PKD(ONE)(points(random_points(0)), points(torch.randn(5, 8)), {})


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


def vid_module(loss: VID, mean: float = 1.0, variance: float | None = None) -> nn.ModuleDict:
    """``mu`` is the identity times ``mean``."""
    module = loss.make_module(Case("x").info(width=1), Case("x").info(width=1))
    assert isinstance(module, nn.ModuleDict)
    with torch.no_grad():
        module["1"].mean.weight.fill_(mean)
        module["1"].mean.bias.zero_()
        if variance is not None:
            module["1"].raw_variance.fill_(math.log(math.expm1(variance - VID.floor)))
    return module


def test_vid_gives_the_golden_number_at_a_perfect_mean_and_may_be_negative() -> None:
    loss, same = VID(ONE), tokens([[1.0], [2.0]])
    assert loss(same, same, {}, vid_module(loss)).item() == pytest.approx(0.804719, abs=1e-6)
    assert loss(same, same, {}, vid_module(loss, variance=0.1)).item() < 0


def test_the_best_variance_of_vid_is_the_mean_squared_error() -> None:
    loss, student, teacher = VID(ONE), tokens([[0.0], [0.0]]), tokens([[1.0], [3.0]])
    values = {v: loss(student, teacher, {}, vid_module(loss, 1.0, v)).item() for v in (4.0, 5.0, 6.0)}
    assert min(values, key=values.__getitem__) == 5.0
    assert values[5.0] == pytest.approx(5 / 10 + math.log(5) / 2)
    module = vid_module(loss, 1.0, 5.0)
    loss(student, teacher, {}, module).backward()
    assert float(module["1"].raw_variance.grad.abs()) < 1e-6


def test_vid_needs_its_module_and_a_variance_above_its_floor() -> None:
    with pytest.raises(RequestError, match="make_module"):
        VID(ONE)(tokens([[1.0]]), tokens([[1.0]]), {})
    with pytest.raises(RequestError, match="above"):
        VID(ONE, variance=1e-6)


def test_info_nce_of_equal_similarities_is_the_log_of_the_batch() -> None:
    basis = torch.eye(5)
    student, teacher = points(basis[4].repeat(4, 1)), points(basis[:4])
    got = InfoNCE(ONE, dimension=None)(student, teacher, {})
    assert float(got) == pytest.approx(1.386294, abs=1e-6)


def test_info_nce_is_its_written_definition() -> None:
    s, t = random_points(0), random_points(1)
    expected = 0.0
    for i in range(5):
        terms = [math.exp(float(torch.cosine_similarity(s[i], t[j], dim=0)) / 0.2) for j in range(5)]
        expected -= math.log(terms[i] / sum(terms)) / 5
    got = InfoNCE(ONE, temperature=0.2, dimension=None)(points(s), points(t), {})
    assert float(got) == pytest.approx(expected)


def test_the_unbiased_estimate_of_three_texts_is_zero_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_small_batch.cache_clear()
    s, t = random_points(0, batch=3), random_points(1, batch=3)
    assert float(CKA(ONE, unbiased=True)(points(s), points(t), {})) == 0
    assert "cka with unbiased is 0 for a batch of fewer than 4" in caplog.text


def test_a_text_that_stands_twice_is_no_negative_of_itself() -> None:
    s, t = random_points(0, batch=3), random_points(1, batch=3)
    twice = torch.tensor([0, 0, 1, 2])
    loss = InfoNCE(ONE, dimension=None)
    rows = torch.cosine_similarity(s[twice][:, None], t[twice][None], dim=-1) / 0.07
    rows[0, 1] = rows[1, 0] = -math.inf
    expected = -torch.log_softmax(rows, dim=-1).diagonal().mean()
    torch.testing.assert_close(loss(points(s[twice]), points(t[twice]), {}), expected)
