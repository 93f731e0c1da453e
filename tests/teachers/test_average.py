"""A teacher that is an average of the student: the formula, what it must not touch, and how it is kept."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, TrainerCallback

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, Objective, SoftTarget
from distilnlp.outputs import Needs
from distilnlp.part import Training
from distilnlp.teachers import AverageTeacher, EMATeacher
from tests.runs import dataset, largest_difference, make_trainer, snapshot, student_model
from tests.tiny import BACKBONES

ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-3}


def consistency() -> Objective:
    return Objective([(1.0, HardLabel()), (1.0, SoftTarget()), (1.0, HiddenState())])


def begun(student: PreTrainedModel, teacher: AverageTeacher | float, needs: Needs | None = None) -> AverageTeacher:
    """A teacher, or one of a decay, whose student's training has begun."""
    teacher = EMATeacher(teacher) if isinstance(teacher, float) else teacher
    teacher.accept(student)
    teacher.prepare(torch.device("cpu"), needs or Needs(logits=True))
    teacher.attach(Training(student, student, torch.device("cpu"), 0))
    return teacher


class KeepStudents(TrainerCallback):
    """The student's tensors before the first step and after each."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Tensor]] = []
        self.micro_batches = 0

    def note(self, model: nn.Module) -> None:
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.kept.append({name: tensor.detach().clone() for name, tensor in tensors.items()})

    def on_train_begin(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
        self.note(model)

    def on_step_end(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
        self.note(model)

    def on_substep_end(self, *args: Any, **kwargs: Any) -> None:
        self.micro_batches += 1


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9])
def test_the_average_is_that_of_the_formula(tmp_path: Path, decay: float, accumulation: int) -> None:
    """One update for each optimizer step, in float64 from the student's weights alone."""
    teacher, keep = EMATeacher(decay), KeepStudents()
    args = {**ADAMW, "gradient_accumulation_steps": accumulation, "per_device_train_batch_size": 8 // accumulation}
    make_trainer(tmp_path, teacher=teacher, objective=consistency(), args=args, callbacks=[keep]).train()
    assert len(keep.kept) == 7 and (keep.micro_batches > 0) == (accumulation > 1)
    for name, average in teacher.state().items():
        expected = keep.kept[0][name].double()
        for student in keep.kept[1:]:
            expected = decay * expected + (1 - decay) * student[name].double()
        torch.testing.assert_close(average.double(), expected, atol=1e-7, rtol=1e-6)
    assert decay == 0.0 or any(
        not torch.equal(tensor, keep.kept[-1][name]) for name, tensor in teacher.state().items()
    )


def walk(student: PreTrainedModel, teacher: AverageTeacher, steps: int) -> list[Tensor]:
    """Set the student's first weights to 1, 4, 9, ... step by step; those of the average after each."""
    found = []
    for step in range(1, steps + 1):
        with torch.no_grad():
            student.classifier.bias.fill_(float(step**2))
        teacher.on_step(step / steps)
        found.append(teacher.model.classifier.bias.detach().clone())
    return found


def at(value: float) -> Tensor:
    return torch.full((3,), value)


def quiet() -> PreTrainedModel:
    student = student_model(dropout=False)
    nn.init.zeros_(student.classifier.bias)
    return student


def test_a_decay_that_warms_up_forgets_the_first_weights_soon() -> None:
    """min(d, (1 + t) / (10 + t)): 0.1 and 2/11, and then d."""
    student = quiet()
    found = walk(student, begun(student, EMATeacher(0.15, decay_warmup=True)), 3)
    expected = at(0.0)
    for step, decay in ((1, 0.1), (2, 0.15), (3, 0.15)):
        expected = decay * expected + (1 - decay) * at(step**2)
        torch.testing.assert_close(found[step - 1], expected)


def test_the_mean_of_the_last_steps_is_of_those_before_this_one() -> None:
    """SDA: after step t the mean of the students after t - 1, t - 2, ...; of fewer at first, the start being one."""
    student = quiet()
    found = walk(student, begun(student, AverageTeacher(last=3)), 5)
    before = [0.0, 1.0, 4.0, 9.0, 16.0]
    for step, average in enumerate(found, start=1):
        some = before[max(0, step - 3) : step]
        torch.testing.assert_close(average, at(sum(some) / len(some)))


def test_the_mean_of_every_second_step_begins_late_and_teaches_from_then_on() -> None:
    """10 steps: the second half has the steps 5 to 10, of which 6, 8 and 10 count."""
    student = quiet()
    teacher = begun(student, AverageTeacher(every=2, start=0.5))
    batch = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    found, answers = [], []
    for step in range(1, 11):
        with torch.no_grad():
            student.classifier.bias.fill_(float(step**2))
        teacher.on_step(step / 10)
        found.append(teacher.model.classifier.bias.detach().clone())
        answers.append(teacher(batch) != ())
    assert answers == [False] * 5 + [True] * 5
    torch.testing.assert_close(found[9], at((36 + 64 + 100) / 3))
    torch.testing.assert_close(found[8], at((36 + 64) / 2))


def test_until_the_mean_begins_its_terms_count_as_0(tmp_path: Path) -> None:
    args = {**ADAMW, "logging_steps": 1}
    trainer = make_trainer(tmp_path, teacher=AverageTeacher(every=1, start=0.5), objective=consistency(), args=args)
    trainer.train()
    taught = [log["raw/hidden_state"] > 0 for log in trainer.state.log_history if "raw/hidden_state" in log]
    assert taught == [False] * 3 + [True] * 3
    alone = Objective([(1.0, SoftTarget())])
    with pytest.raises(RequestError, match="nothing would be trained: add hard_label"):
        make_trainer(tmp_path, teacher=AverageTeacher(every=1), objective=alone)


def test_a_mean_that_begins_when_all_is_over_is_refused(tmp_path: Path) -> None:
    """6 steps, of which the third is the first that counts."""
    settings = {"objective": consistency(), "args": ADAMW}
    with pytest.raises(RequestError, match="first answer comes after 6 steps, and the training has 6"):
        make_trainer(tmp_path, teacher=AverageTeacher(every=4, start=0.5), **settings).train()
    teacher = AverageTeacher(every=3, start=0.5)
    make_trainer(tmp_path, teacher=teacher, **settings).train()
    assert teacher.notes["taken"] == 1


@pytest.mark.parametrize("better", ["average", "student"])
def test_the_student_ends_with_the_average_where_that_is_better(tmp_path: Path, better: str) -> None:
    """All texts are of class 1, and the first step takes the student far away from it, or towards it."""
    data = dataset().filter(lambda row: row["label"] == 1)
    teacher, student = AverageTeacher(decay=0.99, saved="best"), student_model()

    class Jump(TrainerCallback):
        def on_step_begin(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
            with torch.no_grad():
                model.classifier.bias[1] += -100 if better == "average" else 100

    with torch.no_grad():
        student.classifier.bias[1] += 10 if better == "average" else -10
    args = {"learning_rate": 0.0, "max_steps": 1, "metric_for_best_model": "accuracy"}
    settings = {"objective": consistency(), "train_dataset": data, "eval_dataset": data}
    trainer = make_trainer(tmp_path, model=student, teacher=teacher, args=args, callbacks=[Jump()], **settings)
    trainer.train()
    assert next(iter(trainer.candidate_scores)) == better
    assert (largest_difference(student, teacher.model) == 0.0) == (better == "average")
    with pytest.raises(RequestError, match="give an evaluation set"):
        make_trainer(tmp_path, teacher=AverageTeacher(saved="best"), objective=consistency()).train()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"last": 0}, "last is 0"),
        ({"every": 0}, "every is 0"),
        ({"last": 2, "decay": 0.9}, "settings of one of the three"),
        ({"every": 2, "decay_warmup": True}, "settings of one of the three"),
        ({"every": 2, "last": 2}, "settings of one of the three"),
        ({"every": 2, "start": 1.0}, r"start is 1\.0"),
        ({"start": 0.5}, "give it with every"),
    ],
)
def test_settings_that_mean_nothing_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        AverageTeacher(**settings)


def test_an_average_without_decay_is_the_student_and_teaches_nothing(tmp_path: Path) -> None:
    args = {**ADAMW, "max_steps": 3}
    student = student_model(dropout=False)
    trainer = make_trainer(tmp_path, model=student, teacher=EMATeacher(0.0), objective=consistency(), args=args)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "raw/soft_target" in log]
    assert all(log["raw/soft_target"] == pytest.approx(0, abs=1e-6) for log in logs)
    assert all(log["raw/hidden_state"] == pytest.approx(0, abs=1e-9) for log in logs)


def test_buffers_follow_the_student_and_counts_are_copied() -> None:
    student = student_model()
    student.register_buffer("mean", torch.zeros(3))
    student.register_buffer("seen", torch.tensor(5))
    teacher = begun(student, 0.9)
    student.mean += 1
    student.seen += 2
    teacher.on_step(0.5)
    torch.testing.assert_close(teacher.model.mean, torch.full((3,), 0.1))
    assert int(teacher.model.seen) == 7
    assert torch.equal(teacher.model.bert.embeddings.position_ids, student.bert.embeddings.position_ids)


def test_what_is_frozen_in_the_student_stays_as_it_is_to_the_bit() -> None:
    student = student_model()
    teacher = begun(student, 0.999)
    for _ in range(100):
        teacher.on_step(0.5)
    assert largest_difference(student, teacher.model) == 0.0


def test_a_student_in_half_precision_is_averaged_in_float32() -> None:
    """In bfloat16 a thousandth of a step is rounded away, and the average would never move."""
    student = student_model().bfloat16()
    teacher = begun(student, 0.999)
    before = snapshot(teacher.model)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 0.01
    teacher.on_step(0.5)
    assert teacher.model.dtype == torch.float32
    assert all(not torch.equal(each, before[name]) for name, each in teacher.model.named_parameters())


def test_it_answers_in_evaluation_mode_without_gradients_and_beside_the_student(tmp_path: Path) -> None:
    """Two answers to one batch are equal although the student drops half of its units; the student is not touched."""
    student = student_model(hidden_dropout_prob=0.5).train()
    teacher = begun(student, 0.9, Needs(logits=True, hidden_states=frozenset({1})))
    teacher.model.train()
    batch = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    first, second = teacher(batch), teacher(batch)
    assert torch.equal(first.get_logits(), second.get_logits())
    assert not first.get_logits().requires_grad and not first.get_hidden_state(1).requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert student.training and all(parameter.requires_grad for parameter in student.parameters())
    assert not {id(each) for each in student.parameters()} & {id(each) for each in teacher.model.parameters()}


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_backbone_is_taught_by_its_average(tmp_path: Path, kind: str) -> None:
    teacher, student = EMATeacher(decay=0.5), student_model(kind)
    start = snapshot(student)
    args = {"max_steps": 3, "learning_rate": 0.1}
    trainer = make_trainer(tmp_path, model=student, teacher=teacher, objective=consistency(), args=args)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "raw/soft_target" in entry]
    assert logs[-1]["raw/soft_target"] > 0
    assert any(not torch.equal(start[name], each) for name, each in teacher.model.named_parameters())
    assert largest_difference(student, teacher.model) > 0


def test_what_is_saved_is_the_student_and_the_average_is_its_checkpoints(tmp_path: Path) -> None:
    student, teacher = student_model(), EMATeacher(decay=0.5)
    plain = set(student.state_dict())
    args = {**ADAMW, "save_strategy": "steps", "save_steps": 3}
    trainer = make_trainer(tmp_path, model=student, teacher=teacher, objective=consistency(), args=args)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    for folder in ("saved", "checkpoint-3", "checkpoint-6"):
        assert set(load_file(tmp_path / folder / "model.safetensors")) == plain
    assert not (tmp_path / "saved" / "distilnlp_ema_teacher.safetensors").exists()
    kept = load_file(tmp_path / "checkpoint-6" / "distilnlp_ema_teacher.safetensors")
    assert kept.keys() == teacher.state().keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in teacher.state().items())
    teacher.model.save_pretrained(tmp_path / "average")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "average")
    assert largest_difference(loaded, teacher.model) == 0.0
    assert not student._forward_hooks and not teacher.model._forward_hooks and not student._state_dict_hooks


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """Student and average, bit for bit, with dropout and AdamW."""
    args = {**ADAMW, "save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2}
    students, teachers = [student_model(), student_model()], [EMATeacher(0.9), EMATeacher(0.9)]
    same: dict[str, Any] = {"args": args, "objective": consistency()}
    make_trainer(tmp_path / "whole", model=students[0], teacher=teachers[0], **same).train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    half = make_trainer(tmp_path / "half", model=students[1], teacher=teachers[1], **same)
    half.train(resume_from_checkpoint=True)
    assert largest_difference(*students) == 0.0
    assert largest_difference(teachers[0].model, teachers[1].model) == 0.0


def test_a_checkpoint_without_the_average_or_with_that_of_another_student_is_refused(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 3}
    same: dict[str, Any] = {"args": args, "objective": consistency()}
    make_trainer(tmp_path, teacher=EMATeacher(), **same).train()
    path = tmp_path / "checkpoint-6" / "distilnlp_ema_teacher.safetensors"
    (tmp_path / "checkpoint-3" / path.name).rename(path.with_suffix(".kept"))
    path.unlink()
    with pytest.raises(RequestError, match=r"checkpoint-6 lacks distilnlp_ema_teacher\.safetensors"):
        make_trainer(tmp_path, teacher=EMATeacher(), **same).train(resume_from_checkpoint=True)
    from safetensors.torch import save_file

    save_file({"bert.pooler.dense.bias": torch.zeros(3)}, str(path))
    with pytest.raises(RequestError, match=r"checkpoint-6 has a damaged distilnlp_ema_teacher\.safetensors"):
        make_trainer(tmp_path, teacher=EMATeacher(), **same).train(resume_from_checkpoint=True)


def test_a_peft_student_is_averaged_with_its_adapters(tmp_path: Path) -> None:
    """The frozen weights stay those of the base; the average answers as the student would with averaged adapters."""
    from peft import LoraConfig, get_peft_model

    teacher, keep = EMATeacher(decay=0.5), KeepStudents()
    student = get_peft_model(student_model(), LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=4))
    make_trainer(
        tmp_path,
        model=student,
        teacher=teacher,
        objective=consistency(),
        args={**ADAMW, "max_steps": 2, "save_strategy": "steps", "save_steps": 1},
        callbacks=[keep],
    ).train()
    moved = 0
    for name, average in teacher.state().items():
        first, second, third = (kept[f"base_model.model.{name}"] for kept in keep.kept)
        if average.is_floating_point():
            torch.testing.assert_close(average, 0.25 * first + 0.25 * second + 0.5 * third)
        moved += not torch.equal(first, third)
        assert "lora_" in name or "modules_to_save" in name or torch.equal(average, third)
    assert moved > 0
    assert "adapter_model.safetensors" in {path.name for path in (tmp_path / "checkpoint-2").iterdir()}


def test_its_labels_and_its_tokens_are_those_of_the_student(tmp_path: Path) -> None:
    """It has nothing to show before the training, also where nobody names the labels."""
    from tests.tiny import toy_dataset

    unnamed = student_model(label_names=None)
    trainer = make_trainer(
        tmp_path, model=unnamed, teacher=EMATeacher(), objective=consistency(), train_dataset=dataset()
    )
    assert trainer.train().global_step == 6
    without = toy_dataset(16, 0).remove_columns("label")
    alone = Objective([(1.0, SoftTarget())])
    make_trainer(tmp_path, model=student_model(), teacher=EMATeacher(), objective=alone, train_dataset=without).train()


def test_each_training_starts_with_a_copy_of_its_student(tmp_path: Path) -> None:
    teacher = EMATeacher(decay=0.9)
    trainer = make_trainer(tmp_path, teacher=teacher, objective=consistency(), args={"learning_rate": 0.1})
    trainer.train()
    assert largest_difference(teacher.model, trainer.student) > 0
    first, begin = teacher.model, copy.deepcopy(trainer.student)
    trainer.args.learning_rate = 0.0
    trainer.optimizer = None
    trainer.train()
    assert teacher.model is not first
    assert largest_difference(teacher.model, begin) == 0.0


@pytest.mark.slow
def test_each_trial_of_a_search_has_an_average_of_its_own_student(tmp_path: Path) -> None:
    teacher = EMATeacher(decay=0.5)
    averages: list[PreTrainedModel] = []

    class Keep(TrainerCallback):
        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            averages.append(teacher.model)

    trainer = make_trainer(
        tmp_path,
        model=None,
        model_init=lambda trial=None: student_model(),
        teacher=teacher,
        objective=consistency(),
        eval_dataset=dataset(20, 1),
        args={"eval_strategy": "epoch"},
        callbacks=[Keep()],
    )
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-2, 1e-1, log=True)},
        n_trials=2,
        direction="maximize",
        backend="optuna",
    )
    assert len(averages) == 2 and largest_difference(*averages) > 0


@pytest.mark.parametrize(
    "args",
    [
        {"bf16": True},
        {"gradient_checkpointing": True},
        pytest.param({"torch_compile": True, "torch_compile_backend": "aot_eager"}, marks=pytest.mark.slow),
    ],
    ids=["bf16", "gradient checkpointing", "compiled"],
)
def test_it_teaches_in_every_way_of_training(tmp_path: Path, args: dict[str, Any]) -> None:
    """The average moves as the weights of the student do, which stay in float32."""
    teacher, keep = EMATeacher(decay=0.5), KeepStudents()
    more = {**args, "max_steps": 2, "learning_rate": 0.1}
    make_trainer(tmp_path, teacher=teacher, objective=consistency(), args=more, callbacks=[keep]).train()
    first, second, third = keep.kept
    for name, average in teacher.model.named_parameters():
        torch.testing.assert_close(average.detach(), 0.25 * first[name] + 0.25 * second[name] + 0.5 * third[name])
    assert any(not torch.equal(first[name], third[name]) for name in first)


@pytest.mark.parametrize("decay", [1.0, -0.1, 1.5, math.nan, math.inf])
def test_a_decay_that_would_not_average_is_refused(decay: float) -> None:
    with pytest.raises(RequestError, match=r"lies in \[0, 1\)"):
        EMATeacher(decay)
    with pytest.raises(RequestError, match="decay is True, of type bool: give float"):
        EMATeacher(True)


def test_it_answers_only_while_its_student_trains(tmp_path: Path) -> None:
    teacher = EMATeacher()
    with pytest.raises(RuntimeError, match="while its student trains"):
        teacher({})
    with pytest.raises(RuntimeError, match="before a training"):
        _ = teacher.model
    make_trainer(tmp_path, teacher=teacher, objective=consistency(), args={"max_steps": 1}).train()
    with pytest.raises(RuntimeError, match="while its student trains"):
        teacher({})
