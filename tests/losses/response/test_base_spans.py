"""Span heads (extractive question answering): two softmaxes over the tokens of a text, start and end of the answer."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import Outputs
from distilnlp.problems.base import Rows
from distilnlp.problems.classification import Classification


@dataclass(frozen=True)
class SpanHead(Classification):
    """Start and end of an answer."""

    rows: ClassVar[Rows] = "span"


SPAN = SpanHead()


LENGTHS = (5, 3, 4)


LABELS = torch.tensor([[0, 4], [1, 2], [3, 3]])


FITTING = [
    ("hard_label", {}),
    ("response", {}),
    ("soft_target", {"temperature": 3.0}),
    ("soft_cross_entropy", {}),
    *(("divergence", {"kind": kind}) for kind in ("reverse_kl", "jsd", "tvd", "jeffreys")),
    ("dkd", {}),
    ("pseudo_label", {}),
    ("conditional_teacher_student", {}),
    ("probability_shift", {}),
]


every_fitting_loss = pytest.mark.parametrize(("name", "settings"), FITTING, ids=lambda value: str(value))


def span_outputs(rubbish: float = 0.0, extra: int = 0) -> list[Outputs]:
    """Of student and teacher, with padding to five tokens and ``extra`` more, and ``rubbish`` in it."""
    generator = torch.Generator().manual_seed(0)
    tokens = 5 + extra
    mask = torch.arange(tokens)[None] < torch.tensor(LENGTHS)[:, None]  # (batch, tokens)
    result = []
    for sign in (1.0, -1.0):
        logits = torch.full((3, tokens, 2), sign * rubbish, dtype=torch.float64)
        logits[:, :5] = torch.randn(3, 5, 2, generator=generator, dtype=torch.float64)
        logits = torch.where(mask[..., None], logits, sign * rubbish)
        result.append(Outputs(logits=logits, attention_mask=mask.long(), problem=SPAN))
    return result


@every_fitting_loss
@pytest.mark.parametrize(("rubbish", "extra"), [(1e4, 0), (-1e4, 3), (float("nan"), 2)])
def test_padding_never_changes_the_softmax(name: str, settings: dict[str, object], rubbish: float, extra: int) -> None:
    loss, batch = get_loss(name, **settings), {"labels": LABELS}
    padded = span_outputs(rubbish, extra)
    torch.testing.assert_close(loss(*padded, batch), loss(*span_outputs(), batch))


def as_texts(outputs: Outputs, i: int) -> Outputs:
    """The start and the end of one example as two texts of an ordinary classifier, without the padding."""
    assert outputs.logits is not None
    return Outputs(logits=outputs.logits[i, : LENGTHS[i]].T)


@every_fitting_loss
def test_it_is_the_loss_between_the_positions_of_each_text_alone(name: str, settings: dict[str, object]) -> None:
    """The mean over start and end, then over the texts, whatever their length."""
    loss, (student, teacher) = get_loss(name, **settings), span_outputs()
    alone = [loss(as_texts(student, i), as_texts(teacher, i), {"labels": LABELS[i]}) for i in range(3)]
    torch.testing.assert_close(loss(student, teacher, {"labels": LABELS}), torch.stack(alone).mean())


def test_the_soft_target_is_the_written_formula() -> None:
    student, teacher = span_outputs(rubbish=50.0)
    terms: list[Tensor] = []
    for i, length in enumerate(LENGTHS):
        for end in (0, 1):
            p, q = (torch.softmax(out.logits[i, :length, end] / 3, dim=0) for out in (teacher, student))
            terms.append((p * (p / q).log()).sum() * 9)
    got = get_loss("soft_target", temperature=3.0)(student, teacher, {})
    torch.testing.assert_close(got, torch.stack(terms).mean())


def test_padding_gets_no_gradient_and_real_tokens_a_finite_one() -> None:
    student, teacher = span_outputs(rubbish=1e4)
    logits = student.logits.clone().requires_grad_()
    get_loss("soft_target")(dataclasses.replace(student, logits=logits), teacher, {}).backward()
    real = student.attention_mask.bool()
    assert bool((logits.grad[~real] == 0).all())
    assert bool(torch.isfinite(logits.grad).all()) and bool((logits.grad[real] != 0).all())


@pytest.mark.parametrize(
    "name", ["logit_mse", "bernoulli_soft_target", "dist", "logit_standardization", "label_smoothing"]
)
def test_what_depends_on_the_number_of_positions_is_refused(name: str) -> None:
    """A mean over positions would be smaller in a longer batch; the uniform label would fall on padding."""
    with pytest.raises(RequestError, match=f"{name} does not fit a span head"):
        get_loss(name)(*span_outputs(), {"labels": LABELS})


@pytest.mark.parametrize("labels", [[[0, 4], [1, 3], [3, 3]], [[0, 5], [1, 2], [3, 3]], [[0, 4], [-100, 2], [3, 3]]])
def test_an_answer_that_was_cut_off_or_lies_in_padding_is_refused(labels: list[list[int]]) -> None:
    with pytest.raises(RequestError, match="real tokens"):
        get_loss("hard_label")(*span_outputs(), {"labels": torch.tensor(labels)})


def test_one_label_a_text_is_refused() -> None:
    for labels in (torch.tensor([0, 1, 2]), LABELS.double()):
        with pytest.raises(RequestError, match="positions of start and end"):
            get_loss("hard_label")(*span_outputs(), {"labels": labels})


def test_a_text_without_any_token_is_refused() -> None:
    """All its logits are equal then: a perfect loss that trains nothing."""
    student, teacher = span_outputs()
    mask = student.attention_mask.clone()
    mask[1] = 0
    with pytest.raises(RequestError, match="no valid token"):
        get_loss("soft_target")(dataclasses.replace(student, attention_mask=mask), teacher, {})


def test_other_heads_and_other_tokens_are_refused() -> None:
    student, teacher = span_outputs()
    with pytest.raises(RequestError, match="start and end; got"):
        get_loss("soft_target")(Outputs(logits=torch.zeros(3, 2), problem=SPAN), teacher, {})
    with pytest.raises(RequestError, match="same tokens"):
        get_loss("soft_target")(student, span_outputs(extra=1)[1], {})
