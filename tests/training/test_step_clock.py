"""Where the time of a step goes: the parts add up to the whole, and each is what it is called."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distilnlp.report.step_time import PHASES
from distilnlp.teachers import CacheSettings, FrozenTeacher
from distilnlp.training.step_clock import EVERY, FIRST, StepClock
from tests.runs import dataset, make_trainer, teacher_model
from tests.tiny import tiny_tokenizer


class Hands:
    """A clock that stands still unless it is told to go on, and counts how often the device was waited for."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, 0

    def __call__(self) -> float:
        return self.now

    def wait(self, device: torch.device) -> None:
        self.waits += 1


def a_step(clock: StepClock, hands: Hands, passes: int = 1) -> None:
    """Of 1 s for the data, and for each pass 4 s for the teacher, 2 for the student, 8 backward; then 16 and 32."""
    told: Any = (TrainingArguments(), TrainerState(), TrainerControl())
    clock.begin()
    with clock.phase("data"):
        hands.now += 1
    for _ in range(passes):
        with clock.phase("student"):
            hands.now += 1
            with clock.phase("teacher"):
                hands.now += 4
            hands.now += 1
        clock.then("backward")
        hands.now += 8
    clock.on_pre_optimizer_step(*told)
    hands.now += 16
    clock.on_optimizer_step(*told)
    hands.now += 32
    clock.on_step_end(*told)
    hands.now += 1000  # an evaluation


def begun(device: str, hands: Hands, step: int = 0) -> StepClock:
    clock = StepClock(torch.device(device), hands, hands.wait)
    clock.on_train_begin(TrainingArguments(), TrainerState(global_step=step), TrainerControl())
    return clock


def test_a_part_within_another_is_not_counted_twice_and_what_is_between_two_steps_not_at_all():
    hands = Hands()
    clock = begun("cpu", hands, step=7)
    a_step(clock, hands)
    a_step(clock, hands, passes=2)
    taken = clock.taken
    assert taken is not None
    assert (taken.steps, taken.measured, taken.begun_at, hands.waits) == (2, 2, 7, 0)
    wanted = {"data": 2, "teacher": 12, "student": 6, "losses": 0, "backward": 24, "optimizer": 32, "rest": 64}
    assert taken.seconds == wanted
    assert taken.whole == 1000 * (2 * 1 + 3 * 14 + 2 * 48) / 2


def test_a_step_that_found_no_data_is_none():
    hands = Hands()
    clock = begun("cpu", hands)
    clock.begin()
    hands.now += 99
    a_step(clock, hands)
    assert clock.taken is not None
    assert clock.taken.whole == 1000 * 63


def test_an_accelerator_is_waited_for_in_one_step_of_fifty_and_in_no_other():
    hands = Hands()
    clock = begun("cuda", hands)
    waited = []
    for _ in range(2 * EVERY):
        before = hands.waits
        a_step(clock, hands)
        waited.append(hands.waits > before)
    assert [step for step, each in enumerate(waited) if each] == [FIRST, FIRST + EVERY]
    assert clock.taken is not None
    assert (clock.taken.steps, clock.taken.measured, clock.taken.whole) == (2 * EVERY, 2, 1000 * 63)


def test_a_training_that_ends_before_a_step_is_measured_tells_nothing():
    hands = Hands()
    clock = begun("cuda", hands)
    for _ in range(FIRST):
        a_step(clock, hands)
    assert clock.taken is None


class Durations(TrainerCallback):
    """How long all of a training takes, from its first step's beginning: no part of it may be missing."""

    def __init__(self) -> None:
        self.whole = 0.0

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._since = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.whole = time.perf_counter() - self._since


class Slow(FrozenTeacher):
    """Needs 40 ms for each batch."""

    def __call__(self, batch: Any) -> Any:
        time.sleep(0.04)
        return super().__call__(batch)


def test_a_slow_teacher_shows_as_the_teacher_and_the_parts_add_up_to_the_training(tmp_path: Path):
    """In 3 steps of 2 passes each, of which the last has one."""
    durations = Durations()
    trainer = make_trainer(
        tmp_path,
        teacher=Slow(teacher_model(), tiny_tokenizer()),
        train_dataset=dataset(40),
        cache=CacheSettings(use="never"),
        callbacks=[durations],
        args={"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8, "num_train_epochs": 1},
    )
    trainer.train()
    taken = trainer.step_time
    assert taken is not None
    assert (taken.steps, taken.measured, taken.begun_at, taken.device) == (3, 3, 0, "cpu")
    assert all(taken.seconds[name] > 0 for name in PHASES)
    assert taken.seconds["teacher"] >= 5 * 0.04
    assert max(taken.seconds, key=taken.seconds.__getitem__) == "teacher"
    # Between the steps there is next to nothing: no log, no evaluation.
    assert sum(taken.seconds.values()) == pytest.approx(durations.whole, rel=0.2)


def test_reading_kept_answers_is_the_teachers_time(tmp_path: Path):
    trainer = make_trainer(tmp_path, cache=CacheSettings(use="always"))
    trainer._prepare_teacher()
    kept = trainer._kept_answers()
    assert kept is not None
    read, reads = kept.store.read, []

    def slowly(*args: Any) -> Any:
        time.sleep(0.02)
        reads.append(0.02)
        return read(*args)

    kept.store.read = slowly  # type: ignore[method-assign]
    trainer._kept_answers = lambda: kept  # type: ignore[method-assign]
    trainer.train()
    taken = trainer.step_time
    assert taken is not None
    assert len(reads) == taken.steps
    assert taken.seconds["teacher"] >= sum(reads) > taken.seconds["data"]


def test_equal_trainings_have_equal_logs_and_times_of_their_own(tmp_path: Path):
    """What is measured stands in no log, from which a run that was broken off could be told from one that was not."""
    logs, times = [], []
    for name in ("one", "two"):
        trainer = make_trainer(tmp_path / name, args={"max_steps": 3})
        trainer.train()
        logs.append(trainer.state.log_history[:-1])  # the last line, of Trainer's own, tells the whole runtime
        times.append(trainer.step_time)
    assert logs[0] == logs[1] != []
    assert None not in times
    assert times[0] != times[1]


def test_a_resumed_training_tells_its_own_steps_and_no_checkpoint_holds_a_time(tmp_path: Path):
    args = {"num_train_epochs": 1, "save_strategy": "steps", "save_steps": 2}
    first = make_trainer(tmp_path, args=args)
    first.train()
    checkpoint = tmp_path / "checkpoint-2"
    second = make_trainer(tmp_path, args=args)
    second.train(resume_from_checkpoint=str(checkpoint))
    assert first.step_time is not None
    assert second.step_time is not None
    assert (second.step_time.begun_at, second.step_time.steps) == (2, first.step_time.steps - 2)
    assert "StepClock" not in (checkpoint / "trainer_state.json").read_text()
    assert not list(checkpoint.glob("*time*"))
