"""Every loss under a head that answers for each token, or by the place of an answer: what counts is the rows."""

import dataclasses

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import loss_class
from distilnlp.outputs import Outputs
from distilnlp.problems import IGNORED, get_problem
from tests.losses.cases import BATCH, CASES, LENGTHS, TOKENS, Case, outputs

OWN_LOGITS = {"rocket_launching"}  # its booster answers for each token by the hidden states there


def of_texts(case: Case) -> bool:
    """Whether it reads one row of logits a text: a relation between logits, or the gradient of one of them."""
    return case.settings.get("on") == "logits" or case.name == "jacobian"


token_cases = pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case.problem_type == "single_label_classification"
        and not case.warm
        and case.name not in OWN_LOGITS
        and not of_texts(case)
    ],
    ids=lambda case: case.name,
)


def by_token(out: Outputs, places: list[int], noise: int) -> Outputs:
    """The same logits at these tokens of each text, and others everywhere else."""
    assert out.logits is not None
    generator = torch.Generator().manual_seed(noise)
    logits = torch.randn(BATCH, TOKENS, out.logits.shape[-1], generator=generator)
    for place in places:
        logits[:, place] = out.logits
    return dataclasses.replace(out, logits=logits, problem=get_problem("token_classification"))


def batch_of(case: Case, places: list[int]) -> dict[str, Tensor]:
    labels = torch.full((BATCH, TOKENS), IGNORED)
    for place in places:
        labels[:, place] = case.batch()["labels"]
    return {"labels": labels, "label_mask": (labels != IGNORED).long()}


def value(case: Case, student: Outputs, teacher: Outputs, batch: dict[str, Tensor]) -> Tensor:
    return case.make()(student, teacher, batch, case.module(student))


@token_cases
@pytest.mark.parametrize("places", [[0], [1], [0, 1]])
def test_a_loss_is_the_mean_over_the_rows_that_count(case: Case, places: list[int]) -> None:
    """Pieces, special tokens and padding hold rubbish here, and two equal rows are as one."""
    assert min(LENGTHS) > max(places)
    plain = outputs(0, case.classes), outputs(1, case.classes)
    student, teacher = (by_token(out, places, noise) for noise, out in enumerate(plain))
    found = value(case, student, teacher, batch_of(case, places))
    expected = value(case, *plain, case.batch())
    if loss_class(case.name).batch_dependent and len(places) > 1:
        assert torch.isfinite(found)
    else:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("problem", ["token_classification", "question_answering"])
def test_what_takes_one_row_of_logits_a_text_is_refused_before_the_training(problem: str) -> None:
    refused = [case for case in CASES if of_texts(case)]
    assert len(refused) > 4
    for case in refused:
        info = case.info(num_logits=2, problem=get_problem(problem))
        with pytest.raises(RequestError, match=f"{case.name} .*one (row of logits|logit) a text, and {problem} has"):
            case.make().resolve(info, info)


@token_cases
def test_without_labels_the_mask_alone_tells_the_rows(case: Case) -> None:
    if loss_class(case.name).uses_labels:
        return
    plain = outputs(0, case.classes), outputs(1, case.classes)
    student, teacher = (by_token(out, [1], noise) for noise, out in enumerate(plain))
    batch = {"label_mask": batch_of(case, [1])["label_mask"]}
    torch.testing.assert_close(
        value(case, student, teacher, batch), value(case, *plain, case.batch()), rtol=1e-4, atol=1e-5
    )


# ---- the places of answers ----

SPAN = get_problem("question_answering")
PLACES = torch.tensor([[0, 5], [1, 3], [4, 4], [0, 1]])
# Whose rows of classes are no tokens, and cannot be.
NO_SPANS = {
    *("cwtm", "discriminator", "dkpp", "lwf"),
    *("annealing_kd", "cosine", "dist", "label_smoothing", "logit_standardization", "margin_mse"),
    "rocket_launching",
}
span_cases = pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case.problem_type == "single_label_classification" and not case.warm and not of_texts(case)
    ],
    ids=lambda case: f"{case.name}-{case.settings}",
)


def by_place(out: Outputs, noise: int, padding: float = 0.0) -> Outputs:
    """Logits of start and end at each token, ``padding`` where there is none."""
    logits = torch.randn(BATCH, TOKENS, 2, generator=torch.Generator().manual_seed(noise))
    real = torch.arange(TOKENS)[None, :, None] < torch.tensor(LENGTHS)[:, None, None]
    return dataclasses.replace(out, logits=logits.where(real, padding), problem=SPAN)


def part_of(out: Outputs, rows: Tensor) -> Outputs:
    """The examples with these numbers."""
    changes: dict[str, object] = {}
    for field in dataclasses.fields(out):
        held = getattr(out, field.name)
        if isinstance(held, Tensor):
            changes[field.name] = held[rows]
        elif isinstance(held, dict) and field.name != "scales":
            changes[field.name] = {
                key: each[rows] if isinstance(each, Tensor) and len(each) == BATCH else each
                for key, each in held.items()
            }
    return dataclasses.replace(out, **changes)


def both(padding: float = 0.0) -> tuple[Outputs, Outputs]:
    return by_place(outputs(0, 2), 0, padding), by_place(outputs(1, 2), 1, padding)


@span_cases
def test_a_loss_takes_a_span_head_or_refuses_it_before_the_training(case: Case) -> None:
    info = case.info(num_logits=2, problem=SPAN)
    if case.name in NO_SPANS:
        with pytest.raises(RequestError, match=f"{case.name} does not fit a span head"):
            case.make().resolve(info, info)
    else:
        loss = case.make().resolve(info, info)
        found = loss(*both(), {"labels": PLACES}, case.module(both()[0]))
        assert torch.isfinite(found)


@span_cases
def test_padding_order_and_the_cut_into_micro_batches_change_nothing_under_a_span_head(case: Case) -> None:
    if case.name in NO_SPANS:
        return
    batch = {"labels": PLACES}
    whole = value(case, *both(), batch)
    torch.testing.assert_close(value(case, *both(1e4), batch), whole)
    if loss_class(case.name).batch_dependent:
        return
    torch.testing.assert_close(of_part(case, torch.arange(BATCH - 1, -1, -1)), whole, rtol=1e-4, atol=1e-5)
    cut = sum(of_part(case, part) * len(part) / BATCH for part in torch.arange(BATCH).split([1, BATCH - 1]))
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-5)


def of_part(case: Case, rows: Tensor) -> Tensor:
    """The loss of these examples alone."""
    student, teacher = (part_of(out, rows) for out in both())
    return value(case, student, teacher, {"labels": PLACES[rows]})
