"""Logits of every token: the mean over the tokens that have a label, for each example."""

import pytest
import torch

from distilnlp.losses import get_loss
from distilnlp.outputs import Needs, Outputs
from tests.losses.cases import CASES, Case

FOR_CLASSES = [
    case for case in CASES if case.make().needs_student() == Needs(logits=True) and case.problem_type[0] == "s"
]
every_loss = pytest.mark.parametrize("case", FOR_CLASSES, ids=lambda case: case.name)


def logits(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in "st"]


@every_loss
def test_one_token_is_one_text(case: Case) -> None:
    student, teacher = logits(4, 3)
    labels = torch.tensor([0, 2, 1, 0])
    loss = get_loss(case.name, **case.settings)
    text = loss(Outputs(logits=student), Outputs(logits=teacher), {"labels": labels})
    token = loss(Outputs(logits=student[:, None]), Outputs(logits=teacher[:, None]), {"labels": labels[:, None]})
    torch.testing.assert_close(token, text)


@every_loss
def test_padding_and_tokens_without_a_label_do_not_count(case: Case) -> None:
    student, teacher = logits(2, 4, 3)
    labels = torch.tensor([[0, 2, 1, -100], [1, -100, 0, -100]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])
    loss, values = get_loss(case.name, **case.settings), []
    for rubbish in (0.0, 1e4):
        changed = [out.masked_fill((labels == -100)[..., None], rubbish) for out in (student, teacher)]
        changed[0][..., 0] += rubbish * (labels == -100)
        outputs = [Outputs(logits=out, attention_mask=mask) for out in changed]
        values.append(loss(*outputs, {"labels": labels}))
    torch.testing.assert_close(values[0], values[1])
    if not loss.batch_dependent:
        texts = [
            loss(Outputs(logits=student[i][kept]), Outputs(logits=teacher[i][kept]), {"labels": labels[i][kept]})
            for i, kept in enumerate(labels != -100)
        ]
        torch.testing.assert_close(values[0], torch.stack(texts).mean())
