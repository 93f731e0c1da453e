"""Smoothed labels, pseudo-labels and wrong teachers: formulas, golden numbers and the mistakes of others."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import (
    ConditionalTeacherStudent,
    HardLabel,
    LabelSmoothing,
    Loss,
    ProbabilityShift,
    PseudoLabel,
    SoftTarget,
)
from distilnlp.losses.response.label_aware import shift_to_label
from distilnlp.outputs import Outputs


def test_label_smoothing_gives_the_golden_number_both_ways() -> None:
    z = torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([2])
    got = LabelSmoothing(0.1)(Outputs(logits=z), None, {"labels": labels})
    assert float(got) == pytest.approx(2.307606, abs=1e-6)
    torch.testing.assert_close(got, F.cross_entropy(z, labels, label_smoothing=0.1))


LABELS = torch.tensor([0, 2, 1, 1, 3])


def pair() -> tuple[Tensor, Tensor]:
    """The teacher is right on some of the labels and wrong on others."""
    generator = torch.Generator().manual_seed(3)
    z_s, z_t = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in "st")
    right = z_t.argmax(-1) == LABELS
    assert right.any() and not right.all()
    return z_s, z_t


def value(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor | None = LABELS) -> Tensor:
    return loss(Outputs(logits=student), Outputs(logits=teacher), {} if labels is None else {"labels": labels})


def test_label_smoothing_is_distilling_from_a_uniform_teacher() -> None:
    """CE((1-e) y + e u, q) = (1-e) CE(y, q) + e (KL(u || q) + log C), and so are the gradients."""
    values, gradients = [], []
    for smoothed in (True, False):
        z = pair()[0].requires_grad_()
        if smoothed:
            loss = LabelSmoothing(0.2)(Outputs(logits=z), None, {"labels": LABELS})
        else:
            hard = HardLabel()(Outputs(logits=z), None, {"labels": LABELS})
            loss = 0.8 * hard + 0.2 * value(SoftTarget(1.0), z, torch.zeros(5, 4).double())
            loss = loss + 0.2 * torch.tensor(4.0).double().log()
        loss.backward()
        values.append(loss.detach())
        gradients.append(z.grad)
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, True, "0.1"])
def test_an_epsilon_that_means_nothing_is_refused(bad: float) -> None:
    with pytest.raises(RequestError, match="epsilon"):
        LabelSmoothing(bad)


def test_a_pseudo_label_is_the_teachers_likeliest_class() -> None:
    z_s, z_t = pair()
    q = torch.softmax(z_s, -1)
    expected = -torch.stack([q[row, int(z_t[row].argmax())].log() for row in range(5)]).mean()
    torch.testing.assert_close(value(PseudoLabel(), z_s, z_t, None), expected)


def test_the_filter_keeps_exactly_what_the_teacher_is_sure_of() -> None:
    """At least the threshold: an example exactly on it counts. The mean stays one over all examples."""
    z_s, z_t = pair()
    sure = torch.softmax(z_t, -1).amax(-1)
    threshold = float(sure.sort().values[2])
    kept = [row for row in range(5) if float(sure[row]) >= threshold]
    assert len(kept) == 3
    student = z_s.clone().requires_grad_()
    got = value(PseudoLabel(threshold), student, z_t, None)
    got.backward()
    assert student.grad is not None
    assert student.grad.abs().sum(-1).nonzero().flatten().tolist() == kept
    torch.testing.assert_close(got, value(PseudoLabel(), z_s[kept], z_t[kept], None) * 3 / 5)


@pytest.mark.parametrize("bad", [-0.1, 1.1, True, "0.5"])
def test_a_confidence_that_is_no_probability_is_refused(bad: float) -> None:
    with pytest.raises(RequestError, match="confidence"):
        PseudoLabel(bad)


def test_conditional_learning_takes_the_label_where_the_teacher_is_wrong() -> None:
    z_s, z_t = pair()
    p, q = torch.softmax(z_t / 2, -1), torch.softmax(z_s / 2, -1)
    expected = []
    for row, label in enumerate(LABELS.tolist()):
        if int(z_t[row].argmax()) == label:
            expected.append(4 * (p[row] * (p[row] / q[row]).log()).sum())
        else:
            expected.append(-torch.softmax(z_s[row], -1)[label].log())
    torch.testing.assert_close(value(ConditionalTeacherStudent(2.0), z_s, z_t), torch.stack(expected).mean())


@pytest.mark.parametrize("loss", [ConditionalTeacherStudent(2.0), ProbabilityShift(2.0)])
def test_a_teacher_that_is_always_right_gives_soft_target(loss: Loss) -> None:
    z_s, z_t = pair()
    torch.testing.assert_close(value(loss, z_s, z_t, z_t.argmax(-1)), value(SoftTarget(2.0), z_s, z_t))
    assert float(value(loss, z_t, z_t, z_t.argmax(-1))) == pytest.approx(0, abs=1e-12)


def test_a_teacher_that_is_always_wrong_gives_the_labels() -> None:
    z_s, z_t = pair()
    labels = z_t.argmin(-1)
    expected = HardLabel()(Outputs(logits=z_s), None, {"labels": labels})
    torch.testing.assert_close(value(ConditionalTeacherStudent(2.0), z_s, z_t, labels), expected)


def test_the_shift_moves_the_largest_value_to_the_label_and_nothing_else() -> None:
    z_t = pair()[1]
    shifted = shift_to_label(z_t, LABELS)
    assert shifted.argmax(-1).tolist() == LABELS.tolist()
    torch.testing.assert_close(shifted.sort(-1).values, z_t.sort(-1).values, rtol=0, atol=0)
    right = z_t.argmax(-1) == LABELS
    assert torch.equal(shifted[right], z_t[right])
    assert ((shifted != z_t).sum(-1)[~right] == 2).all()
    torch.testing.assert_close(shifted.softmax(-1), shift_to_label(z_t.softmax(-1), LABELS))


def test_the_shift_leaves_the_teachers_tensor_alone() -> None:
    """Trap P21: done in place, it would change a cached teacher's answers for good."""
    z_s, z_t = pair()
    before = z_t.clone()
    value(ProbabilityShift(), z_s, z_t)
    shift_to_label(z_t, LABELS)
    assert torch.equal(z_t, before)


def test_the_loss_on_the_shifted_teacher_is_soft_target_on_it() -> None:
    z_s, z_t = pair()
    by_hand = z_t.clone()
    for row, label in enumerate(LABELS.tolist()):
        top = int(z_t[row].argmax())
        by_hand[row, label], by_hand[row, top] = z_t[row, top], z_t[row, label]
    torch.testing.assert_close(value(ProbabilityShift(3.0), z_s, z_t), value(SoftTarget(3.0), z_s, by_hand))
