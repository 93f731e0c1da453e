"""A student that learns in 8 bits: what is rounded and how, while it learns alone, and a plain model in the end."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, TrainerCallback

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, LogitMSE, Objective, SoftTarget
from distilnlp.part import Training
from distilnlp.parts import Int8, Pruning
from distilnlp.parts.int8 import rounded, rounded_rows
from distilnlp.teachers import EMATeacher
from tests.runs import dataset, largest_difference, make_trainer, student_model, without_dropout
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

LABELS = Objective([(1.0, HardLabel())])


def batch() -> dict[str, Tensor]:
    inputs = tiny_tokenizer()(["the good film", "a dull book we saw"], padding=True, return_tensors="pt")
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def begun(part: Int8, student: PreTrainedModel) -> PreTrainedModel:
    part.attach(Training(student, student, torch.device("cpu"), 0))
    part.on_pass(part.start)
    return student


def test_a_row_of_a_weight_has_a_scale_of_its_own_and_as_many_levels_below_0_as_above() -> None:
    torch.testing.assert_close(
        rounded_rows(torch.tensor([[1, -0.5, 0.26]]), 127), torch.tensor([[1, -64 / 127, 33 / 127]])
    )
    weight = torch.randn(3, 5000) * torch.tensor([[1e-3], [1.0], [1e3]])
    for levels in (64, 127):
        found = rounded_rows(weight, levels)
        assert torch.equal(rounded_rows(found, levels), found)
        assert all(len(row.unique()) <= 2 * levels + 1 for row in found)
        assert ((found - weight).abs().amax(1) <= weight.abs().amax(1) / levels * 0.5001).all()


def test_numbers_have_256_levels_between_their_ends_and_0_stays_0() -> None:
    values = torch.cat([torch.zeros(1), torch.rand(5000) * 3 - 1])
    found = rounded(values)
    assert found[0] == 0
    assert 200 < len(found.unique()) <= 256
    assert (found - values).abs().max() <= (values.max() - values.min()) / 255 * 0.51
    torch.testing.assert_close(rounded(found), found, atol=1e-5, rtol=0)
    assert rounded(values + 9).min() == pytest.approx(8, abs=12 / 255)  # the levels begin at 0


@pytest.mark.parametrize("shape", [(0, 4), (2, 3)])
def test_no_numbers_and_zeros_stay_what_they_are(shape: tuple[int, int]) -> None:
    for found in (rounded(torch.zeros(shape)), rounded_rows(torch.zeros(2, 3), 64)):
        assert (found == 0).all()


def test_gradients_pass_as_if_nothing_was_rounded() -> None:
    values, weight = torch.randn(9, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    (rounded(values).sum() + rounded_rows(weight, 64).sum()).backward()
    for each in (values, weight):
        assert each.grad is not None and (each.grad == 1).all()


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_student_is_rounded_from_its_first_pass_on_and_as_before_in_the_end(kind: str) -> None:
    part, student = Int8(), tiny_model(kind)
    before, names = student(**batch()).logits, [*student.state_dict()]
    part.attach(Training(student, student, torch.device("cpu"), 0))
    assert torch.equal(student(**batch()).logits, before)
    part.on_pass(0.0)
    during = student(**batch()).logits
    assert 0 < (during - before).abs().max() < 0.1
    assert [*student.state_dict()] == names
    during.sum().backward()
    assert all(each.grad is not None for name, each in student.named_parameters() if "key.bias" not in name)
    part.finish()
    assert torch.equal(student(**batch()).logits, before)
    assert {type(each) for each in student.modules() if isinstance(each, nn.Linear)} == {nn.Linear}
    assert not any(each._forward_hooks for each in student.modules())


def test_every_matrix_and_every_table_is_rounded_for_its_processor() -> None:
    for processor, levels in (("avx2", 64), ("vnni", 127), ("arm64", 127)):
        student, exact = begun(Int8(processor), tiny_model("bert")), tiny_model("bert")
        with torch.no_grad():
            for module in exact.modules():
                if isinstance(module, nn.Linear):
                    module.weight.copy_(rounded_rows(module.weight, levels))
                    module.register_forward_pre_hook(lambda module, args: (rounded(args[0]),))
                elif isinstance(module, nn.Embedding):
                    module.weight.copy_(rounded(module.weight))
        torch.testing.assert_close(student(**batch()).logits, exact(**batch()).logits, atol=1e-6, rtol=0)


def test_numbers_are_rounded_in_float32_where_products_are_in_half_precision() -> None:
    linear = nn.Linear(64, 8)
    values, weight = torch.randn(5, 64), linear.weight.detach().clone()
    student = tiny_model("bert")
    student.classifier = linear
    begun(Int8("vnni"), student)
    with torch.autocast("cpu", torch.bfloat16):
        found = linear(values)
        expected = nn.functional.linear(rounded(values), rounded_rows(weight, 127), linear.bias)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)
    assert (rounded(values.bfloat16()) == rounded(values.bfloat16().float()).bfloat16()).all()


class _Rounded(TrainerCallback):
    """Notes whether the student is rounded at the end of each step, and in evaluations."""

    def __init__(self) -> None:
        self.steps: list[bool] = []
        self.evaluations: list[bool] = []

    def on_step_end(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
        self.steps.append(_is_rounded(model))

    def on_evaluate(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
        self.evaluations.append(_is_rounded(model))


def _is_rounded(model: nn.Module) -> bool:
    return {type(each) for each in model.modules() if isinstance(each, nn.Linear)} != {nn.Linear}


def test_a_training_ends_with_a_plain_model_and_was_evaluated_as_it_will_be_served(tmp_path: Path) -> None:
    seen = _Rounded()
    objective = Objective([(1.0, SoftTarget()), (1.0, HiddenState())])
    args = {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 3, "bf16": True}
    student = student_model(layers=2)
    names = [*student.state_dict()]
    made = make_trainer(
        tmp_path,
        model=student,
        objective=objective,
        parts=[Int8()],
        callbacks=[seen],
        eval_dataset=dataset(8),
        args={**args, "load_best_model_at_end": True},
    )
    made.train()
    assert seen.steps == [True] * 6 and seen.evaluations == [True] * 2
    assert not _is_rounded(made.student) and [*made.student.state_dict()] == names
    made.save_model(str(tmp_path / "saved"))
    for folder in ("saved", "checkpoint-3"):
        loaded, told = AutoModelForSequenceClassification.from_pretrained(tmp_path / folder, output_loading_info=True)
        assert not any(told.values())
    assert largest_difference(loaded, made.student) > 0
    assert made.evaluate(dataset(8))["eval_loss"] > 0


@pytest.mark.slow
def test_a_student_learns_to_answer_as_its_teacher_does_in_8_bits(tmp_path: Path) -> None:
    """It begins as the teacher itself, so that there is nothing to learn but the rounding."""
    teacher = student_model(initializer_range=0.3, dropout=False)
    learned = student_model(initializer_range=0.3, dropout=False)
    part, texts = Int8(), dataset(64, 5)["text"]
    inputs = tiny_tokenizer()([*texts], padding=True, return_tensors="pt")
    asked = {name: inputs[name] for name in ("input_ids", "attention_mask")}

    @torch.no_grad()
    def off(student: PreTrainedModel) -> float:
        begun(part, student.eval())
        found = student(**asked).logits
        part.finish()
        return float((found - teacher.eval()(**asked).logits).square().mean().sqrt())

    before = off(learned)
    args = {"num_train_epochs": 20, "optim": "adamw_torch", "learning_rate": 5e-5, "lr_scheduler_type": "linear"}
    objective, rows = Objective([(1.0, LogitMSE())]), dataset(64, 3)
    make_trainer(
        tmp_path, model=learned, teacher=teacher, objective=objective, parts=[Int8()], train_dataset=rows, args=args
    ).train()
    assert off(learned) < 0.85 * before


def test_a_resumed_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 3}

    def trainer(folder: Path) -> Any:
        return make_trainer(folder, model=student_model(), parts=[Int8(start=0.4)], args=args)

    whole = trainer(tmp_path / "whole")
    whole.train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-3").rename(tmp_path / "half" / "checkpoint-3")
    half = trainer(tmp_path / "half")
    half.train(resume_from_checkpoint=True)
    assert largest_difference(whole.student, half.student) == 0
    plain = make_trainer(tmp_path / "plain", model=student_model())
    plain.train()
    assert largest_difference(whole.student, plain.student) > 0


def test_rounding_begins_after_the_share_that_is_asked_for(tmp_path: Path) -> None:
    seen = _Rounded()
    made = make_trainer(tmp_path, parts=[Int8(start=0.5)], callbacks=[seen], objective=LABELS, teacher=None)
    made.train()
    assert seen.steps == [False] * 3 + [True] * 3


def test_a_training_that_ends_before_rounding_begins_says_so(caplog: pytest.LogCaptureFixture) -> None:
    part, student = Int8(start=0.5), tiny_model("bert")
    part.attach(Training(student, student, torch.device("cpu"), 0))
    part.on_pass(0.3)
    with caplog.at_level(logging.WARNING, logger="distilnlp"):
        part.finish()
    assert "ended after 30 %, and weights are rounded after 50 %: none were" in caplog.text
    part.finish()  # nothing is there any more


def test_activations_that_are_computed_again_are_rounded_again(tmp_path: Path) -> None:
    students = []
    for again in (False, True):
        student = without_dropout(student_model())
        args = {"gradient_checkpointing": again, "max_steps": 2}
        trainer = make_trainer(tmp_path, model=student, parts=[Int8()], objective=LABELS, teacher=None, args=args)
        trainer.train()
        students.append(student)
    assert largest_difference(*students) < 1e-7


@pytest.mark.parametrize("first", [Int8, Pruning])
def test_a_student_may_be_pruned_meanwhile(tmp_path: Path, first: type) -> None:
    parts = [Int8(), Pruning(16)]
    made = make_trainer(tmp_path, parts=parts if first is Int8 else parts[::-1], objective=LABELS, teacher=None)
    made.train()
    assert made.student.config.intermediate_size == 16
    assert not _is_rounded(made.student)


def test_the_mean_of_the_student_that_teaches_it_is_a_plain_model(tmp_path: Path) -> None:
    teacher = EMATeacher()
    make_trainer(tmp_path, teacher=teacher, objective=Objective([(1.0, SoftTarget())]), parts=[Int8()]).train()
    assert not _is_rounded(teacher.model)


@pytest.mark.parametrize(
    ("settings", "key"), [({"processor": "x86"}, "processor"), ({"start": 1.0}, "start"), ({"start": -0.1}, "start")]
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(RequestError) as caught:
        Int8(**settings)
    assert [*caught.value.key] == [key]


def test_weights_that_are_no_matrix_of_a_linear_layer_are_refused() -> None:
    student = tiny_model("bert")
    student.bert.encoder.convolution = nn.Conv1d(2, 2, 3)
    with pytest.raises(RequestError, match=r"bert\.encoder\.convolution of BertForSequenceClassification is a Conv1d"):
        Int8().accept(student)


def test_adapters_and_a_best_checkpoint_in_floating_point_are_refused(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(student_model(), LoraConfig(task_type="SEQ_CLS", target_modules="all-linear"))
    part = Int8()
    with pytest.raises(RequestError, match="leave lora out"):
        part.attach(Training(model, model.get_base_model(), torch.device("cpu"), 0))
    best = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    made = make_trainer(tmp_path, parts=[Int8(start=0.5)], args=best, eval_dataset=dataset())
    with pytest.raises(RequestError, match="leave load_best_model_at_end out"):
        made.train()
