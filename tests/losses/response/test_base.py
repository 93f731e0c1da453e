"""What the losses on logits share: which heads they take, and that tokens without a label do not count."""

import math

import pytest
import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses import BernoulliSoftTarget, HardLabel, SoftTarget, get_loss
from distilnlp.outputs import Needs, Outputs
from tests.losses.cases import CASES, Case


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, True, "2"])
@pytest.mark.parametrize("loss", [SoftTarget, BernoulliSoftTarget])
def test_a_useless_temperature_is_refused(loss: type, bad: object) -> None:
    """A negative temperature would silently reverse the teacher's ranking."""
    with pytest.raises(RequestError, match="positive and finite"):
        loss(temperature=bad)


@pytest.mark.parametrize(
    ("loss", "problem_type", "better"),
    [
        (SoftTarget(), "regression", "logit_mse"),
        (SoftTarget(), "multi_label_classification", "bernoulli_soft_target"),
        (BernoulliSoftTarget(), "single_label_classification", "soft_target"),
        (BernoulliSoftTarget(), "regression", "logit_mse"),
    ],
)
def test_the_wrong_response_loss_for_a_head_names_the_right_one(
    loss: SoftTarget, problem_type: str, better: str
) -> None:
    info = Case("x", problem_type=problem_type).info()
    with pytest.raises(RequestError, match=better):
        loss.resolve(info, info)


def test_heads_of_unequal_size_are_refused_before_training() -> None:
    case = Case("x")
    with pytest.raises(RequestError, match="3 and the teacher 2"):
        SoftTarget().resolve(case.info(), case.info(num_logits=2))


FOR_CLASSES = [
    case
    for case in CASES
    if case.make().needs_student() == Needs(logits=True) and case.problem_type[0] == "s" and "on" not in case.settings
]


every_loss = pytest.mark.parametrize("case", FOR_CLASSES, ids=lambda case: case.name)


def logits(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in "st"]


def module_of(case: Case) -> nn.Module | None:
    """The auxiliary module of a loss between logits of three classes, where it has one."""
    torch.manual_seed(0)
    module = get_loss(case.name, **case.settings).make_module(case.info(), case.info())
    return None if module is None else module.double()


@every_loss
def test_one_token_is_one_text(case: Case) -> None:
    student, teacher = logits(4, 3)
    labels = torch.tensor([0, 2, 1, 0])
    loss, module = get_loss(case.name, **case.settings), module_of(case)
    text = loss(Outputs(logits=student), Outputs(logits=teacher), {"labels": labels}, module)
    by_token = Outputs(logits=student[:, None]), Outputs(logits=teacher[:, None])
    token = loss(*by_token, {"labels": labels[:, None]}, module)
    torch.testing.assert_close(token, text)


@every_loss
def test_padding_and_tokens_without_a_label_do_not_count(case: Case) -> None:
    student, teacher = logits(2, 4, 3)
    labels = torch.tensor([[0, 2, 1, -100], [1, -100, 0, -100]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])
    loss, module, values = get_loss(case.name, **case.settings), module_of(case), []
    for rubbish in (0.0, 1e4):
        changed = [out.masked_fill((labels == -100)[..., None], rubbish) for out in (student, teacher)]
        changed[0][..., 0] += rubbish * (labels == -100)
        outputs = [Outputs(logits=out, attention_mask=mask) for out in changed]
        values.append(loss(*outputs, {"labels": labels}, module))
    torch.testing.assert_close(values[0], values[1])
    if not loss.batch_dependent:
        texts = [
            loss(
                Outputs(logits=student[i][kept]), Outputs(logits=teacher[i][kept]), {"labels": labels[i][kept]}, module
            )
            for i, kept in enumerate(labels != -100)
        ]
        torch.testing.assert_close(values[0], torch.stack(texts).mean())


LABELS = torch.tensor([0, 2, 1, 1, 3])


def pair() -> tuple[Tensor, Tensor]:
    """The teacher is right on some of the labels and wrong on others."""
    generator = torch.Generator().manual_seed(3)
    z_s, z_t = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in "st")
    right = z_t.argmax(-1) == LABELS
    assert right.any() and not right.all()
    return z_s, z_t


LABELLED = ["label_smoothing", "conditional_teacher_student", "probability_shift", "dkd"]


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({}, "needs labels and the batch has none"),
        ({"labels": torch.tensor([0, 1, 2, 3, 4])}, "0..3"),
        ({"labels": torch.rand(5)}, "one class as the label of each text"),
        ({"labels": torch.zeros(5, 4, dtype=torch.long)}, "one class as the label of each text"),
    ],
)
def test_labels_that_are_no_classes_are_refused(name: str, batch: dict[str, Tensor], message: str) -> None:
    z_s, z_t = pair()
    with pytest.raises(RequestError, match=message):
        get_loss(name)(Outputs(logits=z_s), Outputs(logits=z_t), batch)


CLASSES_ONLY = [*LABELLED, "pseudo_label", "soft_cross_entropy", "divergence", "dist", "logit_standardization"]


@pytest.mark.parametrize("name", CLASSES_ONLY)
@pytest.mark.parametrize(
    ("problem_type", "better"),
    [("regression", "logit_mse"), ("multi_label_classification", "bernoulli_soft_target")],
)
def test_a_head_of_another_kind_is_refused_with_the_loss_for_it(name: str, problem_type: str, better: str) -> None:
    info = Case("x", problem_type=problem_type).info()
    with pytest.raises(RequestError, match=better):
        get_loss(name).resolve(info, info)


@pytest.mark.parametrize(
    ("logits", "labels", "none"),
    [
        (torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1]), -100),
        (
            torch.randn(4, 1, generator=torch.Generator().manual_seed(0)),
            torch.tensor([0.5, 2.0, -1.0, 3.0]),
            torch.nan,
        ),
        (torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.eye(4)[:, :2], torch.nan),
    ],
)
def test_a_text_without_a_label_adds_nothing_and_gets_no_gradient(logits: Tensor, labels: Tensor, none: float) -> None:
    """The mean is over all examples, so that micro-batches with few labels weigh no more than others."""
    logits, some = logits.requires_grad_(), labels.clone()
    some[1] = none
    loss = HardLabel()(Outputs(logits=logits), None, {"labels": some})
    loss.backward()
    alone = [HardLabel()(Outputs(logits=logits[i : i + 1]), None, {"labels": labels[i : i + 1]}) for i in (0, 2, 3)]

    torch.testing.assert_close(loss, sum(alone) / 4)
    assert not logits.grad[1].any() and logits.grad[0].any()
