"""Every loss under a head that answers for each token: what counts is the rows, whoever they belong to."""

import dataclasses

import pytest
import torch
from torch import Tensor

from distilnlp.losses import loss_class
from distilnlp.outputs import Outputs
from distilnlp.problems import get_problem
from tests.losses.cases import BATCH, CASES, LENGTHS, TOKENS, Case, outputs

IGNORED = -100
OWN_LOGITS = {"rocket_launching"}  # its booster answers for each token by the hidden states there
token_cases = pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case.problem_type == "single_label_classification"
        and not case.warm
        and case.name not in OWN_LOGITS
        and case.settings.get("on") != "logits"  # relates one row of each text
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
