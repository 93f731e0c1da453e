"""Branches of one student, and a gate: what each learns from what the gate mixes, and what of it is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, Objective, SoftTarget, get_loss
from distilnlp.losses.schedule import Schedule
from distilnlp.models.capture import Capture, model_info
from distilnlp.outputs import Outputs
from distilnlp.part import Pass, Training
from distilnlp.teachers import Branches
from distilnlp.teachers.branches import mixed
from tests.masked import masked_model
from tests.runs import NAMES, dataset, largest_difference, make_trainer, student_model
from tests.tiny import tiny_model, tiny_tokenizer

ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-3}
ONE = Objective([(1.0, HardLabel()), (1.0, SoftTarget(temperature=3.0))])
EVERY_KIND = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert")


class Step:
    """A student and its branches at work on one batch, without a trainer."""

    def __init__(self, branches: Branches, student: PreTrainedModel, objective: Objective = ONE) -> None:
        self.branches, self.student = branches, student.train()
        branches.accept(student)
        self.objective = objective.resolve(model_info(student), branches.info)
        branches.prepare(torch.device("cpu"), self.objective.needs_teacher())
        branches.attach(Training(student, student, torch.device("cpu"), 0, branches, self.objective))
        self.capture = Capture(student, self.objective.needs_student() | branches.needs_student())
        tokens = tiny_tokenizer()(["the film was good", "a dull book", "blue"], padding=True)
        self.batch = {name: torch.tensor(value) for name, value in tokens.items()} | {
            "labels": torch.tensor([1, 0, 2])
        }

    def losses(self) -> tuple[Outputs, Outputs, Tensor, Tensor]:
        """What the student gave and was told, its loss, and the rest of the loss."""
        self.capture.start()
        columns = {name: self.batch[name] for name in self.batch.keys() & self.branches.columns - {"labels"}}
        logits = self.student(**columns).logits
        own = self.capture.finish(logits, self.batch["attention_mask"])
        self.branches.hear(own)
        told = self.branches(self.batch)
        total, _ = self.objective(own, told, self.batch)
        return own, told, total, self.branches.term(Pass(self.student, own, told, self.batch, 0.0))


def quiet(kind: str = "bert", **changes: Any) -> PreTrainedModel:
    return student_model(kind, **{"dropout": False, "layers": 3, "seed": 5, **changes})


def parts(branches: Branches) -> tuple[list[PreTrainedModel], torch.nn.Linear]:
    modules = branches.auxiliary_modules
    return list(modules["models"]), modules["gate"]


def test_the_gate_mixes_as_in_the_paper() -> None:
    logits = [torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[3.0, 2.0, 0.0]])]
    assert mixed(logits, torch.tensor([[0.25, 0.75]])).tolist() == [[2.75, 1.5, 0.25]]


def test_the_gate_mixes_the_logits_of_tokens_too() -> None:
    logits = [torch.randn(2, 5, 3) for _ in range(3)]
    gates = torch.randn(2, 3).softmax(-1)
    expected = sum(gates[:, place, None, None] * each for place, each in enumerate(logits))
    torch.testing.assert_close(mixed(logits, gates), expected)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_all_learn_from_the_labels_and_from_what_the_gate_mixes(kind: str) -> None:
    """sum CE(z_i) + CE(z_e) + T^2 sum KL(p_e || p_i), the branches run again as whole models."""
    branches = Branches(count=2, layers=1, ensemble_weight=0.5)
    step = Step(branches, quiet(kind))
    own, told, total, term = step.losses()
    gate = parts(branches)[1]
    hidden, mask = own.hidden_states[2], step.batch["attention_mask"][..., None]
    gates = F.linear((hidden * mask).sum(1) / mask.sum(1), gate.weight, gate.bias).softmax(-1)
    branches.finish()
    logits = [
        model(**{name: step.batch[name] for name in step.batch.keys() & branches.columns - {"labels"}}).logits
        for model in branches.models
    ]
    torch.testing.assert_close(logits[0], own.get_logits())
    assert not torch.allclose(logits[0], logits[1]) and not torch.allclose(logits[1], logits[2])
    z_e = sum(gates[:, place, None] * each for place, each in enumerate(logits))
    torch.testing.assert_close(told.get_logits(), z_e)
    p = (z_e / 3).softmax(-1)
    expected = [
        F.cross_entropy(each, step.batch["labels"]) + 9 * (p * (p.log() - (each / 3).log_softmax(-1))).sum(-1).mean()
        for each in logits
    ]
    torch.testing.assert_close(total, expected[0])
    torch.testing.assert_close(term, 0.5 * F.cross_entropy(z_e, step.batch["labels"]) + expected[1] + expected[2])


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_weight_of_a_branch_and_the_gate_learns(kind: str) -> None:
    step = Step(branches := Branches(count=1, layers=1), quiet(kind))
    step.losses()[3].backward()
    (branch,), gate = parts(branches)
    without = [name for name, weight in branch.named_parameters() if weight.grad is None]
    assert not without and gate.weight.grad.any()
    assert not any("embedding" in name for name, _ in branch.named_parameters() if "rel_embeddings" not in name)


def test_no_branch_learns_from_another_and_the_shared_layers_from_all() -> None:
    step = Step(branches := Branches(count=1), quiet())
    _, told, total, term = step.losses()
    (branch,), gate = parts(branches)
    assert not told.get_logits().requires_grad
    total.backward(retain_graph=True)
    assert all(weight.grad is None for weight in [*branch.parameters(), *gate.parameters()])

    step.student.zero_grad()
    branches.ensemble_weight = 0.0
    step.losses()[3].backward()
    own = {name for name, weight in step.student.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert own and all("layer.2." in name or "pooler" in name or "classifier" in name for name in own)
    assert term.requires_grad


def test_a_text_is_mixed_without_its_padding() -> None:
    step = Step(Branches(), quiet())
    told = step.losses()[1].get_logits()
    step.batch = {name: F.pad(each, (0, 3)) if each.ndim == 2 else each for name, each in step.batch.items()}
    torch.testing.assert_close(step.losses()[1].get_logits(), told)


def train(folder: Path, branches: Branches, student: PreTrainedModel, **changes: Any) -> Any:
    args = {**ADAMW, **changes.pop("args", {})}
    trainer = make_trainer(folder, model=student, teacher=branches, objective=ONE, args=args, **changes)
    trainer.train(resume_from_checkpoint=changes.get("resume"))
    return trainer


def test_what_is_saved_is_as_large_as_ever_and_what_is_kept_answers(tmp_path: Path) -> None:
    student = quiet()
    before = {name: tuple(tensor.shape) for name, tensor in student.state_dict().items()}
    branches = Branches(count=2)
    trainer = train(tmp_path, branches, student, args={"num_train_epochs": 2})
    trainer.save_model(str(tmp_path / "model"))
    saved = load_file(tmp_path / "model" / "model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in saved.items()} == before
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert largest_difference(plain, student) == 0.0
    assert not [name for name, module in student.named_modules() if "distilnlp" in name or module._forward_hooks]
    assert len(branches.models) == 3 and largest_difference(branches.models[0], student) == 0.0
    batch = dict(tiny_tokenizer()(["the good film", "red"], padding=True, return_tensors="pt"))
    alone = torch.stack([model(**batch).logits for model in branches.models]).detach()
    together = branches.ensemble(batch)
    assert ((alone.amin(0) <= together) & (together <= alone.amax(0))).all()
    shared, own = "bert.encoder.layer.1.output.dense.weight", "bert.encoder.layer.2.output.dense.weight"
    weights = [model.state_dict() for model in branches.models]
    assert torch.equal(weights[0][shared], weights[1][shared])
    assert not torch.equal(weights[0][own], weights[1][own])


def test_a_resumed_training_ends_with_the_same_branches(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2, **ADAMW}

    def trainer(folder: str, branches: Branches) -> Any:
        student = student_model(layers=3)
        return make_trainer(tmp_path / folder, model=student, teacher=branches, objective=ONE, args=args)

    both = [Branches(), Branches()]
    trainer("whole", both[0]).train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    trainer("half", both[1]).train(resume_from_checkpoint=True)
    assert all(largest_difference(*models) == 0.0 for models in zip(both[0].models, both[1].models, strict=True))
    assert largest_difference(both[0]._gate, both[1]._gate) == 0.0


def test_the_student_may_end_with_the_best_branch(tmp_path: Path) -> None:
    student = student_model(layers=3)
    args = {"metric_for_best_model": "accuracy", "num_train_epochs": 2}
    trainer = train(tmp_path, branches := Branches(saved="best"), student, args=args, eval_dataset=dataset(20, 1))
    scores = trainer.candidate_scores
    assert scores.keys() == {"student", "branch_1", "branch_2"}
    best = next(iter(scores))
    place = 0 if best == "student" else int(best.removeprefix("branch_"))
    assert largest_difference(student, branches.models[place]) == 0.0
    assert trainer.evaluate()["eval_accuracy"] == max(scores.values())


@pytest.mark.parametrize("start", ["head", "random"])
def test_branches_begin_with_heads_of_their_own(start: str) -> None:
    step = Step(branches := Branches(count=2, start=start), quiet())
    one, two = parts(branches)[0]
    own = "bert.encoder.layer.2.output.dense.weight"
    student = step.student.state_dict()
    assert torch.equal(one.state_dict()[own], student[own]) == (start == "head")
    heads = [model["classifier.weight"] for model in (student, one.state_dict(), two.state_dict())]
    assert not any(torch.equal(heads[a], heads[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_a_weight_that_begins_at_0_trains_the_branches_from_the_first_step(tmp_path: Path) -> None:
    """The student asks nobody then, and the others learn from the labels all the same."""
    rising = Objective([(1.0, HardLabel()), (Schedule("linear", 0.0, 1.0), SoftTarget())])
    branches = Branches(count=1, start="head")
    trainer = make_trainer(
        tmp_path, model=student_model(layers=3), teacher=branches, objective=rising, args={**ADAMW, "max_steps": 1}
    )
    before = trainer.student.state_dict()["bert.encoder.layer.2.output.dense.weight"].clone()
    trainer.train()
    after = [model.state_dict()["bert.encoder.layer.2.output.dense.weight"] for model in branches.models]
    assert not any(torch.equal(each, before) for each in after) and not torch.equal(*after)


def test_the_students_dropout_is_what_it_was(tmp_path: Path) -> None:
    """Nothing is drawn of the global generator when branches are made; without a term they train nothing of it."""
    student = student_model(layers=3)
    state = torch.random.get_rng_state()
    Step(Branches(), student)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_other_heads_branch_too() -> None:
    for problem, labels in (("regression", torch.tensor([0.1, 0.5, 0.9])), ("multi_label_classification", None)):
        names = None if problem == "regression" else NAMES
        student = quiet(problem_type=problem, label_names=names, num_labels=1)
        loss = "logit_mse" if problem == "regression" else "response"
        step = Step(Branches(), student, Objective([(1.0, HardLabel()), (1.0, get_loss(loss))]))
        step.batch["labels"] = torch.randint(0, 2, (3, 3)).float() if labels is None else labels
        assert step.losses()[3].isfinite()


def test_settings_that_mean_nothing_are_refused() -> None:
    for settings, key in (({"count": 0}, "count"), ({"layers": 0}, "layers"), ({"ensemble_weight": 0.0}, None)):
        with pytest.raises(RequestError) as caught:
            Branches(**settings)
        assert [*caught.value.key] == [key or "ensemble_weight"]


@pytest.mark.parametrize(
    ("student", "settings", "message"),
    [
        (lambda: quiet(), {"layers": 3}, "share no layer of .*, which has 3: set layers to 2 or less"),
        (lambda: quiet(layers=1), {}, "which has 1: take peers"),
        (lambda: tiny_model("albert", layers=3), {}, "share their weights"),
        (lambda: masked_model(), {}, "the student is for masked_lm"),
    ],
)
def test_a_student_without_a_place_for_branches_is_refused(student: Any, settings: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Branches(**settings).accept(student())


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ([(1.0, HardLabel()), (1.0, HiddenState())], "compares more"),
        ([(1.0, SoftTarget())], "add hard_label"),
    ],
)
def test_an_objective_that_would_not_do_is_refused(tmp_path: Path, objective: Any, message: str) -> None:
    trainer = make_trainer(tmp_path, model=quiet(), teacher=Branches(), objective=Objective(objective))
    with pytest.raises(RequestError, match=message):
        trainer.train()


def test_the_best_branch_needs_data_to_find_it(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, model=quiet(), teacher=Branches(saved="best"), objective=ONE)
    with pytest.raises(RequestError, match="no data to find the best by"):
        trainer.train()
