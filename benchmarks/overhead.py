"""The time of a step of `DistillationTrainer` over that of the bare PyTorch loop which computes the same.

Both sides: a live teacher, the same student, the same batches of like length from a DataLoader, the same captured
tensors and losses (logits, hidden states, attention scores), fused AdamW, clipping, a linear schedule, float32. What
the trainer adds is its bookkeeping. In turns; a round trains on all rows once, and its first step is not timed.

Goal: at most 1.05. ``--profile`` adds a table of where a step's time goes, on both sides; ``--compile`` a side with
``torch_compile=True``.
"""

import copy
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import TrainerCallback, get_linear_schedule_with_warmup

from benchmarks._harness import (
    Row,
    Spread,
    alternate,
    device,
    load_data,
    make_parser,
    make_student,
    make_teacher,
    make_tokenizer,
    make_trainer,
    parse,
    print_table,
    ratio,
    synchronize,
    write_results,
)
from distilnlp import DistillationTrainer, Objective
from distilnlp.data import LengthBucketSampler, make_collator, tokenize
from distilnlp.losses import AttentionScores, HiddenState, SoftTarget
from distilnlp.models.capture import Capture, model_info
from distilnlp.teachers import CacheSettings, FrozenTeacher

GOAL = 1.05
QUICK: dict[str, object] = {"rows": 24, "rounds": 1, "batch_size": 8}
PARTS = ("data", "teacher forward", "student forward", "losses", "backward", "clipping", "optimizer", "rest")
LEARNING_RATE = 2e-4


class Steps:
    """When each step ended, and the seconds of its parts. The first step, a warm-up, is not counted."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.parts: defaultdict[str, float] = defaultdict(float)

    def end(self) -> None:
        """A step ends now."""
        synchronize()
        self.ends.append(time.perf_counter())
        if len(self.ends) == 1:
            self.parts.clear()

    @property
    def seconds(self) -> float:
        """Of a step."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What runs inside belongs to the part ``name``."""
        synchronize()
        start = time.perf_counter()
        try:
            yield
        finally:
            synchronize()
            self.parts[name] += time.perf_counter() - start

    def profile(self) -> dict[str, float]:
        """Seconds of a step, part by part."""
        of_step = {name: self.parts[name] / (len(self.ends) - 1) for name in PARTS[:-1]}
        return {**of_step, "rest": self.seconds - sum(of_step.values())}


@dataclass(frozen=True)
class Work:
    """What both sides do."""

    data: Dataset
    tokenizer: Any
    teacher: Any
    student: Any
    batch_size: int
    seed: int

    @property
    def objective(self) -> Objective:
        """Logits, hidden states and attention of every layer of the student."""
        return Objective([(1.0, SoftTarget()), (1.0, HiddenState()), (1.0, AttentionScores())])


# ---- the bare loop ----


def bare_loop(work: Work) -> Steps:
    """Train on all rows once."""
    steps = Steps()
    torch.manual_seed(work.seed)
    student = copy.deepcopy(work.student).train().to(device())
    teacher = FrozenTeacher(work.teacher)
    objective = work.objective.resolve(model_info(student), teacher.info)
    teacher.prepare(torch.device(device()), objective.needs_teacher())
    capture = Capture(student, objective.needs_student())
    loader = DataLoader(
        work.data,
        work.batch_size,
        sampler=LengthBucketSampler(work.data["length"], work.batch_size, work.seed),
        collate_fn=make_collator(work.tokenizer),
    )
    optimizer = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, len(loader))
    batches = iter(loader)
    for _ in range(len(loader)):
        with steps.part("data"):
            batch = {name: tensor.to(device()) for name, tensor in next(batches).items()}
            inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with steps.part("teacher forward"):
            taught = teacher(batch)
        with steps.part("student forward"):
            capture.start()
            outputs = capture.finish(student(**inputs).logits, batch["attention_mask"])
        with steps.part("losses"):
            loss, _ = objective(outputs, taught, batch)
        with steps.part("backward"):
            loss.backward()
        with steps.part("clipping"):
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        with steps.part("optimizer"):
            optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        steps.end()
    teacher.release()
    return steps


# ---- distilnlp ----


class TellSteps(TrainerCallback):
    """Tells when a step has ended."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """It has."""
        self.steps.end()


def trainer_side(work: Work, profiled: bool = False, **training: Any) -> Steps:
    """Train on all rows once, with the trainer; ``training`` changes its arguments."""
    steps = Steps()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            ProfiledTrainer if profiled else DistillationTrainer,
            folder=folder,
            training={
                "num_train_epochs": 1,
                "per_device_train_batch_size": work.batch_size,
                "learning_rate": LEARNING_RATE,
                "logging_steps": 10,
                "seed": work.seed,
                **training,
            },
            model=copy.deepcopy(work.student),
            teacher=FrozenTeacher(work.teacher, work.tokenizer),
            objective=work.objective,
            train_dataset=work.data,
            callbacks=[TellSteps(steps)],
            cache=CacheSettings(use="never"),
        )
        if isinstance(trainer, ProfiledTrainer):
            trainer.profile_into(steps)
        trainer.train()
    return steps


class ProfiledTrainer(DistillationTrainer):
    """The trainer with a clock around each part of a step."""

    def profile_into(self, steps: Steps) -> None:
        """From now on."""
        self.steps = steps
        self._hook.objective = _TimedObjective(self._hook.objective, steps)
        assert isinstance(self.teacher, FrozenTeacher)
        self.teacher = _TimedTeacher(self.teacher, steps)
        self.accelerator.backward = _timed(self.accelerator.backward, steps, "backward")
        self.accelerator.clip_grad_norm_ = _timed(self.accelerator.clip_grad_norm_, steps, "clipping")

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Timed."""
        with self.steps.part("data"):
            return super().get_batch_samples(*args, **kwargs)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Timed: what is neither the teacher's pass nor the losses is the student's."""
        others = ("teacher forward", "losses")
        before = sum(self.steps.parts[name] for name in others)
        synchronize()
        start = time.perf_counter()
        loss = super().compute_loss(*args, **kwargs)
        synchronize()
        seconds = time.perf_counter() - start
        self.steps.parts["student forward"] += seconds - (sum(self.steps.parts[name] for name in others) - before)
        return loss

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Timed."""
        optimizer = super().create_optimizer(*args, **kwargs)
        started: list[float] = []
        optimizer.register_step_pre_hook(lambda *_: started.append(_now()))
        optimizer.register_step_post_hook(lambda *_: self._optimized(started.pop()))
        return optimizer

    def _optimized(self, started: float) -> None:
        self.steps.parts["optimizer"] += _now() - started


class _TimedTeacher(FrozenTeacher):
    def __init__(self, teacher: FrozenTeacher, steps: Steps) -> None:
        super().__init__(teacher.model, teacher.tokenizer)
        self.steps = steps

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Any:
        with self.steps.part("teacher forward"):
            return super().__call__(batch)


class _TimedObjective(Objective):
    def __init__(self, objective: Objective, steps: Steps) -> None:
        super().__init__([(term.weight, term.loss, term.settings) for term in objective])
        self.steps = steps

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.steps.part("losses"):
            return super().__call__(*args, **kwargs)


def _now() -> float:
    synchronize()
    return time.perf_counter()


def _timed(function: Callable[..., Any], steps: Steps, part: str) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        with steps.part(part):
            return function(*args, **kwargs)

    return timed


# ---- the script ----


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--profile", action="store_true", help="also show where a step's time goes")
    parser.add_argument("--compile", action="store_true", help="also with torch_compile=True (needs a C compiler)")
    arguments = parse(parser, QUICK, argv)
    task, tokenizer = load_data(arguments.rows), make_tokenizer()
    teacher = make_teacher(task)
    data = tokenize(task.train, tokenizer, max_length=128)
    work = Work(data, tokenizer, teacher, make_student(teacher), arguments.batch_size, arguments.seed)
    sides = {"distilnlp": lambda: trainer_side(work).seconds, "bare loop": lambda: bare_loop(work).seconds}
    if arguments.compile:  # each round compiles anew; what that takes, for the first shapes, is in its time
        sides["distilnlp, compiled"] = lambda: trainer_side(work, torch_compile=True).seconds
    costs = alternate(sides, arguments.rounds)
    over = {name: ratio(values, costs["bare loop"]) for name, values in costs.items()}
    rows: list[Row] = [
        {"side": name, "ms/step": Spread.of([1000 * value for value in values]), "x bare loop": over[name]}
        for name, values in costs.items()
    ]
    print_table(f"{len(data)} examples, batch {arguments.batch_size}, {arguments.rounds} rounds", rows)
    print(f"\ngoal: at most {GOAL}")
    profile = profile_table(work) if arguments.profile else []
    write_results("overhead", arguments, rows, goal=GOAL, met=over["distilnlp"].median <= GOAL, profile=profile)


def profile_table(work: Work) -> list[Row]:
    """Where a step's time goes, on both sides."""
    parts = {"distilnlp": trainer_side(work, profiled=True).profile(), "bare loop": bare_loop(work).profile()}
    rows: list[Row] = [
        {
            "part": part,
            **{f"{name} ms": 1000 * each[part] for name, each in parts.items()},
            **{f"{name} %": 100 * each[part] / sum(each.values()) for name, each in parts.items()},
        }
        for part in PARTS
    ]
    print_table("where a step's time goes (one round)", rows)
    return rows


if __name__ == "__main__":
    main()
