"""Layers of the teacher in the student's place: the two ends of the rate, what is drawn, and what stays as it was."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective
from distilnlp.part import Training
from distilnlp.parts import Theseus
from distilnlp.parts.theseus import layer_groups
from distilnlp.students import build_student
from distilnlp.teachers import EMATeacher, load_teacher
from tests.runs import largest_difference, make_trainer, snapshot, teacher_model, without_dropout
from tests.tiny import tiny_model, tiny_tokenizer

LABELS = Objective([(1.0, HardLabel())])
ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-3, "weight_decay": 0.1}
EMBEDDING = "bert.embeddings.word_embeddings.weight"


def trainer(folder: Path, part: Theseus | None, teacher: Any = None, args: Mapping[str, Any] = {}, **more: Any) -> Any:
    teacher = teacher or load_teacher(teacher_model(), tiny_tokenizer())
    student = build_student(teacher, layers=2)
    parts = {"teacher": None} if part is None else {"teacher": teacher, "parts": [part]}
    return make_trainer(folder, **{"model": student, "objective": LABELS, **parts, "args": {**ADAMW, **args}, **more})


def test_groups_end_where_the_students_layers_came_from_and_leave_no_layer_out() -> None:
    assert layer_groups((3, 6), 2, 6) == [range(1, 4), range(4, 7)]
    assert layer_groups((1, 3, 5), 3, 6) == [range(1, 2), range(2, 4), range(4, 7)]
    assert layer_groups(None, 2, 4) == [range(1, 3), range(3, 5)]
    with pytest.raises(RequestError, match="give it 4 or fewer"):
        layer_groups(None, 5, 4)


def test_the_rate_rises_to_1_or_stays_until_then() -> None:
    linear = Theseus(rate=0.2, until=0.5)
    assert [linear.rate_at(share) for share in (0, 0.25, 0.5, 0.9)] == pytest.approx([0.2, 0.6, 1, 1])
    constant = Theseus(rate=0.2, schedule="constant", until=0.5)
    assert [constant.rate_at(share) for share in (0, 0.49, 0.5)] == [0.2, 0.2, 1]


@pytest.mark.parametrize("settings", [{"rate": 1.0}, {"rate": 0.5, "until": 0.0}])
def test_at_a_rate_of_1_the_student_is_fine_tuned_as_ever(tmp_path: Path, settings: dict[str, float]) -> None:
    students = []
    for part in (None, Theseus(**settings)):
        made = trainer(tmp_path, part)
        made.train()
        students.append(made.student)
    assert largest_difference(*students) == 0


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "deberta-v2"])
def test_at_a_rate_of_0_the_answer_is_the_teachers(kind: str) -> None:
    teacher = load_teacher(without_dropout(teacher_model(kind)), tiny_tokenizer())
    student = without_dropout(build_student(teacher, layers=2)).train()
    part = Theseus(rate=0.0)
    part.attach(Training(student, student, torch.device("cpu"), 0, teacher))
    part.on_pass(0.0)
    batch = dict(tiny_tokenizer()(["the good film", "a dull book we saw"], padding=True, return_tensors="pt"))
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    logits = student(**batch).logits
    assert torch.equal(logits, teacher.model(**batch).logits)
    logits.sum().backward()  # nothing is learned from it, and nothing breaks
    assert not any(each.grad is not None and each.grad.any() for each in student.parameters())
    part.finish()
    assert not torch.equal(student(**batch).logits, logits)


def test_the_teacher_stays_as_it_was_and_only_successors_learn_before_the_end(tmp_path: Path) -> None:
    seen: list[tuple[float, bool, bool]] = []

    class Look(TrainerCallback):
        before: dict[str, Tensor]

        def on_step_begin(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
            self.before = snapshot(model)

        def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
            moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, self.before[name])}
            inner = any(".layer." in name for name in moved)
            seen.append(((state.global_step - 1) / state.max_steps, inner, EMBEDDING in moved))

    teacher = load_teacher(teacher_model(), tiny_tokenizer())
    before = snapshot(teacher.model)
    made = trainer(tmp_path, Theseus(rate=0.9, until=0.5), teacher, args={"num_train_epochs": 2}, callbacks=[Look()])
    made.train()
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.model.state_dict().items())
    assert [embedded for _, _, embedded in seen] == [progress >= 0.5 for progress, _, _ in seen]
    assert all(inner for _, inner, _ in seen)
    layers = made.student.bert.encoder.layer
    assert not any(layer._forward_hooks for layer in layers)
    assert all(each.requires_grad for each in made.student.parameters())


def test_an_evaluation_is_of_the_student_alone(tmp_path: Path) -> None:
    teacher = load_teacher(teacher_model(), tiny_tokenizer())
    student = build_student(teacher, layers=2)
    part = Theseus(rate=0.0)
    part.attach(Training(student, student, torch.device("cpu"), 0, teacher))
    part.on_pass(0.0)
    batch = tiny_tokenizer()(["the good film"], return_tensors="pt")
    with_part = student.eval()(**batch).logits
    part.finish()
    assert torch.equal(with_part, student(**batch).logits)


def test_a_resumed_training_draws_on(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2}
    whole = trainer(tmp_path / "whole", Theseus(until=0.9), args=args)
    whole.train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    half = trainer(tmp_path / "half", Theseus(until=0.9), args=args)
    half.train(resume_from_checkpoint=True)
    assert largest_difference(whole.student, half.student) == 0


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"rate": 1.5}, "rate"),
        ({"until": -0.1}, "until"),
        ({"schedule": "cosine"}, "schedule"),
        ({"rate": 0.0, "schedule": "constant"}, "rate"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(RequestError) as caught:
        Theseus(**settings)
    assert [*caught.value.key] == [key]


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (
            lambda: load_teacher(tiny_model("bert", layers=4, hidden=64, label_names=("bad", "good", "mixed"))),
            "64 wide",
        ),
        (lambda: load_teacher(teacher_model("electra")), "electra"),
        (lambda: EMATeacher(), "one frozen model; got a EMATeacher"),
        (lambda: None, "got none"),
    ],
)
def test_a_teacher_whose_layers_cannot_stand_there_is_refused(teacher: Any, message: str) -> None:
    student = tiny_model("bert")
    with pytest.raises(RequestError, match=message):
        Theseus().attach(Training(student, student, torch.device("cpu"), 0, teacher()))


@pytest.mark.parametrize(("kind", "message"), [("albert", "share their weights"), ("modernbert", "several kinds")])
def test_a_student_whose_layers_cannot_be_replaced_is_refused(kind: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Theseus().accept(tiny_model(kind, layers=4))
