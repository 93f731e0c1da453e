"""Jacobian matching against its formula."""

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import Needs, Outputs
from distilnlp.problems import get_problem
from tests.losses.cases import CASES, LENGTHS, outputs

BOTH = pytest.mark.parametrize("compare", ["vectors", "norms"])


@BOTH
def test_it_is_the_squared_distance_of_the_unit_gradients(compare: str) -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = torch.zeros((), dtype=torch.float64)
    for n, length in enumerate(LENGTHS):
        directions: list[Tensor] = []
        for out in (student, teacher):
            assert out.input_gradients is not None
            g = out.input_gradients[n, :length]  # (tokens, 8)
            g = g.pow(2).sum(-1).sqrt() if compare == "norms" else g.flatten()
            directions.append(g / g.pow(2).sum().sqrt())
        expected = expected + (directions[0] - directions[1]).pow(2).sum() / len(LENGTHS)
    torch.testing.assert_close(get_loss("jacobian", compare=compare)(student, teacher, {}), expected)


def gradients(*tokens: list[float]) -> Outputs:
    return Outputs(input_gradients=torch.tensor([[*tokens]], dtype=torch.float64))


def test_numbers_worked_out_by_hand() -> None:
    """(3, 4) and (4, 3): a cosine of 24 / 25. As lengths of two tokens they are (5, 0) and (0, 5): at right angles."""
    first, second = gradients([3.0, 4.0], [0.0, 0.0]), gradients([4.0, 3.0], [0.0, 0.0])
    assert get_loss("jacobian")(first, second, {}).item() == pytest.approx(0.08)
    assert get_loss("jacobian", compare="norms")(first, second, {}).item() == pytest.approx(0)
    other = gradients([0.0, 0.0], [4.0, 3.0])
    assert get_loss("jacobian", compare="norms")(first, other, {}).item() == pytest.approx(2)
    opposite = gradients([-3.0, -4.0], [0.0, 0.0])
    assert get_loss("jacobian")(first, opposite, {}).item() == pytest.approx(4)
    assert get_loss("jacobian", compare="norms")(first, opposite, {}).item() == pytest.approx(0)


@BOTH
@pytest.mark.parametrize("scale", [1e-6, 40.0])
def test_the_size_of_a_gradient_changes_nothing(compare: str, scale: float) -> None:
    loss = get_loss("jacobian", compare=compare)
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    assert teacher.input_gradients is not None
    scaled = Outputs(input_gradients=teacher.input_gradients * scale)
    torch.testing.assert_close(loss(student, scaled, {}), loss(student, teacher, {}))


def test_a_rotation_of_the_embeddings_changes_no_length() -> None:
    """Models whose embeddings mean different things have their lengths at each token to compare."""
    rotation, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    assert teacher.input_gradients is not None
    turned = Outputs(input_gradients=teacher.input_gradients @ rotation)
    norms, vectors = get_loss("jacobian", compare="norms"), get_loss("jacobian")
    torch.testing.assert_close(norms(student, turned, {}), norms(student, teacher, {}))
    assert not torch.allclose(vectors(student, turned, {}), vectors(student, teacher, {}))


CASE = next(case for case in CASES if case.name == "jacobian")


def test_unequal_widths_are_refused_with_the_way_out() -> None:
    with pytest.raises(RequestError, match="4 wide and the teacher 8; use compare: norms"):
        CASE.make().resolve(CASE.info(width=4), CASE.info())
    get_loss("jacobian", compare="norms").resolve(CASE.info(width=4), CASE.info())


def test_several_labels_an_example_are_refused() -> None:
    info = CASE.info(problem=get_problem("multi_label_classification"))
    with pytest.raises(RequestError, match="one label an example"):
        CASE.make().resolve(info, info)


def test_an_unknown_word_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean 'norms'"):
        get_loss("jacobian", compare="norm")


def test_two_tokenizers_are_refused() -> None:
    with pytest.raises(RequestError, match="the same tokens"):
        CASE.make()(gradients([1.0, 0.0]), gradients([1.0, 0.0], [0.0, 1.0]), {})


def test_a_gradient_of_a_logit_is_asked_for_with_the_logits() -> None:
    with pytest.raises(ValueError, match="logits too"):
        Needs(input_gradients=True)
