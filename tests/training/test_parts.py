"""Parts that follow a training: what they are told, what is kept of them, and that nothing of them stays."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, TrainerCallback

from distilnlp.errors import RequestError, RunError
from distilnlp.losses import HardLabel, HiddenState, Objective
from distilnlp.outputs import Needs
from distilnlp.part import Part, Pass, Training
from tests.runs import dataset, largest_difference, make_trainer, snapshot, student_model

ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-3}


class Watch(Part):
    """Notes what it is told."""

    def __init__(self, name: str = "watch") -> None:
        self.name = name
        self.told: list[Any] = []

    def accept(self, student: PreTrainedModel) -> None:
        self.told.append("accept")

    def attach(self, training: Training) -> None:
        self.told.append(("attach", training.seed, training.student is training.model))

    def on_step(self, progress: float) -> None:
        self.told.append(round(progress, 3))

    def finish(self) -> None:
        self.told.append("finish")


class Scale(Part):
    """Scales the student's logits by a learned number while it trains, and counts its steps."""

    name = "scale"

    def __init__(self) -> None:
        self._handle: Any = None
        self.steps = torch.tensor(0)

    def attach(self, training: Training) -> None:
        scale = self.auxiliary_modules = nn.ParameterDict({"by": nn.Parameter(torch.ones(()))})
        classifier = training.student.classifier

        def grow(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output * scale["by"] if module.training else output

        self._handle = classifier.register_forward_hook(grow)
        self.steps = torch.tensor(0)

    def on_step(self, progress: float) -> None:
        self.steps = self.steps + 1

    def state(self) -> Mapping[str, Tensor]:
        return {**super().state(), "steps": self.steps}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.steps = state["steps"]
        super().load_state({name: tensor for name, tensor in state.items() if name != "steps"})

    def finish(self) -> None:
        self._handle.remove()


def test_a_part_is_told_of_every_optimizer_step_and_of_the_end(tmp_path: Path) -> None:
    part = Watch()
    args = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4, "seed": 7}
    trainer = make_trainer(tmp_path, parts=[part], args=args)
    assert part.told == ["accept"]
    trainer.train()
    steps = [round(step / 6, 3) for step in range(1, 7)]
    assert part.told == ["accept", ("attach", 7, True), *steps, "finish"]


def test_a_step_that_fp16_leaves_out_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that overflowed moves nothing, and so nothing follows it."""
    skips = iter([True, False, False, True, False, False])
    monkeypatch.setattr(AcceleratedOptimizer, "step_was_skipped", property(lambda self: next(skips)))
    monkeypatch.setattr(Accelerator, "optimizer_step_was_skipped", False)
    part = Watch()
    make_trainer(tmp_path, parts=[part]).train()
    assert part.told[2:-1] == [round(step / 6, 3) for step in (2, 3, 5, 6)]


def test_a_part_is_finished_also_when_the_training_breaks_off(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            raise RunError("stop")

    part = Scale()
    student = student_model()
    with pytest.raises(RunError, match="stop"):
        make_trainer(tmp_path, model=student, parts=[part], callbacks=[Stop()]).train()
    assert is_plain(student)


def test_a_student_that_a_part_cannot_follow_is_refused_when_the_trainer_is_made(tmp_path: Path) -> None:
    class Never(Watch):
        def accept(self, student: PreTrainedModel) -> None:
            raise RequestError("not this one")

    with pytest.raises(RequestError, match="not this one"):
        make_trainer(tmp_path, parts=[Never()])


@pytest.mark.parametrize("names", [("a", "a"), ("modules",), ("a/b",)])
def test_parts_without_names_of_their_own_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Each writes a file of its name; ``modules`` is the objective's."""
    with pytest.raises(RequestError, match="told apart by name"):
        make_trainer(tmp_path, parts=[Watch(name) for name in names])


def is_plain(student: PreTrainedModel) -> bool:
    hooks = [student._forward_hooks, student._forward_pre_hooks, student.classifier._forward_hooks]
    hooks += [student._state_dict_hooks, student._load_state_dict_post_hooks]
    return not any(hooks) and not [name for name, _ in student.named_modules() if "distilnlp" in name]


def test_auxiliary_modules_are_trained_kept_in_checkpoints_and_in_no_model(tmp_path: Path) -> None:
    student, part = student_model(), Scale()
    plain = set(student.state_dict())
    args = {**ADAMW, "save_strategy": "steps", "save_steps": 3}
    trainer = make_trainer(tmp_path, model=student, parts=[part], args=args)
    trainer.train()
    early, late = (load_file(tmp_path / f"checkpoint-{step}" / "distilnlp_scale.safetensors") for step in (3, 6))
    assert float(early["by"]) != 1.0 and float(early["by"]) != float(late["by"])
    assert (int(early["steps"]), int(late["steps"])) == (3, 6)
    assert set(load_file(tmp_path / "checkpoint-6" / "model.safetensors")) == plain
    assert set(student.state_dict()) == plain and is_plain(student)
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "checkpoint-6")


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    args = {**ADAMW, "save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2}
    students, parts = [student_model(), student_model()], [Scale(), Scale()]
    make_trainer(tmp_path / "whole", model=students[0], parts=[parts[0]], args=args).train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    half = make_trainer(tmp_path / "half", model=students[1], parts=[parts[1]], args=args)
    half.train(resume_from_checkpoint=True)
    assert largest_difference(*students) == 0.0
    first, second = (part.state() for part in parts)
    assert int(first["steps"]) == 12 and all(torch.equal(first[name], second[name]) for name in first)


def test_while_it_trains_the_students_weights_are_those_of_a_plain_model(tmp_path: Path) -> None:
    """Whoever saves or loads them meanwhile, as ``load_best_model_at_end`` does, meets none of a part's."""

    class Look(TrainerCallback):
        def on_step_end(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
            names = {name for name, _ in model.named_parameters()}
            assert "distilnlp_scale.by" in names and any("distilnlp_modules.hidden_state" in name for name in names)
            weights = model.state_dict()
            assert set(weights) == plain
            assert not [*model.load_state_dict(weights).missing_keys]
            with pytest.raises(RuntimeError, match="Missing key"):
                model.load_state_dict({"classifier.bias": weights["classifier.bias"]})

    student = student_model(hidden=16)
    plain = set(student.state_dict())
    make_trainer(tmp_path, model=student, parts=[Scale()], args={"max_steps": 1}, callbacks=[Look()]).train()


def test_the_part_of_the_guide_is_trained(tmp_path: Path) -> None:
    """The code as it stands on the page."""
    page = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "(Part)" in block]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/trainer.md", "exec"), names)
    student = student_model()
    make_trainer(
        tmp_path, model=student, parts=[names["LearnedScale"]()], args={"save_strategy": "epoch", "learning_rate": 0.1}
    ).train()
    assert float(load_file(tmp_path / "checkpoint-6" / "distilnlp_learned_scale.safetensors")["by"]) != 1.0
    assert is_plain(student)


def test_what_was_learned_beside_other_weights_is_not_left_beside_a_model(tmp_path: Path) -> None:
    class Note(Watch):
        def publish(self, folder: Path) -> None:
            (folder / "note.txt").write_text("read me")

    class Offer(Watch):
        def candidates(self) -> Mapping[str, Mapping[str, Tensor]]:
            return {}

    with pytest.raises(RequestError, match="offer may give the student other weights"):
        make_trainer(tmp_path, parts=[Note(), Offer("offer")])


def test_an_optimizer_that_cannot_know_the_auxiliary_modules_is_refused(tmp_path: Path) -> None:
    """They are made when the training begins: it would leave them as they were drawn, and nobody would notice."""
    student = student_model(hidden=16)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    trainer = make_trainer(tmp_path, model=student, optimizers=(optimizer, None))
    with pytest.raises(RequestError, match="optimizer_cls_and_kwargs"):
        trainer.train()
    assert is_plain(student)
    plain = Objective([(1.0, HardLabel())])
    make_trainer(tmp_path, model=student, teacher=None, objective=plain, optimizers=(optimizer, None)).train()


def test_a_second_training_trains_its_own_auxiliary_modules(tmp_path: Path) -> None:
    """Trainer keeps the optimizer of the first, which holds the modules of then."""
    objective = Objective([(1.0, HiddenState())])
    args = {"save_strategy": "steps", "save_steps": 3}
    trainer = make_trainer(tmp_path, model=student_model(hidden=16), objective=objective, args=args)
    trainer.train()
    trainer.train()
    early, late = (load_file(tmp_path / f"checkpoint-{n}" / "distilnlp_modules.safetensors") for n in (3, 6))
    assert all(not torch.equal(early[name], late[name]) for name in early)


def test_a_part_that_does_nothing_changes_nothing(tmp_path: Path) -> None:
    students = [student_model(), student_model()]
    for student, parts in zip(students, ([], [Watch()]), strict=True):
        make_trainer(tmp_path, model=student, parts=parts, train_dataset=dataset()).train()
    assert largest_difference(*students) == 0.0
    assert snapshot(students[0]).keys() == snapshot(students[1]).keys()


class Shrink(Part):
    """Adds the mean square of the student's logits to the loss."""

    name = "shrink"

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.seen: list[Any] = []
        self.evaluated: list[float] = []

    def needs_student(self) -> Needs:
        return Needs(logits=True, hidden_states=frozenset({1}))

    def term(self, step: Pass) -> Tensor:
        with torch.no_grad():
            again = step.model(input_ids=step.batch["input_ids"], attention_mask=step.batch["attention_mask"])
        self.seen.append((sorted(step.student.hidden_states), step.teacher is None, type(again["logits"])))
        return step.student.get_logits().square().mean()

    def on_evaluate(self, metrics: Mapping[str, float]) -> None:
        self.evaluated.append(metrics["eval_loss"])


def test_a_part_adds_a_term_that_is_weighted_logged_and_learned(tmp_path: Path) -> None:
    """The objective reads no hidden state: what a part needs is captured with what the losses need."""
    sizes = []
    for weight in (0.0, 10.0):
        part, student = Shrink(weight), student_model(seed=3)
        args = {"logging_steps": 1, "eval_strategy": "epoch", **ADAMW}
        objective = Objective([(1.0, HardLabel())])
        trainer = make_trainer(
            tmp_path, model=student, teacher=None, parts=[part], objective=objective, args=args, eval_dataset=dataset()
        )
        trainer.train()
        sizes.append(float(student.classifier.weight.detach().square().sum()))
        logs = [log for log in trainer.state.log_history if "loss" in log]
        assert len(part.evaluated) == 1
        if weight == 0:
            assert not part.seen and "raw/shrink" not in logs[0]
            continue
        assert part.seen[0] == ([1], True, Tensor)
        for log in logs:
            assert log["weighted/shrink"] == pytest.approx(10 * log["raw/shrink"])
            assert log["loss"] == pytest.approx(log["weighted/shrink"] + log["weighted/hard_label"], rel=1e-3)
    assert sizes[1] < sizes[0]


def test_what_a_part_leaves_stands_beside_the_model_and_in_no_checkpoint(tmp_path: Path) -> None:
    class Note(Watch):
        def publish(self, folder: Path) -> None:
            (folder / "note.txt").write_text("read me")

    trainer = make_trainer(tmp_path, parts=[Note()], args={"save_strategy": "epoch"})
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    assert (tmp_path / "model" / "note.txt").read_text() == "read me"
    assert not list(tmp_path.glob("**/checkpoint-*/note.txt"))
