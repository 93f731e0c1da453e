"""Units that go while the student learns: the schedule, what is silent meanwhile, and the plain model in the end."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, TrainerCallback

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, Objective
from distilnlp.models.units import feed_forward, own_layers
from distilnlp.part import Training
from distilnlp.parts import Pruning
from distilnlp.teachers import EMATeacher
from tests.runs import dataset, largest_difference, make_trainer, student_model, teacher_model
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

LABELS = Objective([(1.0, HardLabel())])


def batch() -> dict[str, Tensor]:
    inputs = tiny_tokenizer()(["the good film", "a dull book we saw"], padding=True, return_tensors="pt")
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def attached(part: Pruning, student: PreTrainedModel) -> PreTrainedModel:
    part.attach(Training(student, student, torch.device("cpu"), 0))
    return student


def widths(model: PreTrainedModel) -> list[int]:
    return [feed_forward(model, layer)[1].in_features for layer in own_layers(model)]


def test_units_go_fast_at_first_and_all_that_go_are_gone_at_the_end() -> None:
    part = Pruning(intermediate_size=24, start=0.2, until=0.7)
    silent = [part.silent_at(share, 64) for share in (0.0, 0.2, 0.45, 0.7, 1.0)]
    assert silent == [0, 0, 35, 40, 40]  # 7/8 of 40 at half of the time


@pytest.mark.parametrize("score", ["movement", "gradient", "magnitude"])
@pytest.mark.parametrize("kind", BACKBONES)
def test_the_cut_student_answers_as_the_silenced_one(kind: str, score: Any, tmp_path: Path) -> None:
    part = Pruning(intermediate_size=20, score=score)
    student = attached(part, tiny_model(kind, layers=2))
    before = student(**batch()).logits
    before.square().sum().backward()
    assert torch.equal(before, tiny_model(kind, layers=2)(**batch()).logits)  # nothing is silent yet
    part.on_step(1.0)
    silenced = student(**batch()).logits
    assert not torch.allclose(silenced, before)
    part.finish()
    assert widths(student) == [20] * len(own_layers(student))
    torch.testing.assert_close(student(**batch()).logits, silenced, atol=1e-6, rtol=1e-5)
    student.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(**batch()).logits, student(**batch()).logits)


def scored(score: Any) -> list[bool]:
    """Which of three units of the first layer stay, when one goes: of a loss that is told by hand."""
    part = Pruning(intermediate_size=63, score=score)
    student = attached(part, tiny_model("bert", layers=1))
    for gradient in (torch.zeros(64), torch.zeros(64)):
        gradient[:3] = torch.tensor([0.1, -3.0, 2.0])
        part._masks[0].grad = gradient + (0 if score == "movement" else 9 * (torch.arange(64) > 2))
        if score == "movement":
            part._masks[0].grad[3:] = -9
        part.on_step(0.9)
    del student
    return [bool(mask) for mask in part._masks[0][:3]]


def test_a_unit_goes_whose_mask_the_loss_wants_smaller_or_that_the_loss_does_not_see() -> None:
    assert scored("movement") == [True, True, False]
    assert scored("gradient") == [False, True, True]


def test_magnitude_is_of_what_a_unit_reads_and_writes_with() -> None:
    part = Pruning(intermediate_size=63, score="magnitude")
    student = attached(part, tiny_model("modernbert", layers=1))
    into, out = feed_forward(student, own_layers(student)[0])
    with torch.no_grad():
        out.weight[:, 7] = 0
        into.weight[64 + 9] = 0  # the gate of unit 9, which still has its other half
    part.on_step(1.0)
    assert part._masks[0].argmin() == 7


def test_a_unit_that_was_silent_may_come_back() -> None:
    part = Pruning(intermediate_size=63)
    attached(part, tiny_model("bert", layers=1))
    for first, silent in ((5.0, 0), (-50.0, 1)):
        part._masks[0].grad = torch.zeros(64)
        part._masks[0].grad[0], part._masks[0].grad[1] = first, 1.0
        part.on_step(1.0)
        assert part._masks[0].argmin() == silent


class _Widths(TrainerCallback):
    """Notes how many units are silent at each step, and the evaluations of the student as it is then."""

    def __init__(self, part: Pruning) -> None:
        self.part = part
        self.silent: list[int] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.silent.append(int((self.part._masks[0] == 0).sum()))


def test_a_training_ends_with_a_plain_model_that_is_smaller_and_measured_so(tmp_path: Path) -> None:
    part = Pruning(intermediate_size=16)
    student = student_model()
    count, layers = student.num_parameters(), len(own_layers(student))
    units, hidden = widths(student)[0], student.config.hidden_size
    seen = _Widths(part)
    objective = Objective([(1.0, HardLabel()), (1.0, HiddenState())])
    made = make_trainer(
        tmp_path, model=student, objective=objective, parts=[part], callbacks=[seen], args={"num_train_epochs": 2}
    )
    made.train()
    assert seen.silent[0] == 0 and seen.silent[-1] == units - 16
    assert seen.silent == sorted(seen.silent) and len(set(seen.silent)) > 3
    assert made.student.config.intermediate_size == 16
    assert count - made.student.num_parameters() == layers * (units - 16) * (2 * hidden + 1)
    assert not any(each._forward_pre_hooks for each in made.student.modules())
    made.save_model(str(tmp_path / "saved"))
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert largest_difference(loaded, made.student) == 0
    assert made.evaluate(dataset())["eval_loss"] > 0


def test_a_resumed_training_prunes_on(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2}

    def trainer(folder: Path) -> Any:
        parts = {"teacher": None, "parts": [Pruning(16)]}
        return make_trainer(folder, model=student_model(), objective=LABELS, args=args, **parts)

    whole = trainer(tmp_path / "whole")
    whole.train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    half = trainer(tmp_path / "half")
    half.train(resume_from_checkpoint=True)
    assert largest_difference(whole.student, half.student) == 0


def test_a_training_that_ends_too_early_takes_nothing_out_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    part = Pruning(intermediate_size=16, until=0.8)
    student = attached(part, tiny_model("bert"))
    before = tiny_model("bert")(**batch()).logits
    part.on_step(0.5)
    with caplog.at_level(logging.WARNING, logger="distilnlp"):
        part.finish()
    assert "ended after 50 %, and the units are out after 80 %: all are left" in caplog.text
    assert torch.equal(student(**batch()).logits, before)
    part.finish()  # nothing is there any more


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"intermediate_size": 0}, "intermediate_size"),
        ({"intermediate_size": 8, "start": 0.7}, "until"),
        ({"intermediate_size": 8, "until": 1.1}, "until"),
        ({"intermediate_size": 8, "score": "random"}, "score"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(RequestError) as caught:
        Pruning(**settings)
    assert [*caught.value.key] == [key]


def test_students_and_outcomes_that_cannot_be_pruned_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has 64 feed-forward units in a layer, give fewer"):
        Pruning(64).accept(tiny_model("bert"))
    best = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    parts = {"teacher": None, "parts": [Pruning(16)], "eval_dataset": dataset()}
    made = make_trainer(tmp_path, model=student_model(), objective=LABELS, args=best, **parts)
    with pytest.raises(RequestError, match="leave load_best_model_at_end out"):
        made.train()
    with pytest.raises(RequestError, match="pruning leaves a student with fewer weights"):
        make_trainer(tmp_path, model=student_model(), teacher=EMATeacher(), parts=[Pruning(16)])


def test_adapters_are_refused() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(teacher_model(), LoraConfig(task_type="SEQ_CLS", target_modules="all-linear"))
    with pytest.raises(RequestError, match="leave lora out"):
        Pruning(16).accept(model.get_base_model())
