"""Texts are moved within a ball, to where the student is worst, and it learns to answer there as the teacher does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective, SoftTarget, get_loss
from distilnlp.outputs import Outputs
from distilnlp.part import Pass, Training
from distilnlp.parts import PerturbedEmbeddings
from tests.masked import masked_model
from tests.runs import largest_difference, make_trainer, snapshot, student_model, teacher_model
from tests.tiny import tiny_tokenizer

TEXTS = ["a good film", "the book was very dull and we saw it", "red"]


def attached(student: Any, **settings: Any) -> PerturbedEmbeddings:
    part = PerturbedEmbeddings(**settings)
    part.accept(student)
    part.attach(Training(student, student, torch.device("cpu"), 0))
    return part


def a_pass(student: Any, teacher: Any) -> Pass:
    batch = dict(tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt"))
    with torch.no_grad():
        answers = Outputs(logits=teacher(**batch).logits)
    return Pass(student, Outputs(logits=student(**batch).logits), answers, batch, 0.0)


def kl(step: Pass, logits: Tensor) -> Tensor:
    return get_loss("soft_target")(Outputs(logits=logits), step.teacher, step.batch)


def test_at_epsilon_zero_it_is_plain_distillation_to_the_bit(tmp_path: Path) -> None:
    students, teacher = [student_model(), student_model()], teacher_model()
    before = snapshot(teacher)
    plain = Objective([(0.5, HardLabel()), (0.5, SoftTarget())])
    make_trainer(tmp_path / "plain", model=students[0], teacher=teacher, objective=plain).train()
    part = PerturbedEmbeddings(weight=0.5, epsilon=0.0)
    labels = Objective([(0.5, HardLabel())])
    make_trainer(tmp_path / "part", model=students[1], teacher=teacher, objective=labels, parts=[part]).train()
    assert largest_difference(*students) == 0.0
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@pytest.mark.parametrize(("epsilon", "steps", "size"), [(0.3, 1, None), (2.0, 4, None), (0.5, 3, 9.0)])
def test_no_text_is_moved_further_than_epsilon_and_its_padding_not_at_all(epsilon, steps, size) -> None:
    student = student_model(dropout=False)
    step = a_pass(student, teacher_model())
    delta = attached(student, epsilon=epsilon, steps=steps, step_size=size).perturbation(step)

    norms = torch.linalg.vector_norm(delta, dim=(1, 2))
    assert (norms <= epsilon * (1 + 1e-5)).all() and (norms > 0).all()
    assert not delta[step.batch["attention_mask"] == 0].any()
    assert all(weight.grad is None for weight in student.parameters())


def test_the_ascent_raises_the_loss_of_each_text_and_more_of_it_more() -> None:
    student = student_model(dropout=False)
    step = a_pass(student, teacher_model())
    still = kl(step, step.student.get_logits())
    values = []
    for epsilon in (0.1, 1.0):
        part = attached(student, epsilon=epsilon, steps=3)
        values.append(part.term(step))
    assert still < values[0] < values[1]


def test_a_text_moves_as_it_would_alone() -> None:
    student = student_model(dropout=False)
    step = a_pass(student, teacher_model())
    part = attached(student, epsilon=1.0, steps=2)
    one = Pass(
        student,
        Outputs(logits=step.student.get_logits()[1:2]),
        Outputs(logits=step.teacher.get_logits()[1:2]),
        {name: tensor[1:2] for name, tensor in step.batch.items()},
        0.0,
    )
    torch.testing.assert_close(part.perturbation(step)[1:2], part.perturbation(one))


def test_the_student_learns_and_stays_plain(tmp_path: Path) -> None:
    student = student_model()
    before = snapshot(student)
    part = PerturbedEmbeddings(epsilon=0.5, steps=2)
    make_trainer(tmp_path, model=student, objective=Objective([(0.5, HardLabel())]), parts=[part]).train()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
    assert not student.get_input_embeddings()._forward_hooks
    assert not list(tmp_path.glob("**/*perturbed*"))


def test_a_training_that_goes_on_ends_with_the_same_weights(tmp_path: Path) -> None:
    def trainer(folder: str, student: Any) -> Any:
        args = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
        labels = Objective([(0.5, HardLabel())])
        part = PerturbedEmbeddings(steps=2)
        return make_trainer(tmp_path / folder, model=student, objective=labels, parts=[part], args=args)

    students = [student_model(), student_model()]
    trainer("whole", students[0]).train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-2").rename(tmp_path / "half" / "checkpoint-2")
    trainer("half", students[1]).train(resume_from_checkpoint=True)
    assert largest_difference(*students) == 0.0


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "albert", "deberta-v2", "modernbert"])
def test_every_backbone_is_moved(kind: str) -> None:
    student = student_model(kind, dropout=False)
    step = a_pass(student, teacher_model())
    assert attached(student, epsilon=1.0).term(step) > kl(step, step.student.get_logits())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": -0.1}, "epsilon must be 0 or more"),
        ({"epsilon": float("nan")}, "epsilon must be 0 or more"),
        ({"weight": 0.0}, "weight must be above 0"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"step_size": 0.0}, "step_size must be above 0"),
        ({"temperature": -1.0}, "temperature"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        PerturbedEmbeddings(**settings)


def test_hidden_words_are_no_answers_to_a_text() -> None:
    with pytest.raises(RequestError, match="masked_lm: leave it out"):
        PerturbedEmbeddings().accept(masked_model())
