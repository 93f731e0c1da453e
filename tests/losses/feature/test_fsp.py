"""Flow from layer to layer: golden number, reference, what it refuses."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import FSP
from distilnlp.outputs import Outputs
from tests.losses.cases import LENGTHS, ONE, TWO, Case, outputs, random, tokens


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
