"""MobileBERT's feature map transfer, internal distillation and neuron selectivity against their formulas."""

import dataclasses

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo, Outputs
from tests.losses.cases import LENGTHS, outputs

MAP = {"layer_map": [[1, 2], [2, 3]]}
ONE = {"layer_map": [[1, 1]]}


def states(h: Tensor) -> Outputs:
    return Outputs(hidden_states={1: h})


def test_mobilebert_is_its_formula() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = torch.zeros((), dtype=torch.float64)
    for j, i in ((1, 2), (2, 3)):
        for n, length in enumerate(LENGTHS):
            for token in range(length):
                s, t = student.hidden_states[j][n, token], teacher.hidden_states[i][n, token]
                v_s, v_t = ((x - x.mean()).pow(2).mean() for x in (s, t))
                features = ((s - s.mean()) / v_s.sqrt() - (t - t.mean()) / v_t.sqrt()).pow(2).mean()
                term = 100 * features + 5000 * (s.mean() - t.mean()) ** 2 + 5 * (v_s - v_t).abs()
                expected = expected + term / (length * 4 * 2)
    torch.testing.assert_close(get_loss("mobilebert", **MAP)(student, teacher, {}), expected)


def test_mobilebert_features_ignore_the_scale_and_shift_of_each_token() -> None:
    """They are what the other two terms are for."""
    h = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    changed = h * torch.tensor([1.0, 2.0, 3.0])[:, None] + torch.tensor([0.0, -1.0, 4.0])[:, None]
    features = get_loss("mobilebert", **ONE, mean_factor=0, variance_factor=0)
    assert features(states(changed), states(h), {}).item() == pytest.approx(0, abs=1e-12)
    for only in ("mean_factor", "variance_factor"):
        others = {name: 0 for name in ("feature_factor", "mean_factor", "variance_factor") if name != only}
        assert get_loss("mobilebert", **ONE, **others)(states(changed), states(h), {}).item() > 1


def test_mobilebert_reads_only_the_teacher_layer_of_the_map() -> None:
    """The released code compares the statistics of every teacher layer with each student layer."""
    student, teacher = outputs(0), outputs(1)
    other = dataclasses.replace(teacher, hidden_states={**teacher.hidden_states, 3: teacher.hidden_states[3] + 5})
    loss = get_loss("mobilebert", layer_map=[[1, 1]])
    torch.testing.assert_close(loss(student, other, {}), loss(student, teacher, {}))


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_mobilebert_refuses_factors_that_would_unlearn(factor: float) -> None:
    with pytest.raises(RequestError, match="mean_factor must be at least 0"):
        get_loss("mobilebert", mean_factor=factor)


def test_mobilebert_refuses_to_train_nothing() -> None:
    with pytest.raises(RequestError, match="feature_factor, mean_factor, variance_factor above 0"):
        get_loss("mobilebert", feature_factor=0, mean_factor=0, variance_factor=0)


def attention(rows: list[list[float]], cls: list[float]) -> Outputs:
    """One head whose attention has these rows, and a state of the first token."""
    return Outputs(
        attentions={1: torch.tensor([[rows]], dtype=torch.float64)},
        hidden_states={1: torch.tensor([[cls, [0.0, 0.0]]], dtype=torch.float64)},
    )


def test_internal_is_the_kl_of_the_rows_worked_out_by_hand_and_a_cosine() -> None:
    teacher = attention([[0.5, 0.5], [0.9, 0.1]], [1.0, 0.0])
    uniform = [[0.5, 0.5], [0.5, 0.5]]
    loss = get_loss("internal", **ONE)
    assert loss(attention(uniform, [3.0, 0.0]), teacher, {}).item() == pytest.approx(0.184032, abs=1e-6)
    assert loss(attention(uniform, [0.0, 2.0]), teacher, {}).item() == pytest.approx(1.184032, abs=1e-6)
    assert loss(attention(uniform, [-1.0, 0.0]), teacher, {}).item() == pytest.approx(2.184032, abs=1e-6)


def test_internal_is_the_mean_over_its_layers() -> None:
    student, teacher = outputs(0), outputs(1)
    each = [get_loss("internal", layer_map=[pair])(student, teacher, {}) for pair in MAP["layer_map"]]
    torch.testing.assert_close(get_loss("internal", **MAP)(student, teacher, {}), (each[0] + each[1]) / 2)


@pytest.mark.parametrize("name", ["mobilebert", "internal"])
def test_a_map_is_learned_where_the_widths_differ_and_only_there(name: str) -> None:
    narrow, wide = (ModelInfo("model", 3, width, 2, 3) for width in (8, 12))
    loss = get_loss(name, **MAP)
    assert loss.make_module(narrow, narrow) is None
    module = loss.make_module(narrow, wide)
    assert module is not None and {p.shape for p in module.parameters()} == {(12, 8), (12,)}


def test_nst_of_two_dimensions_worked_out_by_hand() -> None:
    """The teacher's react to one token each, the student's both to the first; columns are dimensions."""
    teacher = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    student = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert get_loss("nst", **ONE)(states(student), states(teacher), {}).item() == pytest.approx(0.5)


def test_nst_is_the_squared_maximum_mean_discrepancy() -> None:
    """The paper's form: means of squared products over all pairs of dimensions."""
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = []
    for j, i in ((1, 2), (2, 3)):
        for n, length in enumerate(LENGTHS):
            s, t = (h[n, :length].T for h in (student.hidden_states[j], teacher.hidden_states[i]))
            s, t = (f / f.norm(dim=1, keepdim=True) for f in (s, t))
            within = sum((f @ f.T).pow(2).mean() for f in (s, t))
            expected.append(within - 2 * (s @ t.T).pow(2).mean())
    torch.testing.assert_close(get_loss("nst", **MAP)(student, teacher, {}), torch.stack(expected).mean())


def test_nst_knows_neither_the_order_nor_the_size_nor_the_number_of_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    s, t = (torch.randn(2, 5, width, generator=generator, dtype=torch.float64) for width in (8, 12))
    loss = get_loss("nst", **ONE)
    changed = s[..., torch.randperm(8, generator=generator)] * torch.arange(1, 9)
    torch.testing.assert_close(loss(states(changed), states(t), {}), loss(states(s), states(t), {}))
