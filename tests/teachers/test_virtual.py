"""A teacher that is no model: its numbers, the label smoothing that it amounts to, and where it has nothing to say."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, LabelSmoothing, Objective, SoftTarget
from distilnlp.outputs import Outputs
from distilnlp.problems import IGNORED
from distilnlp.teachers import CacheSettings, VirtualTeacher
from tests.runs import dataset, largest_difference, make_trainer, student_model
from tests.tiny import tiny_model

TEACHER_FREE = Objective([(0.5, HardLabel()), (0.5, SoftTarget(temperature=1.0))])


def accepted(**settings: float) -> VirtualTeacher:
    teacher = VirtualTeacher(**settings)
    teacher.accept(student_model())
    return teacher


def test_its_answer_and_the_loss_are_those_of_the_paper() -> None:
    """Three classes, label 2, a = .99, tau = 20; the student's logits are [3, 2, 1]."""
    labels = torch.tensor([2])
    outputs = accepted(correct=0.99, temperature=20.0)({"labels": labels})
    answer = outputs.get_logits().softmax(-1)
    torch.testing.assert_close(answer, torch.tensor([[0.327817, 0.327817, 0.344366]]), atol=1e-6, rtol=0.0)
    student = Outputs(logits=torch.tensor([[3.0, 2.0, 1.0]]))
    loss = SoftTarget(temperature=1.0)(student, outputs, {"labels": labels})
    assert loss.item() == pytest.approx(0.325815, abs=1e-6)
    assert loss.item() / 3 == pytest.approx(0.108605, abs=1e-6)  # what their code gives, a mean over classes too


@pytest.mark.parametrize(("correct", "temperature"), [(0.99, 20.0), (0.9, 1.0), (1.0, 0.1)])
def test_its_gradient_is_that_of_label_smoothing(correct: float, temperature: float) -> None:
    labels = torch.tensor([2, 0, 1, 1])
    outputs = accepted(correct=correct, temperature=temperature)({"labels": labels})
    wrong = outputs.get_logits().softmax(-1)[0, 0].item()
    if temperature == 20.0:
        assert 3 * wrong == pytest.approx(0.98345, abs=1e-5)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = []
    for loss in (SoftTarget(temperature=1.0), LabelSmoothing(epsilon=3 * wrong)):
        leaf = logits.clone().requires_grad_(True)
        loss(Outputs(logits=leaf), outputs, {"labels": labels}).backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found)


def test_it_trains_the_student_that_label_smoothing_trains(tmp_path: Path) -> None:
    wrong = accepted()({"labels": torch.tensor([2])}).get_logits().softmax(-1)[0, 0].item()
    students = []
    for settings in (
        {"teacher": VirtualTeacher(), "objective": TEACHER_FREE},
        {"teacher": None, "objective": Objective([(0.5, HardLabel()), (0.5, LabelSmoothing(epsilon=3 * wrong))])},
    ):
        trainer = make_trainer(tmp_path, **settings)
        trainer.train()
        students.append(trainer.student)
    assert largest_difference(*students) < 1e-6


def test_a_token_that_answers_for_nothing_gets_no_answer() -> None:
    logits = accepted()({"labels": torch.tensor([[1, IGNORED], [IGNORED, 0]])}).get_logits()
    assert logits.shape == (2, 2, 3)
    assert not logits[0, 1].any() and not logits[1, 0].any() and logits[0, 0].argmax() == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"correct": 0.0}, "above 0 and at most 1; got 0.0"),
        ({"correct": 1.5}, "above 0 and at most 1; got 1.5"),
        ({"temperature": 0.0}, "temperature must be above 0 and finite; got 0.0"),
        ({"temperature": float("inf")}, "temperature must be above 0 and finite"),
        ({"correct": "most"}, "correct is 'most'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        VirtualTeacher(**settings)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"teacher": VirtualTeacher(correct=0.3)},
            "of 3 classes the label has to be the likeliest: give more than 0.333",
        ),
        (
            {"objective": Objective([(1.0, SoftTarget()), (1.0, HiddenState())])},
            "hidden_state reads more than logits, and the virtual teacher gives nothing else",
        ),
        (
            {"train_dataset": dataset().remove_columns("label"), "objective": Objective([(1.0, SoftTarget())])},
            "a virtual teacher knows nothing but labels, and the training data have none",
        ),
        (
            {"model": tiny_model("bert", num_labels=1, problem_type="regression"), "objective": None},
            "regression has no classes that exclude one another",
        ),
        (
            {"model": tiny_model("bert", num_labels=3, problem_type="multi_label_classification"), "objective": None},
            "multi_label_classification has no classes that exclude one another",
        ),
    ],
)
def test_what_it_cannot_teach_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        make_trainer(tmp_path, **{"teacher": VirtualTeacher(), "objective": TEACHER_FREE, **changes})


def test_rows_without_a_label_are_refused(tmp_path: Path) -> None:
    rows = dataset()
    labels = [IGNORED if place < 4 else label for place, label in enumerate(rows["label"])]
    names = rows.features["label"].names
    some = rows.remove_columns("label").add_column("label", labels).cast_column("label", ClassLabel(names=names))
    with pytest.raises(RequestError, match="and 4 of 44 training rows have none"):
        make_trainer(tmp_path, teacher=VirtualTeacher(), objective=TEACHER_FREE, train_dataset=some)


def test_its_answers_follow_from_the_labels_and_are_not_kept(tmp_path: Path) -> None:
    cache = CacheSettings(use="always")
    with pytest.raises(RequestError, match=r"cache\.use=always needs a teacher that never changes"):
        make_trainer(tmp_path, teacher=VirtualTeacher(), objective=TEACHER_FREE, cache=cache).train()
