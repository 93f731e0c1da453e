"""How several answers become one: numbers worked out by hand, and what no combination may change."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.problems import IGNORED, get_problem, list_problems
from distilnlp.teachers.combination import Combination

CLASSES, LABELS, NUMBER = map(get_problem, ("single_label_classification", "multi_label_classification", "regression"))
TWO = [torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 2.0]])]


def rows(seed: int = 0, shape: tuple[int, ...] = (3, 5, 4)) -> list[torch.Tensor]:
    return list(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def every_way() -> list[Combination]:
    return [
        Combination(combine, weights)
        for combine in ("logits", "probabilities")
        for weights in (None, "confidence", "loss")
    ]


@pytest.mark.parametrize(("combine", "expected"), [("logits", 0.731059), ("probabilities", 0.550608)])
def test_a_mean_of_logits_is_not_one_of_probabilities(combine: Any, expected: float) -> None:
    together = Combination(combine).logits(TWO, CLASSES)
    assert together.softmax(-1)[0, 0].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("way", every_way(), ids=str)
@pytest.mark.parametrize("problem", [CLASSES, LABELS], ids=lambda each: each.name)
def test_copies_of_one_answer_are_that_answer(way: Combination, problem: Any) -> None:
    labels = torch.tensor([0, 1, 2, 3, 0]) if problem is CLASSES else torch.ones(5, 4)
    one = rows()[0].log_softmax(-1)  # as logits they are only known up to a constant
    torch.testing.assert_close(way.logits([one] * 3, problem, labels), one)


@pytest.mark.parametrize("way", every_way(), ids=str)
def test_the_order_of_the_teachers_is_of_no_account(way: Combination) -> None:
    labels = torch.tensor([0, 1, 2, 3, 0])
    expected = way.logits(rows(), CLASSES, labels)
    for order in permutations(rows()):
        torch.testing.assert_close(way.logits(order, CLASSES, labels), expected)


def test_fixed_weights_are_scaled_to_one_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    way = Combination("logits", [3.0, 1.0])
    assert way.fixed == (0.75, 0.25) and "sum to 4" in caplog.text
    torch.testing.assert_close(way.logits(TWO, CLASSES), torch.tensor([[3.0, 0.5]]))
    caplog.clear()
    assert Combination("logits", [0.7, 0.2, 0.1]).fixed is not None and not caplog.text


def test_confidence_weighs_by_the_largest_probability() -> None:
    """Answers [.9, .1] and [.6, .4] weigh .6 and .4."""
    answers = [torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.6, 0.4]]).log()]
    together = Combination("probabilities", "confidence").logits(answers, CLASSES).exp()
    torch.testing.assert_close(together, torch.tensor([[0.6 * 0.9 + 0.4 * 0.6, 0.6 * 0.1 + 0.4 * 0.4]]))


def test_of_several_labels_each_is_weighed_by_itself() -> None:
    answers = [torch.tensor([[0.9, 0.5]]).logit(), torch.tensor([[0.4, 0.5]]).logit()]
    together = Combination("probabilities", "confidence").logits(answers, LABELS).sigmoid()
    torch.testing.assert_close(together, torch.tensor([[0.6 * 0.9 + 0.4 * 0.4, 0.5]]))


def test_loss_weighs_each_row_by_its_label_and_one_without_equally() -> None:
    answers, labels = rows(1), torch.tensor([0, 3, IGNORED, 1, 2])
    together = Combination("logits", "loss").logits(answers, CLASSES, labels).numpy()
    probabilities = [np.exp(each.numpy()) / np.exp(each.numpy()).sum(-1, keepdims=True) for each in answers]
    for row, label in enumerate(labels.tolist()):
        own = [1.0 if label == IGNORED else each[row, label] for each in probabilities]  # softmax(log p) ~ p
        expected = sum(w / sum(own) * each.numpy()[row] for w, each in zip(own, answers, strict=True))
        np.testing.assert_allclose(together[row], expected)


def test_loss_weighs_numbers_and_every_token_too() -> None:
    numbers = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.0]])]
    together = Combination("logits", "loss").logits(numbers, NUMBER, torch.tensor([1.0, torch.nan]))
    first = float(1 / (1 + np.exp(-4.0)))
    torch.testing.assert_close(together, torch.tensor([[first + 3 * (1 - first)], [2.0]]))
    tokens, tags = rows(2, (2, 3, 4, 5)), torch.full((3, 4), IGNORED)
    by_token = Combination("logits", "loss").logits(tokens, get_problem("token_classification"), tags)
    torch.testing.assert_close(by_token, (tokens[0] + tokens[1]) / 2)


def test_a_drawn_teacher_follows_from_seed_and_step_alone_and_from_the_weights_on_average() -> None:
    equal, mostly = Combination("stochastic"), Combination("stochastic", [0.9, 0.1])
    drawn = [equal.asked(3, 7, step) for step in range(3000)]
    assert drawn == [equal.asked(3, 7, step) for step in range(3000)]
    assert drawn != [equal.asked(3, 8, step) for step in range(3000)]
    counts = np.bincount([place for (place,) in drawn]) / 3000
    np.testing.assert_allclose(counts, 1 / 3, atol=0.03)
    assert np.mean([mostly.asked(2, 7, step) == [0] for step in range(3000)]) == pytest.approx(0.9, abs=0.02)


def test_the_mean_over_the_draws_is_the_mean_of_the_answers() -> None:
    way, answers = Combination("stochastic"), rows(3)
    drawn = [answers[way.asked(3, 0, step)[0]] for step in range(6000)]
    torch.testing.assert_close(sum(drawn) / 6000, sum(answers) / 3, atol=0.06, rtol=0.0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"weights": [1.0, -1.0]}, "weights of teachers are numbers >= 0, not all 0; got -1.0"),
        ({"weights": [0.0, 0.0]}, "got 0 for every teacher"),
        ({"weights": [float("nan"), 1.0]}, "got nan"),
        ({"combine": "stochastic", "weights": "loss"}, "weights: loss follow from the answers"),
        ({"combine": "stochastic", "weights": "confidence"}, "weights: confidence follow from the answers"),
    ],
)
def test_weights_that_cannot_be_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told) as caught:
        Combination(**settings)
    assert caught.value.key == ("weights",)


def test_one_weight_for_each_teacher() -> None:
    with pytest.raises(RequestError, match=r"weights has 3 numbers, and there are 2 teachers \(a, b\)"):
        Combination("logits", [0.2, 0.3, 0.5]).check_count(["a", "b"])


@pytest.mark.parametrize("name", list_problems())
def test_every_kind_of_task_is_combined_or_refused(name: str) -> None:
    """Means of logits and draws always work; probabilities and losses need rows that have them."""
    problem = get_problem(name)
    for each in (Combination("logits", [1.0, 2.0]), Combination("stochastic")):
        each.check_problem(problem)
    rows = problem.rows in ("text", "token") and not problem.vectors
    chances = rows and name != "regression"
    for way, fits in [
        (Combination("probabilities"), chances),
        (Combination("logits", "confidence"), chances),
        (Combination("logits", "loss"), rows),
    ]:
        if fits:
            way.check_problem(problem)
        else:
            with pytest.raises(RequestError, match=f"{name} has no"):
                way.check_problem(problem)


def test_loss_without_labels_is_refused() -> None:
    with pytest.raises(RequestError, match="weights: loss needs labels and the batch has none"):
        Combination("logits", "loss").logits(TWO, CLASSES)
