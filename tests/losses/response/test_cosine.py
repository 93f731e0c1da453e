"""The angle between two vectors: golden numbers, what scaling and zeros do."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import Cosine
from distilnlp.outputs import Outputs


def cosine(student: list[list[float]], teacher: list[list[float]]) -> float:
    return float(Cosine()(Outputs(logits=torch.tensor(student)), Outputs(logits=torch.tensor(teacher)), {}))


def test_cosine_is_one_less_the_cosine_of_each_text_and_their_mean() -> None:
    assert cosine([[1.0, 0.0]], [[1.0, 1.0]]) == pytest.approx(1 - 0.5**0.5, abs=1e-6)
    assert cosine([[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [0.0, -1.0]]) == pytest.approx(
        (1 - 0.5**0.5 + 2) / 2, abs=1e-6
    )


def test_the_length_of_a_vector_does_not_matter() -> None:
    assert cosine([[3.0, 4.0]], [[1.0, 2.0]]) == pytest.approx(cosine([[30.0, 40.0]], [[0.1, 0.2]]), abs=1e-6)


def test_a_vector_of_zeros_has_no_direction_and_gives_one_without_a_gradient() -> None:
    student = torch.zeros(1, 2, requires_grad=True)
    loss = Cosine()(Outputs(logits=student), Outputs(logits=torch.tensor([[1.0, 0.0]])), {})
    loss.backward()
    assert float(loss.detach()) == 1.0 and student.grad is not None and torch.isfinite(student.grad).all()


def test_one_number_is_refused() -> None:
    with pytest.raises(RequestError, match="logit_mse"):
        cosine([[1.0]], [[2.0]])
