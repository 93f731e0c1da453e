"""Margin-MSE: the margins of the right candidate over the others."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo, Outputs
from distilnlp.problems import get_problem


def scores(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in "st"]


def margin_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return get_loss("margin_mse")(Outputs(logits=student), Outputs(logits=teacher), {})


def test_it_is_the_written_formula() -> None:
    student, teacher = scores(3, 4)
    squares = [
        ((student[i, 0] - student[i, j]) - (teacher[i, 0] - teacher[i, j])) ** 2 for i in range(3) for j in range(1, 4)
    ]
    torch.testing.assert_close(margin_mse(student, teacher), torch.stack(squares).mean())


def test_one_wrong_candidate_by_hand() -> None:
    """Margins 5 - 1 = 4 and 2 - 3 = -1, the second query's 1 and 3: (25 + 4) / 2."""
    student = torch.tensor([[5.0, 1.0], [2.0, 1.0]])
    teacher = torch.tensor([[2.0, 3.0], [4.0, 1.0]])
    assert float(margin_mse(student, teacher)) == 14.5


def test_a_constant_added_to_the_scores_of_a_query_changes_nothing() -> None:
    """Each model's, each query's: a ranker's zero is arbitrary."""
    student, teacher = scores(3, 4)
    shifts = torch.tensor([[7.0], [-2.0], [0.5]])
    torch.testing.assert_close(margin_mse(student + shifts, teacher - 3 * shifts), margin_mse(student, teacher))


def test_the_order_of_the_others_changes_nothing_and_which_is_first_does() -> None:
    student, teacher = scores(3, 4)
    value = margin_mse(student, teacher)
    torch.testing.assert_close(margin_mse(student[:, [0, 3, 1, 2]], teacher[:, [0, 3, 1, 2]]), value)
    assert not torch.allclose(margin_mse(student[:, [1, 0, 2, 3]], teacher[:, [1, 0, 2, 3]]), value)


def test_one_candidate_is_refused_before_the_first_step_too() -> None:
    one = ModelInfo("ranker", 2, 8, 2, 1, get_problem("regression"))
    with pytest.raises(RequestError, match="one has no margin"):
        get_loss("margin_mse").resolve(one, one)
    with pytest.raises(RequestError, match="one has no margin"):
        margin_mse(*scores(3, 1))
