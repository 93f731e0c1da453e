"""Ranking heads: a logit a pair, and a softmax over the texts of each query."""

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss, list_losses
from distilnlp.losses.base import loss_class
from distilnlp.losses.response.base import ResponseLoss
from distilnlp.outputs import ModelInfo, Outputs
from distilnlp.problems import get_problem

RANKING = get_problem("ranking")
SIZES = (3, 2, 4)
RELEVANCE = [[1.0, 0.0, 0.0], [2.0, 1.0], [0.0, 0.0, 1.0, 0.0]]

FITTING = [
    ("hard_label", {}),
    ("response", {}),
    ("soft_target", {"temperature": 3.0}),
    *(("divergence", {"kind": kind}) for kind in ("reverse_kl", "jsd", "tvd", "jeffreys")),
    ("logit_mse", {}),
    ("logit_mse", {"center": True}),
    ("margin_mse", {}),
]
every_fitting_loss = pytest.mark.parametrize(("name", "settings"), FITTING, ids=str)

Lists = list[Tensor]


def scores(seed: int) -> Lists:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=torch.float64) for size in SIZES]


STUDENT, TEACHER = scores(0), scores(1)


def batch_of(relevance: list[list[float]], wider: int = 0, filling: float = -100.0) -> dict[str, Tensor]:
    width, place = max(map(len, relevance)) + wider, 0
    groups, labels = torch.full((len(relevance), width), -1), torch.full((len(relevance), width), filling)
    for row, values in enumerate(relevance):
        groups[row, : len(values)] = torch.arange(place, place + len(values))
        labels[row, : len(values)] = torch.tensor(values)
        place += len(values)
    return {"groups": groups, "labels": labels}


def outputs(lists: Lists) -> Outputs:
    return Outputs(logits=torch.cat(lists)[:, None], problem=RANKING)


def value(name: str, settings: dict[str, object], student: Lists, teacher: Lists, batch: dict[str, Tensor]) -> Tensor:
    return get_loss(name, **settings)(outputs(student), outputs(teacher), batch)


@every_fitting_loss
def test_it_is_the_mean_of_the_queries_alone(name: str, settings: dict[str, object]) -> None:
    """So neither the order of a batch, nor what it is cut into, changes anything."""
    alone = [value(name, settings, [STUDENT[i]], [TEACHER[i]], batch_of([RELEVANCE[i]])) for i in range(len(SIZES))]
    together = value(name, settings, STUDENT, TEACHER, batch_of(RELEVANCE))
    torch.testing.assert_close(together, torch.stack(alone).mean())
    turned = value(name, settings, STUDENT[::-1], TEACHER[::-1], batch_of(RELEVANCE[::-1]))
    torch.testing.assert_close(turned, together)


@every_fitting_loss
def test_what_fills_a_list_changes_nothing(name: str, settings: dict[str, object]) -> None:
    plain = value(name, settings, STUDENT, TEACHER, batch_of(RELEVANCE))
    torch.testing.assert_close(value(name, settings, STUDENT, TEACHER, batch_of(RELEVANCE, 3, 7.0)), plain)


@every_fitting_loss
def test_the_order_of_a_querys_texts_changes_nothing(name: str, settings: dict[str, object]) -> None:
    turned = [[each.flip(0) for each in lists] for lists in (STUDENT, TEACHER)]
    batch = batch_of([relevance[::-1] for relevance in RELEVANCE])
    torch.testing.assert_close(
        value(name, settings, *turned, batch), value(name, settings, STUDENT, TEACHER, batch_of(RELEVANCE))
    )


@every_fitting_loss
def test_every_text_is_trained(name: str, settings: dict[str, object]) -> None:
    logits = torch.cat(STUDENT)[:, None].requires_grad_()
    student = Outputs(logits=logits, problem=RANKING)
    get_loss(name, **settings)(student, outputs(TEACHER), batch_of(RELEVANCE)).backward()
    assert logits.grad is not None and bool((logits.grad != 0).all()) and bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("name", ["soft_target", "margin_mse", "divergence"])
def test_a_constant_for_all_texts_of_a_query_changes_nothing(name: str) -> None:
    moved = [each + 10.0 * (i + 1) for i, each in enumerate(STUDENT)]
    batch = batch_of(RELEVANCE)
    torch.testing.assert_close(
        value(name, {}, moved, TEACHER, batch), value(name, {}, STUDENT, TEACHER, batch), atol=1e-6, rtol=1e-6
    )


def test_the_kl_over_a_list_is_the_written_formula() -> None:
    p, q = (torch.softmax(each[0] / 2, dim=0) for each in (TEACHER, STUDENT))
    got = value("soft_target", {"temperature": 2.0}, STUDENT[:1], TEACHER[:1], batch_of(RELEVANCE[:1]))
    torch.testing.assert_close(got, (p * (p / q).log()).sum() * 4)


def test_the_margins_are_those_of_every_two_texts() -> None:
    error = STUDENT[0] - TEACHER[0]
    expected = torch.stack([(error[i] - error[j]) ** 2 for i in range(3) for j in range(i)]).mean()
    torch.testing.assert_close(value("margin_mse", {}, STUDENT[:1], TEACHER[:1], batch_of(RELEVANCE[:1])), expected)


def test_one_right_and_one_wrong_text_have_the_margin_of_the_paper() -> None:
    """The same as with both scores in one row, as `margin_mse` takes the logits of other heads."""
    student, teacher = (Outputs(logits=each[1][None]) for each in (STUDENT, TEACHER))
    torch.testing.assert_close(
        value("margin_mse", {}, STUDENT[1:2], TEACHER[1:2], batch_of(RELEVANCE[1:2])),
        get_loss("margin_mse")(student, teacher, {}),
    )


def test_losses_between_logits_that_know_nothing_of_lists_are_refused_before_the_first_step() -> None:
    info = ModelInfo("model", 2, 8, 2, 1, RANKING)
    classes = [loss_class(name) for name in list_losses()]
    between = [each for each in classes if issubclass(each, ResponseLoss) and each.name != "response"]
    refused = [each for each in between if not each.lists]
    assert {"dist", "dkd", "logit_standardization", "bernoulli_soft_target"} <= {each.name for each in refused}
    for each in refused:
        with pytest.raises(RequestError, match=f"{each.name} does not fit a ranking head"):
            each().resolve(info, info)
    assert {each.name for each in between if each.lists} == {name for name, _ in FITTING} - {"hard_label", "response"}
    for name, settings in FITTING:
        get_loss(name, **settings).resolve(info, info)


def test_without_groups_or_labels_of_their_shape_it_is_refused() -> None:
    batch = batch_of(RELEVANCE)
    with pytest.raises(RequestError, match="no groups"):
        get_loss("soft_target")(outputs(STUDENT), outputs(TEACHER), {})
    with pytest.raises(RequestError, match="a relevance for each text of a query"):
        get_loss("hard_label")(outputs(STUDENT), None, {**batch, "labels": torch.ones(9)})
    with pytest.raises(RequestError, match="no relevant text"):
        get_loss("hard_label")(outputs(STUDENT), None, {**batch, "labels": torch.zeros(3, 4)})
