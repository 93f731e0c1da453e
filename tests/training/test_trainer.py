"""The trainer: what it changes, what it must not change, and everything that Trainer promises."""

import inspect
import json
import math
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from distilnlp.data import tokenize
from distilnlp.errors import RequestError, RunError
from distilnlp.losses import (
    AttentionProbabilities,
    HardLabel,
    HiddenState,
    LogitMSE,
    Objective,
    Schedule,
    SoftTarget,
    get_loss,
)
from distilnlp.losses.base import Loss
from distilnlp.outputs import Outputs
from distilnlp.teachers import CacheSettings, FrozenTeacher
from distilnlp.training.objective_hook import ObjectiveHook
from distilnlp.training.trainer import DistillationTrainer
from tests.runs import (
    NAMES,
    all_losses,
    dataset,
    largest_difference,
    make_trainer,
    snapshot,
    student_model,
    teacher_model,
    without_dropout,
)
from tests.tiny import BACKBONES, tiny_tokenizer

NARROW = {"hidden": 16}


def test_the_student_moves_and_the_teacher_does_not(tmp_path: Path) -> None:
    teacher, student = teacher_model(), student_model()
    before, start = snapshot(teacher), snapshot(student)
    make_trainer(tmp_path, model=student, teacher=teacher).train()
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not teacher.training and all(not p.requires_grad and p.grad is None for p in teacher.parameters())
    unmoved = [name for name, tensor in student.named_parameters() if torch.equal(tensor, start[name])]
    assert unmoved == []


def test_the_trap_of_a_shared_teacher_it_is_in_evaluation_mode_at_every_step(tmp_path: Path) -> None:
    """Trap 6: somebody who shares the model calls train() on it, and its dropout teaches noise."""
    teacher = FrozenTeacher(teacher_model(hidden_dropout_prob=0.5), tiny_tokenizer())
    trainer = make_trainer(tmp_path, teacher=teacher)
    trainer._prepare_teacher()
    batch = next(iter(trainer.get_train_dataloader()))
    first = teacher(batch).get_logits()
    teacher.model.train()
    torch.testing.assert_close(teacher(batch).get_logits(), first, atol=0, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(("accumulation", "size"), [(2, 4), (4, 2), (8, 1)])
def test_gradient_accumulation_gives_the_same_update(
    tmp_path: Path, accumulation: int, size: int, narrow: bool
) -> None:
    """Trap 2: stock Trainer multiplies the gradient by the accumulation steps.

    45 rows: the last step has 5, as one batch, as 4 + 1, as 2 + 2 + 1, and a mean of means would weigh the 1 as the 4.
    """
    changes: dict[str, Any] = NARROW if narrow else {}
    models = []
    for steps, batch in ((1, 8), (accumulation, size)):
        models.append(student_model(dropout=False, **changes))
        args = {"gradient_accumulation_steps": steps, "per_device_train_batch_size": batch}
        make_trainer(tmp_path, model=models[-1], train_dataset=dataset(45), args=args).train()
    assert largest_difference(*models) < 1e-6


def test_without_a_teacher_it_is_plain_fine_tuning_in_the_same_class(tmp_path: Path) -> None:
    model = student_model()
    start = snapshot(model)
    trainer = make_trainer(tmp_path, model=model, teacher=None, objective=None)
    trainer.train()
    assert [term.name for term in trainer.distillation_objective] == ["hard_label"]
    assert any(not torch.equal(tensor, start[name]) for name, tensor in model.state_dict().items())


def test_every_term_is_logged_by_name_raw_and_weighted(tmp_path: Path) -> None:
    """Trap 20."""
    trainer = make_trainer(tmp_path, args={"logging_steps": 3})
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in logs] == [3, 6]
    terms = list(trainer.distillation_objective)
    for entry in logs:
        weighted = [entry[f"weighted/{term.name}"] for term in terms]
        assert [entry[f"raw/{term.name}"] * term.weight for term in terms] == pytest.approx(weighted)
        assert entry["loss"] == pytest.approx(sum(weighted), rel=1e-5)


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_backbone_is_student_and_teacher(tmp_path: Path, kind: str) -> None:
    objective = Objective([(1.0, SoftTarget()), (1.0, HiddenState()), (1.0, AttentionProbabilities())])
    student = student_model(kind)
    start = snapshot(student)
    trainer = make_trainer(
        tmp_path, model=student, teacher=teacher_model(kind), objective=objective, args={"max_steps": 2}
    )
    trainer.train()
    moved = {name for name, tensor in student.named_parameters() if not torch.equal(tensor, start[name])}
    assert any("classif" in name for name in moved) and any("0" in name for name in moved)


@pytest.mark.parametrize(("teacher", "student"), [("bert", "distilbert"), ("roberta", "bert"), ("bert", "modernbert")])
def test_backbones_of_two_kinds_work_where_the_tokenizer_agrees(tmp_path: Path, teacher: str, student: str) -> None:
    trainer = make_trainer(
        tmp_path, model=student_model(student), teacher=teacher_model(teacher), args={"max_steps": 2}
    )
    assert trainer.train().global_step == 2


def test_the_columns_of_the_teacher_reach_it_although_the_student_lacks_them(tmp_path: Path) -> None:
    """Trap 7: a DistilBERT student would drop the segments that its BERT teacher needs to read pairs."""
    from tests.tiny import toy_dataset

    teacher = FrozenTeacher(teacher_model(label_names=None), tiny_tokenizer())
    trainer = make_trainer(
        tmp_path,
        model=student_model("distilbert", label_names=None),
        teacher=teacher,
        train_dataset=toy_dataset(16, 0, pair=True).remove_columns("label"),
        objective=Objective([(1.0, SoftTarget())]),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    assert int(batch["token_type_ids"].max()) == 1
    teacher.prepare(torch.device("cpu"), trainer.distillation_objective.needs_teacher())
    flat = {name: tensor for name, tensor in batch.items() if name != "token_type_ids"}
    assert not torch.equal(teacher(batch).get_logits(), teacher(flat).get_logits())
    trainer.train()


def test_labels_are_not_needed_when_no_term_reads_them(tmp_path: Path) -> None:
    """Trap 18."""
    objective = Objective([(1.0, SoftTarget()), (1.0, HiddenState())])
    trainer = make_trainer(tmp_path, train_dataset=dataset().remove_columns("label"), objective=objective)
    assert trainer.train().global_step == 6


def test_labels_that_a_term_needs_and_the_data_lacks_are_an_error_before_step_0(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="label"):
        make_trainer(tmp_path, train_dataset=dataset().remove_columns("label"))


def test_a_projection_is_trained_with_the_student_kept_in_checkpoints_and_never_saved_in_it(tmp_path: Path) -> None:
    """Trap 13."""
    student = student_model(**NARROW)
    plain = set(student.state_dict())
    trainer = make_trainer(tmp_path, model=student, args={"save_strategy": "steps", "save_steps": 3})
    trainer.train()
    checkpoint = tmp_path / "checkpoint-3"
    assert set(load_file(checkpoint / "model.safetensors")) == plain
    early = load_file(checkpoint / "distilnlp_modules.safetensors")
    late = load_file(tmp_path / "checkpoint-6" / "distilnlp_modules.safetensors")
    assert sorted(early) == sorted(late) and any(not torch.equal(early[name], late[name]) for name in early)
    assert set(student.state_dict()) == plain
    assert not student._forward_hooks and not student._forward_pre_hooks


@pytest.mark.parametrize("changes", [{}, NARROW], ids=["same width", "projected"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Trap 19: weights, optimizer, data order, dropout and projections; bit for bit."""
    args = {"optim": "adamw_torch", "save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2}
    whole, half = student_model(**changes), student_model(**changes)
    make_trainer(tmp_path / "whole", model=whole, args=args).train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    make_trainer(tmp_path / "half", model=half, args=args).train(resume_from_checkpoint=True)
    assert largest_difference(whole, half) == 0.0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vid", {}),
        ("crd", {"queue": 16, "dimension": 8}),
        ("info_nce", {"queue": 16, "dimension": 8}),
        ("alp_kd", {}),
        ("cofi", {}),
        ("semckd", {"dimension": 8}),
        ("rail_kd", {"dimension": 8}),
        ("factor_transfer", {}),
        ("rocket_launching", {}),
    ],
)
def test_what_a_loss_learns_along_is_resumed_and_never_in_the_student(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    """Variances, maps, a queue of earlier texts, a count of draws: I10."""
    args = {"optim": "adamw_torch", "save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2}
    objective = Objective([(0.5, HardLabel()), (1.0, get_loss(name, **settings))])
    whole, half = student_model(**NARROW), student_model(**NARROW)
    plain = set(whole.state_dict())
    same: dict[str, Any] = {"args": args, "objective": objective}
    if not objective.uses_teacher:
        same["teacher"] = None
    make_trainer(tmp_path / "whole", model=whole, **same).train()
    assert set(whole.state_dict()) == set(load_file(tmp_path / "whole/checkpoint-4/model.safetensors")) == plain
    early, late = (load_file(tmp_path / f"whole/checkpoint-{n}/distilnlp_modules.safetensors") for n in (4, 8))
    assert early.keys() == late.keys()
    assert all(not torch.equal(early[key], late[key]) for key in early if "log_constant" not in key)
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    make_trainer(tmp_path / "half", model=half, **same).train(resume_from_checkpoint=True)
    assert largest_difference(whole, half) == 0.0


@pytest.mark.parametrize("settings", [{"compare": "vectors"}, {"compare": "norms"}])
def test_the_students_input_gradients_come_to_those_of_the_teacher(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Nothing else is asked of it: the gradient of a gradient is what it learns from."""
    objective = Objective([(1.0, get_loss("jacobian", **settings))])
    args = {"optim": "adamw_torch", "learning_rate": 1e-3, "num_train_epochs": 8, "logging_steps": 6}
    model = student_model(dropout=False, **(NARROW if settings["compare"] == "norms" else {}))
    trainer = make_trainer(tmp_path, model=model, objective=objective, args=args)
    trainer.train()
    values = [log["raw/jacobian"] for log in trainer.state.log_history if "raw/jacobian" in log]
    assert values[-1] < 0.7 * values[0]


@pytest.mark.parametrize("cache", ["never", "always"])
def test_words_reach_the_loss_that_reads_them_and_no_other(tmp_path: Path, cache: Literal["never", "always"]) -> None:
    objective = Objective([(1.0, get_loss("mgskd", layer_map="uniform", relation_heads=4, token_layers=1))])
    trainer = make_trainer(tmp_path, objective=objective, cache=CacheSettings(use=cache), eval_dataset=dataset(8))
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["words"].shape == batch["input_ids"].shape
    trainer.train()
    assert trainer.state.log_history[0]["raw/mgskd"] > 0
    assert "eval_loss" in trainer.evaluate()
    assert "words" not in make_trainer(tmp_path).train_dataset.column_names


def test_tokens_without_words_are_refused_by_the_loss_that_reads_them(tmp_path: Path) -> None:
    objective = Objective([(1.0, get_loss("mgskd", layer_map="uniform", relation_heads=4, token_layers=1))])
    data = tokenize(dataset(8), tiny_tokenizer())
    with pytest.raises(RequestError, match=r"needs the word of each token: give the trainer texts"):
        make_trainer(tmp_path, objective=objective, train_dataset=data).train()


def test_a_compiled_student_and_jacobian_matching_are_refused(tmp_path: Path) -> None:
    objective = Objective([(1.0, HardLabel()), (1.0, get_loss("jacobian"))])
    with pytest.raises(RequestError, match="cannot be differentiated twice: leave out torch_compile, or jacobian"):
        make_trainer(tmp_path, objective=objective, args={"torch_compile": True})


def fading() -> Objective:
    """The teacher leaves after 60 % of the training; its temperature falls before."""
    fades = Schedule("linear", 1.0, 0.0, until=0.6)
    cools = {"temperature": Schedule("cosine", 8.0, 1.0)}
    return Objective([(1.0, HardLabel()), (fades, SoftTarget(), cools), (fades, HiddenState())])


def test_a_resumed_run_equals_an_uninterrupted_one_with_a_schedule(tmp_path: Path) -> None:
    """Where a schedule stands follows from the step alone. The break is before the teacher leaves."""
    args = {"optim": "adamw_torch", "save_strategy": "steps", "save_steps": 3}
    whole, half, other = student_model(**NARROW), student_model(**NARROW), student_model(**NARROW)
    trainer = make_trainer(tmp_path / "whole", model=whole, objective=fading(), args=args)
    trainer.train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-3").rename(tmp_path / "half" / "checkpoint-3")
    make_trainer(tmp_path / "half", model=half, objective=fading(), args=args).train(resume_from_checkpoint=True)
    assert largest_difference(whole, half) == 0.0
    plain = Objective([(1.0, HardLabel()), (1.0, SoftTarget()), (1.0, HiddenState())])
    make_trainer(tmp_path / "plain", model=other, objective=plain, args=args).train()
    assert largest_difference(whole, other) > 0.0


@pytest.mark.parametrize("cache", ["never", "always"])
def test_the_teacher_is_not_asked_once_its_terms_have_ended(tmp_path: Path, cache: Literal["never", "always"]) -> None:
    """Steps 0 to 3 of 6 lie before 60 %; what is logged at steps 4 and 5 are its terms as 0."""
    teacher = FrozenTeacher(teacher_model(), tiny_tokenizer())
    passes: list[int] = []
    teacher.model.register_forward_hook(lambda module, args, output: passes.append(1))
    trainer = make_trainer(
        tmp_path,
        teacher=teacher,
        objective=fading(),
        cache=CacheSettings(use=cache),
        args={"logging_steps": 1},
    )
    assert trainer.args.ddp_find_unused_parameters
    asked: list[bool] = []
    with mock.patch.object(ObjectiveHook, "feed", autospec=True, side_effect=ObjectiveHook.feed) as feed:
        trainer.train()
        asked = [call.args[1] is not None for call in feed.call_args_list]
    assert asked == [True] * 4 + [False] * 2
    assert cache == "always" or len(passes) == 4
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for step, entry in enumerate(logs):
        weight = 1 - step / 6 / 0.6 if step < 4 else 0.0
        temperature = 1 + 7 * (1 + math.cos(math.pi * step / 6)) / 2
        assert entry["scheduled/soft_target.weight"] == pytest.approx(weight)
        assert entry["scheduled/soft_target.temperature"] == pytest.approx(temperature)
        assert (entry["raw/soft_target"] > 0) is (step < 4)
        assert entry["weighted/soft_target"] == pytest.approx(weight * entry["raw/soft_target"], rel=1e-5)
        parts = [entry[f"weighted/{term.name}"] for term in trainer.distillation_objective]
        assert entry["loss"] == pytest.approx(sum(parts), rel=1e-5)


def test_a_checkpoint_of_another_objective_is_refused(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 3}
    make_trainer(
        tmp_path, model=student_model(**NARROW), objective=Objective([(1.0, SoftTarget())]), args=args
    ).train()
    with pytest.raises(RequestError, match=r"distilnlp_modules.safetensors"):
        make_trainer(tmp_path, model=student_model(**NARROW), args=args).train(resume_from_checkpoint=True)


def test_a_kill_in_the_middle_of_a_save_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after the weights are written: only the whole checkpoint before is there."""

    class Killed(BaseException):
        pass

    save = Trainer._save_rng_state

    def die(self: Trainer, output_dir: str) -> None:
        if output_dir.endswith("checkpoint-6"):
            raise Killed
        save(self, output_dir)

    trainer = make_trainer(tmp_path, args={"save_strategy": "steps", "save_steps": 3})
    monkeypatch.setattr(Trainer, "_save_rng_state", die)
    with pytest.raises(Killed):
        trainer.train()
    visible = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert visible == ["checkpoint-3"]
    monkeypatch.undo()
    trainer = make_trainer(tmp_path, args={"save_strategy": "steps", "save_steps": 3})
    trainer.train(resume_from_checkpoint=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-3", "checkpoint-6"]


def test_the_best_checkpoint_is_kept_and_loaded(tmp_path: Path) -> None:
    args = {
        "save_strategy": "steps",
        "save_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "accuracy",
        "save_total_limit": 1,
        "num_train_epochs": 3,
        "learning_rate": 0.1,
    }
    student = student_model(**NARROW)
    trainer = make_trainer(tmp_path, model=student, eval_dataset=dataset(30, 1), args=args)
    trainer.train()
    best = trainer.state.best_model_checkpoint
    assert best is not None and Path(best).parent == tmp_path
    state = json.loads((Path(best) / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == best
    saved = load_file(Path(best) / "model.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in student.state_dict().items())
    assert trainer.evaluate()["eval_accuracy"] == pytest.approx(trainer.state.best_metric)


def test_evaluation_returns_logits_and_nothing_else(tmp_path: Path) -> None:
    """Trap 4: hidden states in the output would be gathered for the whole data set."""
    trainer = make_trainer(tmp_path, model=student_model(output_hidden_states=True), eval_dataset=dataset(20, 1))
    result = trainer.predict(trainer.eval_dataset)
    assert isinstance(result.predictions, type(result.label_ids)) and result.predictions.shape == (20, 3)
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1
    # Without labels Trainer takes another path, which hands on whatever the model returns.
    unlabelled = trainer.predict(trainer.eval_dataset.remove_columns("labels"))
    assert isinstance(unlabelled.predictions, type(result.predictions))
    assert unlabelled.predictions.shape == (20, 3)


def test_an_evaluation_between_two_steps_is_not_recorded(tmp_path: Path) -> None:
    """Trap 4: what was captured would be held until the next step."""
    seen: list[object] = []

    class Look(TrainerCallback):
        def on_evaluate(self, *args: Any, **kwargs: Any) -> None:
            assert trainer._hook._capture is not None
            seen.append(trainer._hook._capture._records)

    args = {"eval_strategy": "steps", "eval_steps": 2}
    trainer = make_trainer(tmp_path, eval_dataset=dataset(10, 1), args=args, callbacks=[Look()])
    trainer.train()
    assert seen == [None, None, None]


def test_predictions_are_in_the_order_of_the_data(tmp_path: Path) -> None:
    """Batches of like length are for training only."""
    data = dataset(20, 1)
    trainer = make_trainer(tmp_path, eval_dataset=data)
    assert trainer.predict(trainer.eval_dataset).label_ids.tolist() == data["label"]


def test_bf16_is_used_in_training_and_in_evaluation_alone(tmp_path: Path) -> None:
    """Pitfall: a teacher prepared by accelerate makes evaluation fall back to float32."""
    student = student_model()
    seen: list[torch.dtype] = []
    student.bert.encoder.layer[0].output.dense.register_forward_hook(lambda m, a, out: seen.append(out.dtype))
    trainer = make_trainer(tmp_path, model=student, eval_dataset=dataset(10, 1), args={"bf16": True, "max_steps": 1})
    trainer.evaluate()
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    trainer.train()
    assert set(seen) == {torch.bfloat16}


@pytest.mark.parametrize("twice", [False, True], ids=["", "differentiated twice"])
@pytest.mark.parametrize("kind", [kind for kind in BACKBONES if kind != "albert"])  # transformers: ALBERT cannot
def test_gradient_checkpointing_gives_the_same_weights(tmp_path: Path, kind: str, twice: bool) -> None:
    objective = Objective([(1.0, HiddenState()), (1.0, AttentionProbabilities())])
    if twice:
        objective = Objective([(1.0, get_loss("jacobian")), (1.0, AttentionProbabilities())])
    models = []
    for checkpointing in (False, True):
        models.append(without_dropout(student_model(kind)))
        args = {"gradient_checkpointing": checkpointing, "max_steps": 2}
        make_trainer(tmp_path, model=models[-1], teacher=teacher_model(kind), objective=objective, args=args).train()
    assert largest_difference(*models) < 1e-7


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
def test_reentrant_checkpointing_which_cuts_the_gradient_is_refused(tmp_path: Path) -> None:
    args = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    with pytest.raises(RequestError, match="use_reentrant"):
        make_trainer(tmp_path, args=args).train()


@pytest.mark.slow
def test_a_compiled_student_learns_the_same(tmp_path: Path) -> None:
    models = []
    for compiled in (False, True):
        models.append(student_model(dropout=False))
        # Rows of one length: each new shape would be compiled anew.
        data = dataset(16).map(lambda row: {"text": "the film was good and the book is bad"})
        args = {"torch_compile": compiled, "torch_compile_backend": "aot_eager" if compiled else None, "max_steps": 2}
        make_trainer(tmp_path, model=models[-1], train_dataset=data, args=args).train()
    assert largest_difference(*models) < 1e-6


class NotANumber(Loss):
    name = "not_a_number"  # not registered: the contract's suite counts the registry

    def __call__(self, student: Outputs, teacher: Outputs | None, batch: Any, module: nn.Module | None = None) -> Any:
        return student.get_logits().sum() * float("nan")


def test_a_term_that_is_not_a_number_stops_the_run_and_is_named(tmp_path: Path) -> None:
    """Trap 15."""
    student = student_model()
    start = snapshot(student)
    trainer = make_trainer(tmp_path, model=student, objective=Objective([(1.0, HardLabel()), (0.1, NotANumber())]))
    with pytest.raises(RunError, match="not_a_number is not a finite number at step 1"):
        trainer.train()
    assert all(torch.equal(tensor, start[name]) for name, tensor in student.state_dict().items())


def test_training_can_start_again_after_a_term_was_not_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sum of the terms held the NaN: left over, it would stop every later training of the trainer."""
    trainer = make_trainer(tmp_path, objective=Objective([(1.0, SoftTarget()), (0.1, NotANumber())]))
    with pytest.raises(RunError, match="not a finite number"):
        trainer.train()
    monkeypatch.setattr(NotANumber, "__call__", lambda self, student, *_: student.get_logits().sum())
    assert trainer.train().global_step == 6


@pytest.mark.parametrize("loss", ["soft_target", "jacobian"])
def test_two_labels_in_another_order_are_put_into_ours(tmp_path: Path, loss: str) -> None:
    """Trap 5: the same teacher, its labels permuted in config and head, must teach the same."""
    order = [2, 0, 1]
    teacher, permuted = teacher_model(), teacher_model(label_names=[NAMES[i] for i in order])
    permuted.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        permuted.classifier.weight.copy_(teacher.classifier.weight[order])
        permuted.classifier.bias.copy_(teacher.classifier.bias[order])
    students = [student_model(dropout=False), student_model(dropout=False)]
    for student, taught_by in zip(students, (teacher, permuted), strict=True):
        objective = Objective([(1.0, get_loss(loss))])
        make_trainer(tmp_path, model=student, teacher=taught_by, objective=objective).train()
    assert largest_difference(*students) < 1e-7


def test_other_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="bad, good, mixed and the model's are x, y, z"):
        make_trainer(tmp_path, teacher=teacher_model(label_names=["x", "y", "z"]))


def test_a_student_in_another_order_than_the_data_is_refused_with_the_way_out(tmp_path: Path) -> None:
    from distilnlp.models.labels import align_labels

    student = student_model(label_names=["good", "bad", "mixed"])
    with pytest.raises(RequestError, match="align_labels"):
        make_trainer(tmp_path, model=student)
    row = student.classifier.weight[0].clone()
    make_trainer(tmp_path, model=align_labels(student, NAMES))
    assert torch.equal(student.classifier.weight[1], row)


@pytest.mark.slow
def test_a_teacher_without_label_names_has_to_show_that_it_counts_as_we_do(tmp_path: Path) -> None:
    trained = teacher_model(label_names=None)
    make_trainer(
        tmp_path,
        model=trained,
        teacher=None,
        objective=None,
        train_dataset=dataset(200, 3),
        args={"optim": "adamw_torch", "num_train_epochs": 6, "learning_rate": 3e-3},
    ).train()
    trained.config.id2label = {index: f"LABEL_{index}" for index in range(3)}
    only_logits = Objective([(1.0, SoftTarget())])
    make_trainer(tmp_path, teacher=trained, objective=only_logits, args={"max_steps": 1}).train()
    with torch.no_grad():
        trained.classifier.weight.copy_(trained.classifier.weight[[1, 2, 0]])
        trained.classifier.bias.copy_(trained.classifier.bias[[1, 2, 0]])
    with pytest.raises(RequestError, match="another order"):
        make_trainer(tmp_path, teacher=trained, objective=only_logits).train()
    with pytest.raises(RequestError, match="no better than"):
        make_trainer(tmp_path, teacher=teacher_model(label_names=None), objective=only_logits).train()


def test_another_vocabulary_of_the_same_size_is_seen_and_each_model_reads_its_own(tmp_path: Path) -> None:
    """Trap 8: with two words swapped."""
    from transformers import BertTokenizer

    from tests.tiny import VOCAB

    words = [*VOCAB]
    words[5], words[6] = words[6], words[5]
    other = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    teacher = FrozenTeacher(teacher_model(), other)
    trainer = make_trainer(tmp_path, teacher=teacher, objective=Objective([(1.0, SoftTarget())]))
    rows = trainer.train_dataset[:]
    assert rows["input_ids"] != rows["teacher_input_ids"]
    assert rows["teacher_input_ids"] == other(dataset()["text"][:])["input_ids"]
    with pytest.raises(RequestError, match="other tokens"):
        make_trainer(tmp_path, teacher=teacher)  # attention maps too


def test_one_vocabulary_that_cuts_texts_in_two_ways_is_seen_too(tmp_path: Path) -> None:
    """Trap 8: a cased and an uncased tokenizer with the same tokens."""
    from transformers import BertTokenizer

    from tests.tiny import VOCAB

    vocabulary = {word: index for index, word in enumerate(VOCAB)}
    cased = BertTokenizer(vocab=vocabulary, do_lower_case=False)
    shouted = dataset().map(lambda row: {"text": row["text"].upper()})
    with pytest.raises(RequestError, match=r"the teacher's tokenizer .* does not know the language"):
        make_trainer(tmp_path, teacher=FrozenTeacher(teacher_model(), cased), train_dataset=shouted)


@pytest.mark.parametrize(
    ("args", "message"),
    [({"label_smoothing_factor": 0.1}, "label_smoothing_factor")],
)
def test_settings_that_would_be_ignored_are_refused(tmp_path: Path, args: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        make_trainer(tmp_path, args=args)


@pytest.mark.parametrize("attribute", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_sharded_training_is_refused_before_step_0_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: str
) -> None:
    """Trap 12: the teacher or a projection would be in pieces."""
    create = Trainer.create_accelerator_and_postprocess

    def create_sharded(self: Trainer) -> None:
        create(self)
        setattr(self, attribute, True)

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", create_sharded)
    with pytest.raises(RequestError, match="accelerate launch"):
        make_trainer(tmp_path)


def test_several_gpus_in_one_process_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 12: DataParallel would leave the teacher on one of them."""
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    with pytest.raises(RequestError, match="2 GPUs"):
        make_trainer(tmp_path)


def test_the_teacher_runs_once_for_every_batch_and_never_in_evaluation(tmp_path: Path) -> None:
    """One epoch, so that keeping its answers would not pay."""
    teacher = teacher_model()
    passes: list[int] = []
    teacher.register_forward_hook(lambda module, args, output: passes.append(1))
    trainer = make_trainer(tmp_path, teacher=teacher, eval_dataset=dataset(10, 1))
    trainer.train()
    trainer.evaluate()
    assert len(passes) == 6


def test_a_loss_function_beside_the_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="compute_loss_func"):
        make_trainer(tmp_path, compute_loss_func=lambda *_, **__: torch.zeros(()))


def test_a_teacher_that_no_term_reads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no term"):
        make_trainer(tmp_path, objective=Objective([(1.0, HardLabel())]))


def test_a_term_that_needs_a_teacher_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is none"):
        make_trainer(tmp_path, teacher=None, objective=all_losses())


def test_a_student_that_is_saved_loads_as_a_plain_model_and_predicts_the_same(tmp_path: Path) -> None:
    student = student_model(**NARROW)
    trainer = make_trainer(tmp_path / "run", model=student)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert "model.safetensors" in names and "training_args.bin" not in names
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    inputs = tiny_tokenizer()(["the film was good", "bad"], padding=True, return_tensors="pt")
    torch.testing.assert_close(loaded(**inputs).logits, student.eval()(**inputs).logits, atol=0, rtol=0)
    assert tuple(loaded.config.id2label.values()) == NAMES


def test_lora_students_train_their_adapters_and_are_saved_merged(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    student = get_peft_model(student_model(), LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=4))
    frozen = student.base_model.model.bert.encoder.layer[0].output.dense.weight.clone()
    trainer = make_trainer(tmp_path / "run", model=student, args={"save_strategy": "steps", "save_steps": 3})
    trainer.train()
    assert torch.equal(student.base_model.model.bert.encoder.layer[0].output.dense.weight, frozen)
    assert (tmp_path / "run" / "checkpoint-6" / "adapter_model.safetensors").is_file()
    trainer.save_model(str(tmp_path / "merged"))
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    inputs = tiny_tokenizer()(["the film was good"], return_tensors="pt")
    torch.testing.assert_close(loaded(**inputs).logits, student.eval()(**inputs).logits)
    trainer.keep_adapter = True
    trainer.save_model(str(tmp_path / "adapter"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_hyperparameter_search_builds_a_student_for_each_trial(tmp_path: Path) -> None:
    """The trials share the teacher's answers: one pass over all texts, and one over the longest, for both."""
    teacher = teacher_model()
    passes: list[int] = []
    teacher.register_forward_hook(lambda module, args, output: passes.append(1))
    trainer = make_trainer(
        tmp_path,
        model=None,
        teacher=teacher,
        model_init=lambda trial=None: student_model(**NARROW),
        eval_dataset=dataset(20, 1),
        cache=CacheSettings(use="always", folder=str(tmp_path / "answers")),
        args={"eval_strategy": "epoch"},
    )
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)},
        n_trials=2,
        direction="maximize",
        backend="optuna",
    )
    assert "learning_rate" in best.hyperparameters
    assert len(passes) == 2


def test_the_order_of_the_batches_depends_on_the_seed_and_the_epoch_alone(tmp_path: Path) -> None:
    def order(seed: int, epoch: int, size: int, accumulation: int) -> list[int]:
        args = {"seed": seed, "per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
        sampler = make_trainer(tmp_path, args=args).get_train_dataloader().batch_sampler.sampler  # type: ignore[union-attr]
        sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return list(sampler)

    assert order(0, 0, 8, 1) == order(0, 0, 2, 4)
    assert order(0, 0, 8, 1) != order(0, 1, 8, 1) and order(0, 0, 8, 1) != order(1, 0, 8, 1)


def test_compute_loss_takes_whatever_trainer_passes() -> None:
    """Trap 3: the signature has changed twice; the parameters of today must be among ours."""
    ours = inspect.signature(DistillationTrainer.compute_loss).parameters
    assert set(inspect.signature(Trainer.compute_loss).parameters) <= set(ours)
    assert any(parameter.kind is parameter.VAR_KEYWORD for parameter in ours.values())


def test_a_regression_head_learns_from_its_teacher(tmp_path: Path) -> None:
    """Trap 11: KL on one logit is 0; the default objective takes the mean squared error."""
    from datasets import Value

    one = {"label_names": None, "num_labels": 1, "problem_type": "regression"}
    data = dataset().cast_column("label", Value("float32"))
    trainer = make_trainer(
        tmp_path, model=student_model(**one), teacher=teacher_model(**one), objective=None, train_dataset=data
    )
    assert [type(term.loss) for term in trainer.distillation_objective] == [HardLabel, LogitMSE]
    trainer.train()
    with pytest.raises(RequestError, match="logit_mse"):
        make_trainer(tmp_path, model=student_model(**one), teacher=teacher_model(**one), train_dataset=data)


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_gets_every_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str) -> None:
    """The real ones, without their servers; those that are not installed are left out."""
    places = {"TENSORBOARD_LOGGING_DIR": "events", "WANDB_DIR": ".", "TRACKIO_DIR": "."}
    for variable, folder in places.items():
        monkeypatch.setenv(variable, str(tmp_path / folder))
    monkeypatch.setenv("WANDB_MODE", "offline")
    pytest.importorskip(tracker)  # trackio reads its folder when it is imported
    make_trainer(tmp_path / "run", args={"report_to": tracker, "max_steps": 2}).train()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for term in all_losses():
        assert f"raw/{term.name}".encode() in kept and f"weighted/{term.name}".encode() in kept


def with_weights(rows: Any, weights: list[float]) -> Any:
    return rows.add_column("example_weight", [weights[index % len(weights)] for index in range(len(rows))])


def after_training(folder: Path, rows: Any, objective: Objective, **args: Any) -> nn.Module:
    student = without_dropout(student_model())
    make_trainer(
        folder, model=student, teacher=teacher_model(), objective=objective, train_dataset=rows, args=args
    ).train()
    return student


def test_examples_of_weight_zero_teach_nothing_whatever_their_labels(tmp_path: Path) -> None:
    rows = dataset(8)
    wrong = rows.map(lambda row, index: {"label": (row["label"] + index % 2) % 3}, with_indices=True)
    terms = Objective([(0.5, HardLabel()), (0.5, SoftTarget()), (1.0, HiddenState())])
    ends = [
        after_training(tmp_path / str(i), with_weights(each, [1.0, 0.0]), terms)
        for i, each in enumerate((rows, wrong))
    ]
    plain = after_training(tmp_path / "plain", rows, terms)
    assert largest_difference(ends[0], ends[1]) == 0
    assert largest_difference(ends[0], plain) > 1e-4


def test_equal_weights_of_any_size_train_as_none_do(tmp_path: Path) -> None:
    rows, terms = dataset(8), Objective([(0.5, HardLabel()), (0.5, SoftTarget())])
    plain = after_training(tmp_path / "plain", rows, terms)
    assert largest_difference(plain, after_training(tmp_path / "equal", with_weights(rows, [7.0]), terms)) < 1e-6


def test_weighted_micro_batches_give_the_update_of_one_batch(tmp_path: Path) -> None:
    rows = with_weights(dataset(8), [3.0, 1.0, 0.5])
    terms = Objective([(0.5, HardLabel(class_weights="balanced")), (0.5, SoftTarget(class_weights="balanced"))])
    whole = {"per_device_train_batch_size": 8}
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    ends = [after_training(tmp_path / str(i), rows, terms, max_steps=1, **each) for i, each in enumerate((whole, cut))]
    assert largest_difference(*ends) < 1e-6


def test_what_is_measured_counts_every_example_alike(tmp_path: Path) -> None:
    rows = dataset(8)
    losses = [
        make_trainer(tmp_path / str(i), train_dataset=rows, eval_dataset=each).evaluate()["eval_loss"]
        for i, each in enumerate((rows, with_weights(rows, [0.0, 5.0])))
    ]
    assert losses[0] == losses[1]


def test_class_weights_are_counted_and_scaled_in_the_training_data(tmp_path: Path) -> None:
    rows = dataset(12)
    counts = [rows["label"][:].count(index) for index in range(3)]
    objective = Objective(
        [(0.5, HardLabel(class_weights={NAMES[0]: 3.0})), (0.5, SoftTarget(class_weights="balanced"))]
    )
    trainer = make_trainer(tmp_path, teacher=teacher_model(), objective=objective, train_dataset=rows)
    hard, soft = (term.loss.class_weights for term in trainer.distillation_objective)  # type: ignore[attr-defined]
    assert hard[0] == pytest.approx(3 * hard[1])
    for weights in (hard, soft):
        assert sum(w * n for w, n in zip(weights, counts, strict=True)) == pytest.approx(12)


def test_a_loss_that_relates_examples_is_refused_where_they_have_weights(tmp_path: Path) -> None:
    objective = Objective([(0.5, HardLabel()), (0.5, get_loss("rkd_distance"))])
    with pytest.raises(RequestError, match="have weights, and rkd_distance relates examples to one another"):
        make_trainer(
            tmp_path, teacher=teacher_model(), objective=objective, train_dataset=with_weights(dataset(8), [1.0, 2.0])
        )


def test_class_weights_of_a_teacher_s_loss_need_labels(tmp_path: Path) -> None:
    objective = Objective([(1.0, SoftTarget(class_weights="balanced"))])
    with pytest.raises(RequestError, match="objective has soft_target and the training data has no label column"):
        make_trainer(
            tmp_path, teacher=teacher_model(), objective=objective, train_dataset=dataset(8).remove_columns("label")
        )
