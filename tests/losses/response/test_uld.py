"""ULD: a golden number, and what it does not see."""

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import ULD
from distilnlp.outputs import ModelInfo, Outputs
from distilnlp.problems import get_problem

MASKED = get_problem("masked_lm")


def uld(student: Tensor, teacher: Tensor, **settings: float) -> float:
    return float(ULD(**settings)(Outputs(logits=student), Outputs(logits=teacher), {}))


def info(problem: str, words: int) -> ModelInfo:
    return ModelInfo("model", 2, 8, 2, words, get_problem(problem))


def test_the_golden_number_of_two_vocabularies() -> None:
    """Sorted: .7 .2 .1 0 against .6 .3 .1 0."""
    student = torch.tensor([[0.7, 0.2, 0.1]]).log()
    teacher = torch.tensor([[0.1, 0.6, 0.3, 0.0]]).clamp_min(1e-30).log()
    assert uld(student, teacher) == pytest.approx(0.2, abs=1e-6)
    assert uld(teacher, student) == pytest.approx(0.2, abs=1e-6)


def test_the_order_of_a_vocabulary_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, size, generator=generator) for size in (5, 8))
    found = uld(student, teacher)
    assert uld(student[:, torch.randperm(5)], teacher[:, torch.randperm(8)]) == pytest.approx(found, abs=1e-6)
    assert uld(student[:, [4, 3, 2, 1, 0]], student) == pytest.approx(0.0, abs=1e-6)


def test_a_higher_temperature_lets_the_smaller_probabilities_count() -> None:
    student, teacher = torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[4.0, 2.0, 0.0]])
    expected = sum(
        abs(float(a) - float(b)) for a, b in zip((student[0] / 4).softmax(0), (teacher[0] / 4).softmax(0), strict=True)
    )
    assert uld(student, teacher, temperature=4.0) == pytest.approx(expected, abs=1e-6)


def test_only_tokens_that_count_are_compared() -> None:
    student, teacher = torch.zeros(1, 3, 4), torch.zeros(1, 3, 6)
    student[0, 1, 0] = 50.0
    batch = {"labels": torch.tensor([[-100, 2, -100]])}
    problem = {"problem": MASKED}
    loss = ULD()(Outputs(logits=student, **problem), Outputs(logits=teacher, **problem), batch)
    assert float(loss) == pytest.approx(2 * (1 - 1 / 6), abs=1e-6)


def test_it_is_for_heads_over_a_vocabulary_of_any_size() -> None:
    ULD().resolve(info("masked_lm", 30), info("masked_lm", 40))
    for problem in ("single_label_classification", "token_classification"):
        with pytest.raises(RequestError, match="does not look at which class is which"):
            ULD().resolve(info(problem, 3), info(problem, 3))
    for problem, message in (("regression", "on one logit"), ("question_answering", "span head")):
        with pytest.raises(RequestError, match=message):
            ULD().resolve(info(problem, 1 if problem == "regression" else 2), info(problem, 2))


def test_rows_of_other_tokens_are_refused() -> None:
    with pytest.raises(RequestError, match="both must answer for the same tokens"):
        uld(torch.zeros(1, 3, 4), torch.zeros(1, 2, 4))
