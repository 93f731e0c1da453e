"""The task's own loss, by the kind of the labels."""

import pytest
import torch
import torch.nn.functional as F

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective
from distilnlp.outputs import ModelInfo, Outputs
from distilnlp.problems import Problem, get_problem


def test_hard_label_follows_the_kind_of_the_labels() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    classes = HardLabel()(Outputs(logits=logits), None, {"labels": torch.tensor([0, 0])})
    torch.testing.assert_close(classes, F.cross_entropy(logits, torch.tensor([0, 0])))
    several = HardLabel()(Outputs(logits=logits), None, {"labels": torch.tensor([[1.0, 0.0], [1.0, 1.0]])})
    torch.testing.assert_close(
        several, F.binary_cross_entropy_with_logits(logits, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    )
    target = HardLabel()(Outputs(logits=logits[:, :1]), None, {"labels": torch.tensor([1.0, 3.0])})
    assert float(target) == pytest.approx((1 + 9) / 2)


def test_a_text_without_a_label_adds_nothing_to_the_mean_over_texts() -> None:
    """Whether it has one class, or one for each of its tokens, some of which answer for no word."""
    logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 3.0], [1.0, 0.0]]])  # (texts, tokens, classes)
    labels = torch.tensor([[0, -100], [-100, -100]])
    words = Outputs(logits=logits, problem=get_problem("token_classification"))
    batch = {"labels": labels, "label_mask": torch.tensor([[1, 0], [1, 1]])}
    of_one = F.cross_entropy(logits[0, :1], labels[0, :1])
    torch.testing.assert_close(HardLabel()(words, None, batch), of_one / 2)
    of_texts = HardLabel()(Outputs(logits=logits[:, 0]), None, {"labels": labels[:, 0]})
    torch.testing.assert_close(of_texts, of_one / 2)


def test_a_query_without_relevance_adds_nothing_to_the_mean_over_queries() -> None:
    scores = Outputs(logits=torch.tensor([[2.0], [0.0], [1.0], [-1.0]]), problem=get_problem("ranking"))
    batch = {"groups": torch.tensor([[0, 1], [2, 3]]), "labels": torch.tensor([[0.0, 1.0], [torch.nan, torch.nan]])}
    of_one = F.cross_entropy(torch.tensor([[2.0, 0.0]]), torch.tensor([1]))
    torch.testing.assert_close(HardLabel()(scores, None, batch), of_one / 2)


@pytest.mark.parametrize(
    ("logits", "batch", "message"),
    [
        (torch.zeros(2, 2), {}, "labels"),
        (torch.zeros(2, 2), {"labels": torch.tensor([0, 2])}, "0..1"),
        (torch.zeros(2, 1), {"labels": torch.tensor([0, 0])}, "at least two"),
        (torch.zeros(2, 3), {"labels": torch.tensor([0.5, 1.0])}, "one logit"),
    ],
)
def test_hard_label_refuses_what_would_train_the_wrong_thing(
    logits: torch.Tensor, batch: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        HardLabel()(Outputs(logits=logits), None, batch)


SEVERAL = get_problem("multi_label_classification")
LOGITS = torch.tensor([[0.5, -1.0, 2.0], [-2.0, 0.25, 1.0]])
HOLDS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def info(problem: Problem = SEVERAL, labels: int = 3) -> ModelInfo:
    return ModelInfo("student", 1, 8, 2, labels, problem)


@pytest.mark.parametrize("pos_weight", [3.0, [1.0, 2.0, 0.5]])
def test_pos_weight_is_that_of_torch(pos_weight: float | list[float]) -> None:
    loss = HardLabel(pos_weight=pos_weight).resolve(info(), None)
    got = loss(Outputs(logits=LOGITS, problem=SEVERAL), None, {"labels": HOLDS})
    weights = torch.tensor(pos_weight)
    torch.testing.assert_close(got, F.binary_cross_entropy_with_logits(LOGITS, HOLDS, pos_weight=weights))


def test_balanced_weighs_a_label_by_the_rows_without_it_and_no_more_than_ten_times() -> None:
    objective = Objective([(1.0, HardLabel(pos_weight="balanced"))])
    (term,) = objective.with_label_counts(lambda: ([50, 25, 1, 0, 100], 100))
    assert term.loss == HardLabel(pos_weight=[1.0, 3.0, 10.0, 10.0, 1.0])


def test_labels_are_not_counted_where_nothing_asks_for_it() -> None:
    objective = Objective([(1.0, HardLabel(pos_weight=2.0))])
    assert objective.with_label_counts(lambda: pytest.fail("counted")) is objective


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("inf"), True, [1.0, 0.0], [1.0, "2"], "balance", []])
def test_a_pos_weight_that_is_no_weight_is_refused(wrong: object) -> None:
    with pytest.raises(RequestError, match="pos_weight") as caught:
        HardLabel(pos_weight=wrong)  # type: ignore[arg-type]
    assert caught.value.key == ("pos_weight",)


@pytest.mark.parametrize("kind", ["single_label_classification", "regression"])
def test_a_pos_weight_is_refused_before_step_0_where_no_label_holds_or_not(kind: str) -> None:
    with pytest.raises(RequestError, match=f"a {kind} has no such: leave it out"):
        HardLabel(pos_weight=2.0).resolve(info(get_problem(kind)), None)
    with pytest.raises(RequestError, match=f"pos_weight means nothing for {kind}"):
        get_problem(kind).weighted_row_loss(LOGITS, HOLDS, torch.tensor(2.0))


def test_a_pos_weight_for_other_labels_is_refused() -> None:
    with pytest.raises(RequestError, match="pos_weight has 2 numbers and the student 3 labels"):
        HardLabel(pos_weight=[1.0, 2.0]).resolve(info(), None)


def test_balanced_that_nobody_has_counted_is_refused() -> None:
    with pytest.raises(RequestError, match="counted in the training data by the trainer"):
        HardLabel(pos_weight="balanced")(Outputs(logits=LOGITS, problem=SEVERAL), None, {"labels": HOLDS})
