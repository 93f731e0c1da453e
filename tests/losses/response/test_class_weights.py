"""Class weights: what is accepted, and what numbers come of it."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import Objective, get_loss
from distilnlp.outputs import ModelInfo, Outputs
from distilnlp.problems import get_problem

INFO = ModelInfo("model", 3, 8, 2, 3)
NAMES = ("contradiction", "neutral", "entailment")


def objective(weights: object, loss: str = "hard_label") -> Objective:
    return Objective.from_dict({loss: {"class_weights": weights}})


def numbers(made: Objective) -> list[float]:
    (term,) = made
    return term.loss.class_weights  # type: ignore[attr-defined]


@pytest.mark.parametrize("loss", ["hard_label", "soft_target", "response", "label_smoothing"])
def test_balanced_classes_count_alike_in_all(loss: str) -> None:
    counts = [60, 30, 10]
    made = objective("balanced", loss).resolve(INFO, INFO).with_label_counts(lambda: (counts, 100))
    assert numbers(made) == pytest.approx([100 / 180, 100 / 90, 100 / 30])
    assert [weight * count for weight, count in zip(numbers(made), counts, strict=True)] == pytest.approx(
        [100 / 3] * 3
    )


def test_a_class_without_rows_takes_no_weight_from_the_others() -> None:
    assert numbers(objective("balanced").with_label_counts(lambda: ([75, 0, 25], 100))) == pytest.approx([2 / 3, 1, 2])


def test_given_weights_are_scaled_to_a_mean_of_one_over_the_rows() -> None:
    made = objective([1, 1, 4]).with_label_counts(lambda: ([50, 30, 20], 100))
    assert numbers(made) == pytest.approx([0.625, 0.625, 2.5])  # 0.8 x 0.625 + 0.2 x 2.5 = 1


def test_given_weights_of_a_stream_stay_as_they_are_and_balanced_ones_are_counted() -> None:
    assert numbers(objective([1, 1, 4]).with_label_counts(lambda: pytest.fail("counted"), False)) == [1, 1, 4]
    with pytest.raises(RequestError, match="no stream"):
        objective("balanced").with_label_counts(_uncountable, False)


def _uncountable() -> tuple[list[int], int]:
    raise RequestError("no stream")


def test_weights_by_label_are_put_into_the_order_of_the_logits() -> None:
    assert numbers(objective({"Entailment": 3, "contradiction": 2.0}).with_label_names(lambda: NAMES)) == [2, 1, 3]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"entailmnt": 2.0}, "did you mean 'entailment'"),
        ({"neutral": 2.0, "Neutral": 3.0}, "names the label 'neutral' twice"),
    ],
)
def test_a_label_that_is_not_there_or_twice_is_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        objective(weights).with_label_names(lambda: NAMES)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -1.0, 1.0], "positive and finite; got -1"),
        ([1.0, 0, 1.0], "positive and finite; got 0"),
        ([1.0, float("nan"), 1.0], "positive and finite; got nan"),
        ([1.0, True, 1.0], "positive and finite; got True"),
        ({"neutral": float("inf")}, "positive and finite; got inf"),
        ("balance", "or balanced"),
        ([], "a list of one number for each class"),
        (2.0, "a list of one number for each class"),
    ],
)
def test_what_is_no_weight_is_refused_where_it_is_written(weights: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        get_loss("soft_target", class_weights=weights)


def test_one_number_for_each_class_is_needed() -> None:
    with pytest.raises(RequestError, match="2 numbers and the student 3 classes"):
        objective([1.0, 2.0]).resolve(INFO, INFO)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_a_head_without_one_class_a_text_has_no_class_weights(problem: str) -> None:
    info = ModelInfo("model", 3, 8, 2, 1 if problem == "regression" else 3, get_problem(problem))
    with pytest.raises(RequestError, match="weigh rows by their one class"):
        objective("balanced").resolve(info, info)


def test_outside_of_the_trainer_there_is_nothing_to_count_in() -> None:
    loss = get_loss("hard_label", class_weights="balanced")
    with pytest.raises(RequestError, match="counted in the training data by the trainer"):
        loss(Outputs(logits=torch.zeros(1, 3)), None, {"labels": torch.tensor([0])})


def test_the_loss_is_torch_s_weighted_cross_entropy_but_for_the_scale_of_the_batch() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    weights = [0.5, 2.0, 1.0]
    ours = get_loss("hard_label", class_weights=weights)(Outputs(logits=logits), None, {"labels": labels})
    theirs = torch.nn.functional.cross_entropy(logits, labels, torch.tensor(weights), reduction="sum") / 5
    torch.testing.assert_close(ours, theirs)


def test_a_token_counts_by_its_own_class() -> None:
    logits, labels = torch.randn(2, 3, 3), torch.tensor([[-100, 0, 1], [2, -100, -100]])
    loss = get_loss("hard_label", class_weights=[1.0, 5.0, 3.0])
    each = torch.nn.functional.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    expected = ((each[0, 1] + 5 * each[0, 2]) / 2 + 3 * each[1, 0]) / 2
    torch.testing.assert_close(loss(Outputs(logits=logits), None, {"labels": labels}), expected)


def test_a_teacher_s_loss_with_class_weights_reads_labels() -> None:
    assert objective("balanced", "soft_target").uses_labels
    assert not Objective.from_dict({"soft_target": {}}).uses_labels
