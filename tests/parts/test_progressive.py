"""One layer after the other: what moves in each stage, to the bit, and what moves it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import TrainerCallback

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective
from distilnlp.models.capture import model_info
from distilnlp.parts import Progressive
from tests.runs import largest_difference, make_trainer, snapshot, student_model, teacher_model
from tests.tiny import tiny_model

LABELS = Objective([(1.0, HardLabel())])
# What would move a weight without a gradient, if anything did.
ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-3, "weight_decay": 0.5, "num_train_epochs": 2}
NARROW = {"hidden": 16}


class Look(TrainerCallback):
    """Notes which parts of the model each step moves, auxiliary modules included."""

    def __init__(self) -> None:
        self.moved: list[set[str]] = []

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: each.detach().clone() for name, each in model.named_parameters()}

    def on_step_begin(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
        self.before = self.weights(model)

    def on_step_end(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
        found = {name for name, each in self.weights(model).items() if not torch.equal(each, self.before[name])}
        self.moved.append({place_of(name) for name in found})


def place_of(name: str) -> str:
    """``layer 1``, ``projection 1``, or ``rest``."""
    parts = name.split(".")
    if parts[0] == "distilnlp_progressive":
        return f"projection {parts[1]}"
    return f"layer {int(parts[parts.index('layer') + 1]) + 1}" if "layer" in parts else "rest"


def trainer(folder: Path, part: Progressive, student: dict[str, Any] = NARROW, **changes: Any) -> Any:
    settings = {"model": student_model(**student), "objective": LABELS, "parts": [part], **changes}
    return make_trainer(folder, **{**settings, "args": {**ADAMW, **changes.get("args", {})}})


def test_in_each_stage_one_layer_moves_and_its_projection_and_then_all_but_these(tmp_path: Path) -> None:
    """12 steps: 3 for each layer, and 6 for the whole."""
    look = Look()
    part = Progressive(until=0.5, losses={"mobilebert": {}})
    made = trainer(tmp_path, part, callbacks=[look])
    teacher = snapshot(made.teacher.model)
    made.train()
    assert look.moved[:3] == [{"layer 1", "projection 1"}] * 3
    assert look.moved[3:6] == [{"layer 2", "projection 2"}] * 3
    assert look.moved[6:] == [{"layer 1", "layer 2", "rest"}] * 6
    assert all(torch.equal(teacher[name], each) for name, each in made.teacher.model.state_dict().items())
    assert all(each.requires_grad for each in made.student.parameters())


def test_the_objective_trains_nothing_during_the_stages(tmp_path: Path) -> None:
    """Another weight of it, the same layer: the loss that it adds has no gradient."""
    students = []
    for weight in (1.0, 5.0):
        objective = Objective([(weight, HardLabel())])
        args = {"max_steps": 6, "optim": "sgd", "learning_rate": 1e-3}
        made = trainer(tmp_path, Progressive(until=0.99), objective=objective, student={}, args=args)
        made.train()
        students.append(made.student)
    assert largest_difference(*students) == 0


def test_the_losses_of_a_layer_fall_in_its_stage_and_are_logged(tmp_path: Path) -> None:
    args = {"num_train_epochs": 6, "logging_steps": 1}
    made = trainer(tmp_path, Progressive(until=0.5, losses={"hidden_state": {}}), student={}, args=args)
    made.train()
    logged = [entry["raw/progressive"] for entry in made.state.log_history if "raw/progressive" in entry]
    assert logged[8] < logged[0] and logged[17] < logged[9]
    assert not any(logged[18:])


def test_after_the_stages_the_teacher_is_asked_no_more(tmp_path: Path) -> None:
    asked: list[int] = []
    teacher = teacher_model()
    teacher.bert.embeddings.register_forward_pre_hook(lambda module, args: asked.append(1))
    trainer(tmp_path, Progressive(until=0.5), student={}, teacher=teacher).train()
    assert len(asked) == 6


def test_a_resumed_training_goes_on_in_its_stage(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 4}
    whole = trainer(tmp_path / "whole", Progressive(losses={"mobilebert": {}}), args=args)
    whole.train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    half = trainer(tmp_path / "half", Progressive(losses={"mobilebert": {}}), args=args)
    half.train(resume_from_checkpoint=True)
    assert largest_difference(whole.student, half.student) == 0
    file = "checkpoint-12/distilnlp_progressive.safetensors"
    one, two = load_file(tmp_path / "whole" / file), load_file(tmp_path / "half" / file)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"until": 0.0}, "until", "between 0 and 1"),
        ({"until": 1.0}, "until", "trains the whole student"),
        ({"weight": -1.0}, "weight", "positive"),
        ({"losses": {}}, "losses", "no term"),
        ({"losses": {"soft_target": {}}}, "losses", "compares no mapped layers"),
        ({"losses": {"mobilebert": {"layer_map": "last"}}}, "losses", "give progressive one"),
        ({"losses": {"mobilebert": {"mean_factor": -1.0}}}, "losses", "at least 0"),
        ({"layer_map": "sideways"}, "layer_map", "unknown layer map 'sideways'"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        Progressive(**settings)
    assert [*caught.value.key] == [key]


def test_a_layer_that_nothing_is_mapped_to_is_refused() -> None:
    part = Progressive(layer_map="final", losses={"mobilebert": {}})
    part.accept(student_model())
    with pytest.raises(RequestError, match="has none for layer 1"):
        part.meet(model_info(teacher_model()))


def test_without_a_teacher_or_with_shared_layers_it_is_refused() -> None:
    part = Progressive()
    part.accept(student_model())
    with pytest.raises(RequestError, match="there is none"):
        part.meet(None)
    with pytest.raises(RequestError, match="share their weights"):
        part.accept(tiny_model("albert"))
