"""What a teacher's soft labels hold, by the formulas, and the gradients as torch has them."""

import numpy as np
import pytest
import torch

from distilnlp.analysis.dark_knowledge import dark_knowledge, gradient_ratios, suggested_temperature
from distilnlp.errors import RequestError

LOGITS = np.array([[4.0, 1.0, 0.0], [3.0, 0.0, 2.0], [0.0, 5.0, 1.0]])
LABELS = np.array([0, 0, 1])


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


def test_entropy_and_the_mass_beside_the_label_by_their_formulas() -> None:
    found = dark_knowledge(LOGITS, LABELS, [1.0, 2.0])
    for place, temperature in enumerate((1.0, 2.0)):
        soft = softmax(LOGITS / temperature)
        entropy = -(soft * np.log(soft)).sum(axis=1).mean() / np.log(3)
        assert found.entropy[place] == pytest.approx(entropy)
        assert found.other_mass[place] == pytest.approx(1 - soft[[0, 1, 2], LABELS].mean())
    assert found.entropy[0] < found.entropy[1]


def test_confusion_is_the_mean_answer_of_each_label() -> None:
    found = dark_knowledge(LOGITS, LABELS)
    soft = softmax(LOGITS / found.suggested)
    assert found.confusion[0] == pytest.approx(soft[:2].mean(axis=0))
    assert found.confusion[1] == pytest.approx(soft[2])
    assert np.isnan(found.confusion[2]).all()


def test_at_the_suggested_temperature_half_of_the_entropy_is_there() -> None:
    found = dark_knowledge(LOGITS, LABELS, [suggested_temperature(LOGITS)])
    assert found.entropy[0] == pytest.approx(0.5, abs=1e-6)
    assert suggested_temperature(np.zeros((3, 4))) == 1.0, "answers that are open already need none below 1"
    assert suggested_temperature(1000 * LOGITS) == pytest.approx(20.0)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_ratio_is_that_of_the_gradients_of_both_losses(temperature: float) -> None:
    student = np.array([[1.0, 0.5, -1.0], [0.0, 1.0, 0.3], [2.0, 0.1, 0.0]])
    values = torch.tensor(student, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(values, torch.tensor(LABELS), reduction="sum")
    (hard,) = torch.autograd.grad(loss, values)
    own, target = torch.log_softmax(values / temperature, -1), torch.softmax(torch.tensor(LOGITS) / temperature, -1)
    (soft,) = torch.autograd.grad(-(temperature**2) * (target * own).sum(), values)
    places = torch.arange(3), torch.tensor(LABELS)
    wanted = (soft[places] / hard[places]).numpy()
    assert gradient_ratios(student, LOGITS, LABELS, temperature) == pytest.approx(wanted)


def test_a_teacher_that_is_sure_weighs_as_the_label() -> None:
    assert gradient_ratios([[0.0, 0.0]], [[50.0, 0.0]], [0]) == pytest.approx([1.0])


def test_what_has_no_classes_is_refused() -> None:
    with pytest.raises(RequestError, match="two classes or more"):
        dark_knowledge([[1.0]], [0])
    with pytest.raises(RequestError, match="labels from 0 to 2"):
        dark_knowledge(LOGITS, [0, 1, 3])
    with pytest.raises(RequestError, match="above 0"):
        dark_knowledge(LOGITS, LABELS, [0.0])
    with pytest.raises(RequestError, match="both models' logits"):
        gradient_ratios(LOGITS[:, :2], LOGITS, [0, 0, 1])
