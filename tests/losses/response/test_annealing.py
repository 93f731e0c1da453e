"""Targets that move: golden numbers, and where they begin and end."""

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import (
    AnnealingKD,
    HardLabel,
    LogitMSE,
    Loss,
    Objective,
    Schedule,
    SoftCrossEntropy,
    TeacherAnnealing,
)
from distilnlp.losses.response.annealing import annealed_target
from distilnlp.outputs import Outputs
from tests.losses.cases import Z_S, Z_T


def test_the_annealed_target_is_the_golden_one() -> None:
    target = annealed_target(Z_T.softmax(-1), torch.tensor([2]), 0.25)
    assert target[0].tolist() == pytest.approx([0.067523, 0.183546, 0.748931], abs=1e-6)


LABELS = torch.tensor([0, 2, 1, 1, 3])


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z_s, z_t = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in "st")
    return z_s, z_t


def value(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor = LABELS) -> Tensor:
    return loss(Outputs(logits=student), Outputs(logits=teacher), {"labels": labels})


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_teacher_annealing_is_the_cross_entropy_with_that_target(share: float) -> None:
    z_s, z_t = pair()
    q, p = z_s.softmax(-1), z_t.softmax(-1)
    rows = []
    for i, label in enumerate(LABELS.tolist()):
        target = [(1 - share) * float(p[i, c]) + share * (c == label) for c in range(4)]
        rows.append(-sum(t * float(q[i, c].log()) for c, t in enumerate(target)))
    assert float(value(TeacherAnnealing(share), z_s, z_t)) == pytest.approx(sum(rows) / 5)


def test_teacher_annealing_goes_from_the_teacher_to_the_labels() -> None:
    z_s, z_t = pair()
    objective = Objective([(1.0, TeacherAnnealing(), {"label_share": Schedule("linear", 0.0, 1.0)})])
    outputs = (Outputs(logits=z_s), Outputs(logits=z_t), {"labels": LABELS})
    torch.testing.assert_close(objective(*outputs, progress=0.0)[0], value(SoftCrossEntropy(), z_s, z_t))
    torch.testing.assert_close(objective(*outputs, progress=1.0)[0], value(HardLabel(), z_s, z_t))


@pytest.mark.parametrize("bad", [-0.1, 1.1, True, "0.5", float("nan")])
def test_a_label_share_that_is_no_share_is_refused(bad: float) -> None:
    with pytest.raises(RequestError, match="label_share"):
        TeacherAnnealing(bad)


@pytest.mark.parametrize(("factor", "golden"), [(0.1, 4.046667), (0.5, 2.5), (1.0, 2.666667)])
def test_annealing_kd_gives_the_golden_numbers(factor: float, golden: float) -> None:
    assert float(value(AnnealingKD(factor), Z_S, Z_T)) == pytest.approx(golden, abs=1e-6)


def test_annealing_kd_ends_as_logit_mse() -> None:
    z_s, z_t = pair()
    torch.testing.assert_close(value(AnnealingKD(), z_s, z_t), value(LogitMSE(), z_s, z_t))
    with pytest.raises(RequestError, match="factor must be positive"):
        AnnealingKD(0.0)
