"""Exits that learn from the deepest: what they learn, what they leave alone, and what is saved of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective
from distilnlp.models import Predictor
from distilnlp.outputs import Outputs
from distilnlp.part import Pass, Training
from distilnlp.parts import EarlyExits
from distilnlp.problems import get_problem
from tests.runs import dataset, largest_difference, make_trainer, snapshot, student_model
from tests.tiny import tiny_model

LABELS = Objective([(1.0, HardLabel())])
ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-3, "weight_decay": 0.1}


def trainer(folder: Path, part: EarlyExits, **changes: Any) -> Any:
    settings = {"model": student_model(layers=3), "teacher": None, "objective": LABELS, "parts": [part], **changes}
    settings["args"] = {**ADAMW, **changes.get("args", {})}
    return make_trainer(folder, **settings)


def attached(part: EarlyExits, model: Any) -> EarlyExits:
    part.accept(model)
    part.attach(Training(model, model, torch.device("cpu"), 0))
    return part


def random_pass(part: EarlyExits, model: Any) -> Pass:
    generator = torch.Generator().manual_seed(0)
    hidden = {layer: torch.randn(5, 4, 32, generator=generator, requires_grad=True) for layer in (1, 2, 3)}
    logits = torch.randn(5, 3, generator=generator, requires_grad=True)
    problem = get_problem("single_label_classification")
    own = Outputs(logits=logits, hidden_states=hidden, attention_mask=torch.ones(5, 4), problem=problem)
    return Pass(model, own, None, {"labels": torch.tensor([0, 1, 2, 1, 0])}, 0.0)


def test_the_term_is_that_of_the_paper() -> None:
    part = attached(EarlyExits(alpha=0.3, temperature=2.0, hint=0.5), model := student_model(layers=3))
    step = random_pass(part, model)
    expected, p = torch.zeros(()), torch.softmax(step.student.logits.detach() / 2, -1)
    for layer in (1, 2):
        hidden = step.student.hidden_states[layer]
        z = part.exits.heads[str(layer)](hidden[:, 0])
        q = torch.softmax(z / 2, -1)
        expected = expected + 0.7 * F.cross_entropy(z, step.batch["labels"])
        expected = expected + 0.3 * 4 * (p * (p / q).log()).sum(-1).mean()
        expected = expected + 0.5 * (hidden - step.student.hidden_states[3]).square().mean()
    torch.testing.assert_close(part.term(step), expected)


def test_the_deepest_learns_nothing_from_an_exit() -> None:
    part = attached(EarlyExits(hint=0.5), model := student_model(layers=3))
    step = random_pass(part, model)
    part.term(step).backward()
    assert step.student.logits.grad is None and step.student.hidden_states[3].grad is None
    assert step.student.hidden_states[1].grad.any()


def test_the_exits_are_saved_beside_a_plain_model_and_used(tmp_path: Path) -> None:
    part = EarlyExits()
    made = trainer(tmp_path, part, args={"num_train_epochs": 8, "learning_rate": 3e-3})
    made.train()
    made.save_model(str(tmp_path / "model"))
    folder = tmp_path / "model"
    assert json.loads((folder / "config.json").read_text())["distilnlp_exits"] == {"layers": [1, 2], "pooling": "cls"}
    assert set(load_file(folder / "model.safetensors")) == set(student_model(layers=3).state_dict())
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    assert largest_difference(plain, made.student) == 0
    data = dataset()
    first = Predictor.load(folder, exit_threshold=1.0)
    right = (first.decide(data["text"]) == data["label"]).mean()
    assert first.backend.mean_depth == 1
    assert right > 0.7  # of three classes
    assert not [name for name, _ in made.student.named_modules() if "distilnlp" in name]


def test_frozen_nothing_of_the_model_changes_and_the_exits_learn_its_answers(tmp_path: Path) -> None:
    made = trainer(tmp_path, part := EarlyExits(freeze=True), args={"save_strategy": "epoch", "num_train_epochs": 2})
    before = snapshot(made.student)
    made.train()
    assert all(torch.equal(before[name], tensor) for name, tensor in made.student.state_dict().items())
    assert all(parameter.requires_grad for parameter in made.student.parameters())
    early, late = (
        load_file(tmp_path / f"checkpoint-{step}" / "distilnlp_early_exits.safetensors") for step in (6, 12)
    )
    assert all(not torch.equal(early[name], late[name]) for name in early)
    logged = [entry["raw/early_exits"] for entry in made.state.log_history if "raw/early_exits" in entry]
    assert logged[-1] < logged[0]
    assert part.exits is not None


def test_frozen_the_model_answers_without_dropout(tmp_path: Path) -> None:
    """What the exits learn is what they will be compared with: the same text has one answer."""
    seen: list[Any] = []

    class Look(EarlyExits):
        def term(self, step: Pass) -> torch.Tensor:
            seen.append(step.student.logits.detach().clone())
            return super().term(step)

    one = Dataset.from_dict({"text": ["the good film"] * 8, "label": [1] * 8})
    one = one.cast(dataset().features)
    trainer(tmp_path, Look(freeze=True), train_dataset=one, args={"num_train_epochs": 2}).train()
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0][0], seen[0][-1])


def test_a_resumed_training_has_the_same_exits(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2}
    parts, students = [EarlyExits(), EarlyExits()], [student_model(layers=3), student_model(layers=3)]
    trainer(tmp_path / "whole", parts[0], model=students[0], args=args).train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    trainer(tmp_path / "half", parts[1], model=students[1], args=args).train(resume_from_checkpoint=True)
    assert largest_difference(*students) == 0 == largest_difference(parts[0].exits, parts[1].exits)


@pytest.mark.parametrize("only_model", [False, True])
def test_the_exits_are_those_of_the_best_model(tmp_path: Path, only_model: bool) -> None:
    args = {"save_strategy": "epoch", "eval_strategy": "epoch", "num_train_epochs": 3, "save_only_model": only_model}
    # The largest loss is the first, which falls.
    args |= {"load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True}
    part = EarlyExits()
    made = trainer(tmp_path, part, args=args, eval_dataset=dataset(10, seed=1))
    made.train()
    assert made.state.best_global_step == 6
    best = load_file(tmp_path / "checkpoint-6" / "distilnlp_early_exits.safetensors")
    assert all(torch.equal(best[name], tensor) for name, tensor in part.exits.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"layers": []}, "layers"),
        ({"layers": [2, 1]}, "layers"),
        ({"layers": [0]}, "layers"),
        ({"alpha": 1.5}, "alpha"),
        ({"temperature": 0.0}, "temperature"),
        ({"hint": -1.0}, "hint"),
        ({"pooling": "max"}, "pooling"),
        ({"weight": 0.0}, "weight"),
        ({"freeze": True, "alpha": 0.5}, "alpha"),
        ({"freeze": True, "hint": 0.5}, "hint"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(RequestError) as caught:
        EarlyExits(**settings)
    assert [*caught.value.key] == [key] and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ({}, {"layers": [2]}, "one of the layers 1 to 1 of 2"),
        ({"layers": 1}, {}, "the model's own head"),
        ({"problem_type": "regression", "num_labels": 1, "label_names": None}, {}, "one class or several labels"),
    ],
)
def test_a_model_that_has_no_place_for_exits_is_refused(model: Any, settings: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        EarlyExits(**settings).accept(tiny_model("bert", **model))
