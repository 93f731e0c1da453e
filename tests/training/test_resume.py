"""A training that goes on from any of its checkpoints ends with the same weights, bit for bit."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import IterableDataset
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState

from distilnlp.errors import RunError
from distilnlp.losses import HardLabel, HiddenState, Objective, Schedule, SoftTarget
from distilnlp.recipe import LoraSpec
from distilnlp.run.models import add_adapter
from distilnlp.teachers import AverageTeacher, BestTeacher, CacheSettings, EMATeacher, Peers, SnapshotTeacher
from distilnlp.training.trainer import DistillationTrainer
from tests.runs import dataset, make_trainer, snapshot, student_model

# 44 rows in batches of 8: 6 steps an epoch, the last of which is half empty.
STEPS = {
    "optim": "adamw_torch",
    "learning_rate": 1e-3,
    "num_train_epochs": 2,
    "save_strategy": "steps",
    "save_steps": 1,
}
BREAKS = (2, 6)  # within an epoch, and its last step; the last one of all is added


def fading() -> Objective:
    fades = Schedule("linear", 1.0, 0.0, until=0.6)
    return Objective([(1.0, HardLabel()), (fades, SoftTarget()), (fades, HiddenState())])


def stream() -> IterableDataset:
    """16 rows, which are read again and again."""
    return dataset(16).to_iterable_dataset(num_shards=2).shuffle(seed=3, buffer_size=4)


EPOCH = {"eval_strategy": "epoch"}
CYCLES = {**EPOCH, "lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 4}}
Settings = Callable[[], dict[str, Any]]
CASES: dict[str, tuple[dict[str, Any], Settings]] = {
    "nothing besides": ({}, dict),
    "evaluated at the end of the epoch": (EPOCH, dict),
    "evaluated and logged every two steps": ({"eval_strategy": "steps", "eval_steps": 2, "logging_steps": 1}, dict),
    "evaluated at the start": ({**EPOCH, "eval_on_start": True}, dict),
    "logged at the end of the epoch": ({"logging_strategy": "epoch"}, dict),
    "a rate that follows the evaluation": (
        {
            **EPOCH,
            "lr_scheduler_type": "reduce_lr_on_plateau",
            "lr_scheduler_kwargs": {"patience": 0, "threshold": 9.0},
        },
        dict,
    ),
    "a rate that falls": ({"lr_scheduler_type": "cosine", "warmup_steps": 3, "max_grad_norm": 0.5}, dict),
    "two workers": ({**EPOCH, "dataloader_num_workers": 2}, dict),
    "accumulation that does not divide the epoch": (
        {**EPOCH, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        dict,
    ),
    "the last rows dropped": ({**EPOCH, "dataloader_drop_last": True}, dict),
    "grouped by length": ({**EPOCH, "train_sampling_strategy": "group_by_length"}, dict),
    "balanced over the processes": ({**EPOCH, "train_sampling_strategy": "batch_rebalance"}, dict),
    "in the order of the rows": ({**EPOCH, "train_sampling_strategy": "sequential"}, dict),
    "a seed of its own for the rows": ({**EPOCH, "data_seed": 5}, dict),
    "a teacher that follows the student": (EPOCH, lambda: {"teacher": EMATeacher(decay=0.9)}),
    "a decay that warms up": (EPOCH, lambda: {"teacher": EMATeacher(decay=0.9, decay_warmup=True)}),
    "the mean of the last students": (EPOCH, lambda: {"teacher": AverageTeacher(last=3)}),
    "the mean of every second student": (EPOCH, lambda: {"teacher": AverageTeacher(every=2, start=0.1)}),
    "the best student so far": (
        {"eval_strategy": "steps", "eval_steps": 1, "learning_rate": 0.1},
        lambda: {"teacher": BestTeacher()},
    ),
    "snapshots of cycles": (CYCLES, lambda: {"teacher": SnapshotTeacher()}),
    "peers": (EPOCH, lambda: {"teacher": Peers(count=2)}),
    "the best of the peers": (EPOCH, lambda: {"teacher": Peers(saved="best")}),
    "peers that are taught by old copies": (EPOCH, lambda: {"teacher": Peers(refresh=4, burn_in=0.1)}),
    "answers from the disk": (EPOCH, lambda: {"cache": CacheSettings(use="always")}),
    "answers of the live teacher": (EPOCH, lambda: {"cache": CacheSettings(use="never")}),
    "weights that change": (EPOCH, lambda: {"objective": fading()}),
    "low-rank adapters": (
        EPOCH,
        lambda: {"model": add_adapter(student_model(hidden=16), LoraSpec(r=2, dropout=0.1, target_modules=["query"]))},
    ),
    "no teacher": (EPOCH, lambda: {"teacher": None, "objective": None}),
    "an end within an epoch": ({**EPOCH, "max_steps": 9}, dict),
    "a stream that is read again": ({"max_steps": 9}, lambda: {"train_dataset": stream()}),
}


def trainer(folder: Path, args: dict[str, Any], settings: dict[str, Any]) -> DistillationTrainer:
    """With random numbers that an earlier process would not have left behind."""
    made = make_trainer(
        folder,
        **({} if args.get("eval_strategy", "no") == "no" else {"eval_dataset": dataset(10, seed=1)}),
        args={**STEPS, **args},
        **{"model": student_model(hidden=16), **settings},
    )
    torch.rand(3), np.random.rand(3), random.random()
    return made


def evaluations(trained: DistillationTrainer) -> dict[int, float]:
    return {entry["step"]: entry["eval_loss"] for entry in trained.state.log_history if "eval_loss" in entry}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_checkpoint_leads_to_the_same_weights(tmp_path: Path, case: str) -> None:
    args, settings = CASES[case]
    whole = trainer(tmp_path / "whole", args, settings())
    whole.train()
    expected, last = snapshot(whole.student), whole.state.global_step
    for step in (*BREAKS, last):
        broken = tmp_path / f"broken-{step}"
        shutil.copytree(tmp_path / "whole" / f"checkpoint-{step}", broken / f"checkpoint-{step}")
        resumed = trainer(broken, args, settings())
        resumed.train(resume_from_checkpoint=True)
        found = snapshot(resumed.student)
        assert resumed.state.global_step == last
        assert [name for name in expected if not torch.equal(expected[name], found[name])] == [], f"from step {step}"
        assert evaluations(resumed).items() >= evaluations(whole).items(), f"from step {step}"


@pytest.mark.slow
def test_a_training_that_stops_early_does_so_after_a_break_too(tmp_path: Path) -> None:
    """How often the evaluation has not improved is counted over the break."""
    args = {**EPOCH, "save_strategy": "epoch", "num_train_epochs": 5, "learning_rate": 0.0, "max_grad_norm": 0.0}
    args |= {"load_best_model_at_end": True, "metric_for_best_model": "loss"}

    def steps(folder: Path, resume: bool) -> int:
        made = trainer(folder, args, {"callbacks": [EarlyStoppingCallback(early_stopping_patience=2)]})
        return made.train(resume_from_checkpoint=resume).global_step

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert steps(whole, resume=False) == 18  # the first epoch is the best, and two are waited for
    for step in (6, 12):
        shutil.copytree(whole / f"checkpoint-{step}", broken / f"checkpoint-{step}")
    assert steps(broken, resume=True) == 18


@pytest.mark.parametrize("harm", ["nothing", "gone", "damaged"])
def test_the_best_weights_are_those_from_before_the_break(tmp_path: Path, harm: str) -> None:
    """Also in a folder that was moved meanwhile; without them there is no best to take."""
    args = {**EPOCH, "save_strategy": "epoch", "num_train_epochs": 3, "save_total_limit": 1}
    # The largest loss is the first, which falls.
    args |= {"load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True}
    whole = trainer(tmp_path / "whole", args, {})
    copy = _Copy(tmp_path / "whole", tmp_path / "moved")
    whole.add_callback(copy)
    whole.train()
    assert whole.state.best_global_step == 6
    best = tmp_path / "moved" / "checkpoint-6" / "model.safetensors"
    shutil.rmtree(tmp_path / "whole")
    if harm == "gone":
        shutil.rmtree(best.parent)
    elif harm == "damaged":
        best.write_bytes(best.read_bytes()[:-1] + b"?")
    resumed = trainer(tmp_path / "moved", args, {})
    if harm == "nothing":
        resumed.train(resume_from_checkpoint=True)
        assert resumed.state.best_global_step == 6
        assert all(
            torch.equal(value, snapshot(resumed.student)[name]) for name, value in snapshot(whole.student).items()
        )
    else:
        with pytest.raises(RunError, match=r"the best checkpoint .*checkpoint-6 .*train anew"):
            resumed.train(resume_from_checkpoint=True)


class _Copy(TrainerCallback):
    """Copies the checkpoints at the end of the second epoch, as a kill would leave them."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder, self.target = folder, target

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if state.global_step == 12:
            shutil.copytree(self.folder, self.target)
