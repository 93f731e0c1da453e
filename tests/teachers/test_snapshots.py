"""The student at the end of a cycle of its learning rate teaches the next."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective, SoftTarget
from distilnlp.outputs import Needs, Outputs
from distilnlp.part import Training
from distilnlp.teachers import SnapshotTeacher
from tests.runs import arguments, make_trainer, student_model

OBJECTIVE = Objective([(1.0, HardLabel()), (1.0, SoftTarget(temperature=1.0))])
CYCLES = {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 3}}


class Watch(TrainerCallback):
    """The student's weights after each step, and the teacher's before each."""

    def __init__(self, teacher: SnapshotTeacher) -> None:
        self.teacher = teacher
        self.students: list[Tensor] = []
        self.teachers: list[Tensor] = []
        self.rates: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.teachers.append(self.teacher.model.bert.pooler.dense.weight.detach().clone())
        self.rates.append(kwargs["lr_scheduler"].get_last_lr()[0])

    def on_step_end(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
        self.students.append(model.get_parameter("bert.pooler.dense.weight").detach().clone())


def test_the_last_of_a_cycle_teaches_the_next_and_none_teaches_the_first(tmp_path: Path) -> None:
    """12 steps in three cycles: the rate begins anew at the steps 4 and 8, and so does the teacher."""
    teacher = SnapshotTeacher()
    watch = Watch(teacher)
    args = {**CYCLES, "num_train_epochs": 2, "learning_rate": 0.1, "logging_steps": 1}
    trainer = make_trainer(tmp_path, teacher=teacher, objective=OBJECTIVE, args=args, callbacks=[watch])
    trainer.train()
    assert [step for step, rate in enumerate(watch.rates) if rate == pytest.approx(0.1)] == [0, 4, 8]
    taught = [log["raw/soft_target"] for log in trainer.state.log_history if "raw/soft_target" in log]
    assert taught[:4] == [0.0] * 4 and all(value > 0 for value in taught[4:])
    for step in range(4, 12):
        assert torch.equal(watch.teachers[step], watch.students[3 if step < 8 else 7]), step
    assert torch.equal(teacher.model.bert.pooler.dense.weight, watch.students[7])


def test_its_logits_alone_are_softened(tmp_path: Path) -> None:
    batch = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    found = []
    for temperature in (1.0, 2.0):
        teacher, student = SnapshotTeacher(temperature), student_model()
        teacher.accept(student)
        teacher.prepare(torch.device("cpu"), Needs(logits=True, hidden_states=frozenset({1})))
        made = arguments(tmp_path, **CYCLES)
        teacher.attach(Training(student, student, torch.device("cpu"), 0, teacher, arguments=made))
        teacher.on_step(0.34)
        answer = teacher(batch)
        assert isinstance(answer, Outputs)
        found.append(answer)
    torch.testing.assert_close(found[0].get_logits(), 2 * found[1].get_logits())
    torch.testing.assert_close(found[0].get_hidden_state(1), found[1].get_hidden_state(1))
    with pytest.raises(RequestError, match="temperature must be positive"):
        SnapshotTeacher(0.0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "got lr_scheduler_type=constant with num_cycles=1"),
        ({"lr_scheduler_type": "cosine_with_restarts"}, "num_cycles: 2 or more"),
        ({**CYCLES, "lr_scheduler_kwargs": {"num_cycles": 1}}, "num_cycles: 2 or more"),
        ({**CYCLES, "warmup_steps": 2}, "set warmup_steps to 0"),
        ({**CYCLES, "max_steps": 1}, "first answer comes after 1 steps, and the training has 1"),
    ],
)
def test_a_learning_rate_without_equal_cycles_is_refused(tmp_path: Path, args: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        make_trainer(tmp_path, teacher=SnapshotTeacher(), objective=OBJECTIVE, args=args).train()
