"""Factor transfer against its formula, and which term trains which part."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import Outputs
from tests.losses.cases import CASES, LENGTHS, outputs

CASE = next(case for case in CASES if case.name == "factor_transfer")


def test_it_is_its_formula() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    module = CASE.module(student)
    assert module is not None
    expected = torch.zeros((), dtype=torch.float64)
    for j, i in ((1, 1), (2, 3)):
        parts = module[str(j)]
        for n, length in enumerate(LENGTHS):
            h_t = teacher.hidden_states[i][n, :length]  # (tokens, 8)
            f_s, f_t = parts.translate(student.hidden_states[j][n, :length]), parts.paraphrase(h_t)
            assert f_t.shape == (length, 4)  # half as many factors as numbers
            distance = (f_s / f_s.pow(2).sum().sqrt() - f_t / f_t.pow(2).sum().sqrt()).abs().sum()
            restored = (parts.restore(f_t) - h_t).pow(2).mean()
            expected = expected + (distance / (length * 4) ** 0.5 + restored) / (len(LENGTHS) * 2)
    torch.testing.assert_close(CASE.make()(student, teacher, {}, module), expected)


def test_the_paraphraser_learns_to_restore_and_nothing_of_the_student() -> None:
    """In the paper it is trained before the student and then frozen: the student must not bend its own target."""
    module = CASE.module(outputs(0))
    assert module is not None
    gradients = []
    for student in (outputs(0), outputs(2)):
        module.zero_grad()
        CASE.make()(student, outputs(1), {}, module).backward()
        gradients.append({name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        assert gradient.abs().sum() > 0
        assert torch.equal(gradient, gradients[1][name]) == ("translate" not in name)


def test_the_scale_of_the_students_factors_changes_nothing() -> None:
    module, student = CASE.module(outputs(0)), outputs(0)
    assert module is not None
    before = CASE.make()(student, outputs(1), {}, module)
    with torch.no_grad():
        for parts in module.values():
            parts.translate[-2].weight *= 7  # type: ignore[index, union-attr]
            parts.translate[-2].bias *= 7  # type: ignore[index, union-attr]
    torch.testing.assert_close(CASE.make()(student, outputs(1), {}, module), before)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_leaves_no_factor_is_refused(rate: float) -> None:
    with pytest.raises(RequestError, match="rate"):
        get_loss("factor_transfer", rate=rate)


def test_a_rate_below_one_factor_is_refused_with_the_width() -> None:
    with pytest.raises(RequestError, match="no factor of a state of 8 numbers"):
        get_loss("factor_transfer", layer_map=[[1, 1]], rate=0.01).make_module(CASE.info(), CASE.info())


def test_without_its_module_it_says_what_is_missing() -> None:
    states = Outputs(hidden_states={1: torch.ones(1, 2, 8)})
    with pytest.raises(RequestError, match=r"make_module\(\)"):
        get_loss("factor_transfer", layer_map=[[1, 1]])(states, states, {})
