"""A student of several tasks in the trainer: which weights learn from what, resuming, measuring, what is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, Features, List, Value
from transformers import TrainingArguments

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, Objective, Response, Schedule, TeacherAnnealing
from distilnlp.models.task_heads import join_tasks, split_task
from distilnlp.parts import EarlyExits
from distilnlp.teachers import ByTaskTeacher, EMATeacher, load_teacher
from distilnlp.training.trainer import DistillationTrainer
from tests.tiny import tiny_model, tiny_tokenizer, toy_dataset

ANNEALED = Objective([(1.0, TeacherAnnealing(), {"label_share": Schedule("linear", 0.0, 1.0)})])


def labels(count: int) -> list[str]:
    return [f"class_{place}" for place in range(count)]


def alone(count: int, layers: int = 1) -> Any:
    return tiny_model("bert", layers=layers, label_names=labels(count), seed=5)


def student() -> Any:
    return join_tasks({"a": alone(3), "b": alone(2)})


def teachers(**members: Any) -> ByTaskTeacher:
    """Of other sizes; that of a counts its labels in another order."""
    first = tiny_model("bert", label_names=labels(3)[::-1], seed=1)
    second = tiny_model("bert", label_names=labels(2), seed=2, hidden=16)
    tokenizer = tiny_tokenizer()
    return ByTaskTeacher({"a": load_teacher(first, tokenizer), "b": load_teacher(second, tokenizer)} | members)


def data(rows: int = 40, seed: int = 0) -> dict[str, Dataset]:
    """Single texts and pairs."""
    return {"a": toy_dataset(rows, seed), "b": toy_dataset(rows // 2, seed + 1, classes=2, pair=True)}


def make(folder: Path, args: dict[str, Any] | None = None, **settings: Any) -> DistillationTrainer:
    given = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    given |= {"per_device_train_batch_size": 4, "num_train_epochs": 1, "learning_rate": 1e-3}
    settings = {"model": student(), "teacher": teachers(), "objective": ANNEALED, "train_dataset": data()} | settings
    return DistillationTrainer(
        args=TrainingArguments(str(folder), **{**given, **(args or {})}), processing_class=tiny_tokenizer(), **settings
    )


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in model.named_parameters()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(each, second[name]) for name, each in first.items())


def test_the_gradient_of_a_step_reaches_the_head_of_its_task_and_no_other(tmp_path):
    trainer = make(tmp_path)
    seen = []

    def note(self: Any, *args: Any, **kwargs: Any) -> None:
        rows = trainer.student.classifier.weight.grad.abs().sum(dim=1) > 0
        body = trainer.student.bert.encoder.layer[0].output.dense.weight.grad
        seen.append((rows.tolist(), bool(body.abs().sum() > 0)))

    trainer.create_optimizer().register_step_pre_hook(note)
    trainer.train()
    expected = {"a": ([True] * 3 + [False] * 2, True), "b": ([False] * 3 + [True] * 2, True)}
    assert len(seen) == 15
    assert {str(each) for each in seen} == {str(each) for each in expected.values()}


def test_the_teachers_stay_as_they_are_and_every_head_learns(tmp_path):
    both = teachers()
    before = {name: weights(each.model) for name, each in both.members.items()}
    trainer = make(tmp_path, teacher=both)
    start = weights(trainer.student)
    trainer.train()
    assert all(equal(before[name], weights(each.model)) for name, each in both.members.items())
    moved = (trainer.student.classifier.weight - start["classifier.weight"]).abs().sum(dim=1)
    assert bool((moved > 0).all())


def test_what_a_task_learns_by_is_what_it_would_learn_by_alone(tmp_path):
    """The loss of a batch is that of a training of its task alone, layers and order of labels included."""
    objective = Objective([(0.5, HardLabel()), (1.0, Response()), (2.0, HiddenState())])
    both = make(tmp_path, objective=objective)
    models = {name: split_task(both.student, name) for name in "ab"}
    both.create_optimizer()
    both._prepare_teacher()
    for name, model in models.items():
        one = make(
            tmp_path, model=model, teacher=teachers().members[name], objective=objective, train_dataset=data()[name]
        )
        one.create_optimizer()
        one._prepare_teacher()
        for each in (both, one):
            each.model.train()
            each.current_gradient_accumulation_steps = 1  # as Trainer says in its loop
        part = both.train_dataset.parts[name].select(range(4))
        batch = both.data_collator([part[place] for place in range(4)])
        plain = {key: tensor for key, tensor in batch.items() if key != "task_id"}
        for modules in (both._hook._modules, one._hook._modules):  # projections, where widths differ
            for parameter in modules.parameters():
                torch.nn.init.constant_(parameter, 0.01)
        torch.manual_seed(7)
        together = both.compute_loss(both.model, batch)
        torch.manual_seed(7)
        apart = one.compute_loss(one.model, plain)
        torch.testing.assert_close(together, apart)
        for each, loss in ((both, together), (one, apart)):
            each.model.zero_grad()
            loss.backward()
        theirs = dict(one.student.base_model.named_parameters())
        for key, parameter in both.student.base_model.named_parameters():
            torch.testing.assert_close(parameter.grad, theirs[key].grad)
        one._parts.finish()
    both._parts.finish()


@pytest.mark.parametrize("args", [{"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}])
def test_micro_batches_are_of_the_task_of_their_step(tmp_path, args):
    without_dropout = {"model": join_tasks({"a": plain(3), "b": plain(2)})}
    whole = make(tmp_path, {"per_device_train_batch_size": 8, "optim": "sgd"}, **copy.deepcopy(without_dropout))
    parts = make(tmp_path, {**args, "optim": "sgd"}, **without_dropout)
    for each in (whole, parts):
        each.train()
    for name, one in weights(whole.student).items():
        torch.testing.assert_close(one, weights(parts.student)[name], rtol=1e-4, atol=1e-6)


def plain(count: int) -> Any:
    no = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return tiny_model("bert", layers=1, label_names=labels(count), seed=5, **no)


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 15, 22])
def test_a_training_that_goes_on_ends_with_the_same_weights(tmp_path, step):
    args = {"save_strategy": "steps", "save_steps": 1, "num_train_epochs": 2, "eval_strategy": "epoch"}
    objective = Objective(
        [(1.0, TeacherAnnealing(), {"label_share": Schedule("linear", 0.0, 1.0)}), (1.0, HiddenState())]
    )
    settings = {"objective": objective, "eval_dataset": data(8, seed=3)}
    whole = make(tmp_path, args, **settings)
    whole.train()
    again = make(tmp_path / "again", args, **settings)
    torch.rand(3)
    again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert again.state.global_step == 30
    assert equal(weights(whole.student), weights(again.student))


def test_each_task_is_measured_as_its_model_alone_is_and_the_mean_is_told(tmp_path):
    held_out = data(24, seed=9)
    trainer = make(tmp_path, eval_dataset=held_out)
    trainer.train()
    told = trainer.evaluate()
    for name in "ab":
        model = split_task(trainer.student, name)
        one = make(tmp_path, model=model, teacher=None, objective=None, train_dataset=data()[name])
        found = one.evaluate(held_out[name])
        for key in ("loss", "accuracy", "macro_f1"):
            assert told[f"eval_{name}_{key}"] == pytest.approx(found[f"eval_{key}"], abs=1e-6)
    assert told["eval_mean"] == pytest.approx((told["eval_a_accuracy"] + told["eval_b_accuracy"]) / 2)
    assert told["eval_loss"] == pytest.approx((told["eval_a_loss"] + told["eval_b_loss"]) / 2)
    assert trainer.evaluate({"b": held_out["b"]})["eval_b_accuracy"] == told["eval_b_accuracy"]


def test_the_best_checkpoint_is_that_of_the_best_mean(tmp_path):
    args = {"eval_strategy": "epoch", "save_strategy": "epoch", "num_train_epochs": 3}
    args |= {"load_best_model_at_end": True, "metric_for_best_model": "mean"}
    trainer = make(tmp_path, args, eval_dataset=data(24, seed=9))
    trainer.train()
    means = [entry["eval_mean"] for entry in trainer.state.log_history if "eval_mean" in entry]
    assert trainer.state.best_metric == max(means)
    assert trainer.evaluate()["eval_mean"] == pytest.approx(max(means))


def test_tasks_of_three_kinds_learn_together(tmp_path):
    """Classes, several labels and a number, each by the loss between logits that fits."""
    texts = [f"the film was {word}" for word in ("good", "bad", "blue", "red", "one", "two", "dull", "fine")]
    hot = Features({"text": Value("string"), "label": List(Value("float32"))})
    train = {
        "a": toy_dataset(24, 0),
        "tags": Dataset.from_dict({"text": texts, "label": [[1.0, 0.0], [0.0, 1.0]] * 4}, features=hot),
        "stars": Dataset.from_dict({"text": texts, "label": [0.5 * place for place in range(8)]}),
    }
    kinds = {
        "a": {"label_names": labels(3)},
        "tags": {"label_names": ["x", "y"], "problem_type": "multi_label_classification"},
        "stars": {"num_labels": 1, "problem_type": "regression"},
    }
    members = {
        name: load_teacher(tiny_model("bert", seed=4, **kind), tiny_tokenizer()) for name, kind in kinds.items()
    }
    model = join_tasks({name: tiny_model("bert", layers=1, **kind) for name, kind in kinds.items()})
    objective = Objective([(0.5, HardLabel()), (0.5, Response())])
    log = {"logging_strategy": "steps", "logging_steps": 1}
    settings = {"model": model, "teacher": ByTaskTeacher(members), "objective": objective, "train_dataset": train}
    trainer = make(tmp_path, log, **settings, eval_dataset=train)
    trainer.train()
    told = trainer.evaluate()
    assert {"eval_a_accuracy", "eval_tags_micro_average_precision", "eval_stars_pearson", "eval_mean"} <= told.keys()
    assert all(entry["raw/response"] > 0 for entry in trainer.state.log_history if "raw/response" in entry)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_dataset": toy_dataset(8, 0)}, "train_dataset is a Dataset, and the student has the tasks a, b"),
        ({"train_dataset": {"a": toy_dataset(8, 0)}}, "train_dataset has no data of the task b"),
        ({"train_dataset": {**data(), "c": toy_dataset(8, 0)}}, "train_dataset is of a, b, c"),
        ({"train_dataset": {**data(), "b": toy_dataset(8, 0)}}, r"\['b'\] has the label 2 and the head has 2 classes"),
        ({"train_dataset": {**data(), "b": toy_dataset(8, 0).to_iterable_dataset()}}, r"\['b'\] is a Iterable"),
        ({"teacher": load_teacher(alone(3), tiny_tokenizer())}, "FrozenTeacher is one teacher: give each its own"),
        ({"teacher": EMATeacher(decay=0.9)}, "EMATeacher is one teacher"),
        ({"teacher": teachers(b=load_teacher(alone(3), tiny_tokenizer()))}, "task b: .*labels"),
        ({"model": alone(3)}, "the teacher is of the tasks a, b, and the student of one"),
        ({"parts": [EarlyExits()]}, "early_exits follows a model of one task"),
        ({"args": {"train_sampling_strategy": "sequential"}}, "train_sampling_strategy is sequential"),
        ({"objective": Objective([(1.0, HardLabel(pos_weight=2.0))]), "teacher": None}, "task a: pos_weight"),
        ({"objective": Objective([(1.0, HardLabel())])}, "task a: a teacher is given and no term"),
        ({"eval_dataset": {"c": toy_dataset(8, 0)}}, "eval_dataset is of c"),
        ({"eval_dataset": {"a": toy_dataset(8, 0).remove_columns("label")}}, "has no labels to measure by"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_step_0(tmp_path, settings, message):
    with pytest.raises(RequestError, match=message):
        make(tmp_path, **settings)
