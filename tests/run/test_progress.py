"""How far a stage is, as a real training tells it; and what it tells trackers."""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerState, TrainingArguments
from transformers.integrations import WandbCallback

from distilnlp.progress import watched_by
from distilnlp.run.progress import StageProgress, measurements_after
from distilnlp.run.trackers import GROUP, names_in_trackers, tracked_apart
from distilnlp.training.trainer import DistillationTrainer
from tests.runs import dataset, make_trainer

EVERY = {"eval_strategy": "epoch", "num_train_epochs": 2, "logging_steps": 2, "report_to": "tensorboard"}


class Noted:
    """Keeps what it is told, and looks whenever something changes."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.done: list[str] = []
        self.seen: list[list[str]] = []
        self.lines: Any = None

    def begin(self, what: str, total: int | None) -> None:
        self.done.append(what)

    def advance(self, parts: int) -> None:
        self.seen.append([] if self.lines is None else self.lines())

    def end(self) -> None:
        self.done.append("over")

    def show(self, lines: Any) -> None:
        self.lines = lines

    def tell(self, line: str) -> None:
        self.told.append(line)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Noted, Path, DistillationTrainer]:
    """Twelve steps in two epochs, each measured on 16 examples."""
    folder = tmp_path_factory.mktemp("stage")
    noted = Noted()
    names = {**EVERY, **names_in_trackers("mine", "student")}
    trainer = make_trainer(folder, args=names, eval_dataset=dataset(16, seed=1))
    trainer.add_callback(StageProgress("student", "accuracy", 16, lambda: int(trainer.tokens_read)))
    with watched_by(noted), tracked_apart(trainer, trainer.args):
        trainer.train()
    return noted, folder, trainer


def test_a_stage_is_seen_with_all_that_is_known_of_it(trained: tuple[Noted, Path, DistillationTrainer]) -> None:
    noted, _, trainer = trained
    first, *below = next(lines for lines in noted.seen if lines and "step 10 of" in lines[0])
    assert first.startswith("student: step 10 of 12 (83 %), ")
    assert " s left" in first
    assert first.endswith(" tokens/s")
    terms = [term.name for term in trainer.distillation_objective]
    assert below[0].startswith("  loss ")
    assert all(f" {name} " in below[0] for name in terms)
    assert below[1].startswith("  accuracy 0.")
    assert below[1].endswith("at step 6")
    assert noted.lines is None  # it is taken away


def test_the_lines_are_a_tenth_each_with_the_time_that_is_left(
    trained: tuple[Noted, Path, DistillationTrainer],
) -> None:
    told = trained[0].told
    assert 5 <= len(told) <= 10
    assert all(line.startswith("student: step ") and line.endswith(" s left") for line in told)
    assert ", loss " in told[-1]
    assert ", accuracy 0." in told[-1]


def test_a_measurement_is_said_and_is_over(trained: tuple[Noted, Path, DistillationTrainer]) -> None:
    of_measuring = [each for each in trained[0].done if each != "over"]
    assert of_measuring.count("student: measuring") == 2
    assert trained[0].done.count("over") == len(of_measuring)


def test_tokens_are_those_of_texts(trained: tuple[Noted, Path, DistillationTrainer]) -> None:
    trainer = trained[2]
    rows = trainer.train_dataset
    assert int(trainer.tokens_read) == 2 * sum(map(len, rows["input_ids"]))


def test_a_tracker_has_one_run_of_a_stage_with_every_term(
    trained: tuple[Noted, Path, DistillationTrainer],
) -> None:
    _, folder, trainer = trained
    assert [path.name.startswith("events.out") for path in (folder / "runs").iterdir()] == [True]
    events = EventAccumulator(str(folder / "runs"))
    events.Reload()
    scalars = events.Tags()["scalars"]
    for term in trainer.distillation_objective:
        assert {f"train/raw/{term.name}", f"train/weighted/{term.name}"} <= {*scalars}
    assert "eval/accuracy" in scalars


def test_a_folder_of_the_environment_has_a_folder_for_each_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "all"))
    for stage in ("teacher", "student"):
        args = {"report_to": "tensorboard", "max_steps": 1, **names_in_trackers("mine", stage)}
        trainer = make_trainer(tmp_path / stage, args=args)
        with tracked_apart(trainer, trainer.args):
            trainer.train()
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["mine-student", "mine-teacher"]


def test_weights_and_biases_gets_the_group_and_is_told_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is not ended would take in the next stage."""
    module, ended = ModuleType("wandb"), []
    module.finish = lambda: ended.append(os.environ[GROUP])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv(GROUP, raising=False)
    trainer = make_trainer(tmp_path, args=names_in_trackers("mine", "student"))
    trainer.callback_handler.callbacks.append(WandbCallback.__new__(WandbCallback))
    with tracked_apart(trainer, trainer.args):
        assert (os.environ[GROUP], trainer.args.run_name) == ("mine", "mine-student")
    assert (ended, GROUP in os.environ) == (["mine"], False)
    monkeypatch.setenv(GROUP, "theirs")
    with tracked_apart(trainer, trainer.args):
        pass
    assert ended == ["mine", "theirs"]


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        ({"eval_strategy": "epoch"}, {0: 4, 3: 4, 4: 3, 11: 2, 12: 1}),
        ({"eval_strategy": "steps", "eval_steps": 5}, {0: 3, 4: 3, 5: 2, 10: 1, 12: 1}),
        ({"eval_strategy": "no"}, {0: 1, 12: 1}),
    ],
)
def test_measurements_that_are_still_to_come(settings: dict[str, Any], after: dict[int, int], tmp_path: Path) -> None:
    """Of twelve steps in three epochs, and the one at the end of the stage."""
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", **settings)
    state = TrainerState(max_steps=12, num_train_epochs=3, eval_steps=settings.get("eval_steps", 500))
    assert {step: measurements_after(step, arguments, state) for step in after} == after


def test_the_best_of_a_metric_is_the_lowest_where_lower_is_better() -> None:
    progress = StageProgress("student", "pseudo_perplexity", 1)
    state = TrainerState(global_step=3)
    for score in (4.0, 2.0, 3.0):
        progress.on_evaluate(None, state, None, metrics={"eval_pseudo_perplexity": score})  # type: ignore[arg-type]
    assert progress.score == "pseudo_perplexity 3.0000 (best 2.0000) at step 3"
