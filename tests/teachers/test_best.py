"""The best student so far teaches a worse one, and only a worse one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from distilnlp.errors import RequestError, RunError
from distilnlp.losses import HardLabel, Objective, SoftTarget
from distilnlp.outputs import Needs
from distilnlp.part import Training
from distilnlp.teachers import BestTeacher
from tests.runs import arguments, dataset, largest_difference, make_trainer, student_model

OBJECTIVE = Objective([(1.0, HardLabel()), (1.0, SoftTarget())])
BATCH = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}


def begun(folder: Path, **args: Any) -> BestTeacher:
    teacher, student = BestTeacher(), student_model()
    teacher.accept(student)
    teacher.prepare(torch.device("cpu"), Needs(logits=True))
    made = arguments(folder, eval_strategy="epoch", **args)
    teacher.attach(Training(student, student, torch.device("cpu"), 0, teacher, arguments=made, evaluates=True))
    return teacher


@pytest.mark.parametrize(
    ("args", "scores", "expected"),
    [
        ({}, [0.9, 0.7, 0.8, 0.7, 0.5], [(0.9, 0), (0.7, 0), (0.7, 1), (0.7, 0), (0.5, 0)]),
        ({"metric_for_best_model": "accuracy"}, [0.5, 0.4, 0.6, 0.6], [(0.5, 0), (0.5, 1), (0.6, 0), (0.6, 0)]),
        ({"metric_for_best_model": "error", "greater_is_better": False}, [3, 4, 2], [(3, 0), (3, 1), (2, 0)]),
        ({}, [float("nan"), 0.5, float("nan")], [(None, 0), (0.5, 0), (0.5, 1)]),
    ],
    ids=["loss", "accuracy", "the smaller the better", "no number"],
)
def test_it_is_the_best_so_far_and_answers_while_the_student_is_worse(
    tmp_path: Path, args: dict[str, Any], scores: list[float], expected: list[tuple[float | None, int]]
) -> None:
    teacher = begun(tmp_path, **args)
    metric = f"eval_{args.get('metric_for_best_model', 'loss')}"
    found = []
    for score in scores:
        teacher.on_evaluate({metric: score})
        found.append((teacher.score, int(teacher(BATCH) != ())))
    assert found == expected


class Watch(TrainerCallback):
    """The teacher's score and whether it teaches, after each evaluation."""

    def __init__(self, teacher: BestTeacher) -> None:
        self.teacher = teacher
        self.seen: list[tuple[float, float, bool]] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        if self.teacher.score is not None:
            self.seen.append((self.teacher.score, self.teacher.notes["student_is_worse"], self.teacher.teaches))


def test_its_score_never_gets_worse_and_its_terms_count_where_the_student_is_worse(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At a learning rate at which the loss goes up and down."""
    caplog.set_level("INFO", "distilnlp")
    teacher = BestTeacher()
    watch = Watch(teacher)
    args = {"eval_strategy": "steps", "eval_steps": 1, "logging_steps": 1, "learning_rate": 0.5, "num_train_epochs": 3}
    settings = {"teacher": teacher, "objective": OBJECTIVE, "eval_dataset": dataset(20, seed=1)}
    trainer = make_trainer(tmp_path, args=args, callbacks=[watch], **settings)
    trainer.train()
    losses = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    best = [min(losses[: place + 1]) for place in range(len(losses))]
    assert [score for score, _, _ in watch.seen] == best[:-1]
    taught = [log["raw/soft_target"] > 0 for log in trainer.state.log_history if "raw/soft_target" in log]
    worse = [loss > least for loss, least in zip(losses, best, strict=True)]
    assert taught[1:] == worse[:-1] and not taught[0]
    assert any(taught) and not all(taught[1:])
    assert f"taught in {sum(taught)} of {len(taught)} steps" in caplog.text
    assert (largest_difference(teacher.model, trainer.student) > 0) == worse[-1]


def test_without_evaluations_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="set eval_strategy to steps or epoch"):
        make_trainer(tmp_path, teacher=BestTeacher(), objective=OBJECTIVE).train()


def test_a_loss_that_no_evaluation_gives_stops_the_training(tmp_path: Path) -> None:
    """Of several sets each has a loss of its own name, and none is the default's."""
    args, sets = {"eval_strategy": "steps", "eval_steps": 1}, {"a": dataset(8), "b": dataset(8, seed=1)}
    trainer = make_trainer(tmp_path, teacher=BestTeacher(), objective=OBJECTIVE, args=args, eval_dataset=sets)
    with pytest.raises(RunError, match=r"no evaluation gave eval_loss.*eval_a_accuracy.*eval_b_loss"):
        trainer.train()


def test_of_several_sets_the_one_that_has_the_metric_counts(tmp_path: Path) -> None:
    teacher = BestTeacher()
    args = {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "eval_b_accuracy", "max_steps": 2}
    sets = {"a": dataset(8), "b": dataset(8, seed=1)}
    trainer = make_trainer(tmp_path, teacher=teacher, objective=OBJECTIVE, args=args, eval_dataset=sets)
    trainer.train()
    assert teacher.score == max(
        log["eval_b_accuracy"] for log in trainer.state.log_history if "eval_b_accuracy" in log
    )
