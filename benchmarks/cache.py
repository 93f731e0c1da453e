"""Distilling with the teacher's cache, from the second epoch on, over fine-tuning the student without a teacher.

Both sides: `DistillationTrainer`, the same student, the same batches of like length, float32; one learns from labels,
logits, hidden states and attention scores, the other from the labels alone. Beside them the live teacher. In turns; an
epoch's time is the mean of the epochs after the first. Processor time stands beside it: other work on the machine
disturbs it less.

Goal: at most 1.10. Also what the cache costs: seconds to fill it, over an epoch with the live teacher, and bytes per
example, with all the terms and with logits only.
"""

import copy
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from benchmarks._harness import (
    Row,
    Spread,
    alternate,
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
from distilnlp import Objective
from distilnlp.data import tokenize
from distilnlp.losses import AttentionScores, HardLabel, HiddenState, SoftTarget
from distilnlp.teachers import CacheSettings, FrozenTeacher

GOAL = 1.10
QUICK: dict[str, object] = {"rows": 16, "rounds": 1, "batch_size": 8, "epochs": 2}
LOGITS = (0.5, HardLabel()), (0.5, SoftTarget())
ALL = (*LOGITS, (1.0, HiddenState()), (1.0, AttentionScores()))


@dataclass
class Taken(TrainerCallback):
    """Seconds that a training took before its first step, and for each epoch; bytes of its cache."""

    setup: float = 0.0
    epochs: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    cached: int = 0
    _since: float = 0.0
    _processor_since: float = 0.0

    def start(self) -> None:
        """The training starts now."""
        self._since = time.perf_counter()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Everything is ready for the first step."""
        self.setup = time.perf_counter() - self._since

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        """An epoch starts."""
        self._since, self._processor_since = time.perf_counter(), time.process_time()

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """An epoch has ended."""
        synchronize()
        self.epochs.append(time.perf_counter() - self._since)
        self.processor.append(time.process_time() - self._processor_since)

    @property
    def later_epoch(self) -> float:
        """Mean seconds of the epochs after the first."""
        return statistics.mean(self.epochs[1:])


@dataclass(frozen=True)
class Work:
    """What all sides do, and what was taken, round by round."""

    data: Any
    tokenizer: Any
    teacher: Any
    student: Any
    epochs: int
    batch_size: int
    seed: int

    def train(self, terms: Sequence[tuple[float, Any]] | None, use: str = "never", epochs: int | None = None) -> Taken:
        """Train a copy of the student; without terms on the labels alone, without a teacher."""
        taken = Taken()
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder) / "cache"
            trainer = make_trainer(
                folder=folder,
                training={
                    "num_train_epochs": epochs or self.epochs,
                    "per_device_train_batch_size": self.batch_size,
                    "learning_rate": 2e-4,
                    "seed": self.seed,
                },
                model=copy.deepcopy(self.student),
                teacher=None if terms is None else FrozenTeacher(self.teacher, self.tokenizer),
                objective=None if terms is None else Objective(terms),
                train_dataset=self.data,
                processing_class=self.tokenizer,
                callbacks=[taken],
                cache=CacheSettings(use=use, folder=str(cache)),
            )
            taken.start()
            trainer.train()
            taken.cached = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        return taken


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = make_parser(__doc__)
    parser.add_argument("--epochs", type=int, default=3, help="of a round, 2 or more (default: %(default)s)")
    arguments = parse(parser, QUICK, argv)
    task, tokenizer = load_data(arguments.rows), make_tokenizer()
    teacher = make_teacher(task)
    data = tokenize(task.train, tokenizer, max_length=128)
    student = make_student(teacher)
    work = Work(data, tokenizer, teacher, student, arguments.epochs, arguments.batch_size, arguments.seed)

    taken: dict[str, list[Taken]] = {"cached teacher": [], "no teacher": [], "live teacher": []}
    sides = {"cached teacher": (ALL, "always"), "no teacher": (None, "never"), "live teacher": (ALL, "never")}

    def side(name: str) -> float:
        taken[name].append(work.train(*sides[name]))
        return taken[name][-1].later_epoch

    # No warm-up round: the first epoch of each training is none of its cost.
    costs = alternate({name: lambda name=name: side(name) for name in sides}, arguments.rounds, warm_up=0)
    processor = {name: [statistics.mean(each.processor[1:]) for each in runs] for name, runs in taken.items()}
    rows: list[Row] = [
        {
            "side": name,
            "later epoch s": Spread.of(seconds),
            "x no teacher": ratio(seconds, costs["no teacher"]),
            "in processor time": ratio(processor[name], processor["no teacher"]),
            "first epoch s": Spread.of([each.epochs[0] for each in taken[name]]),
        }
        for name, seconds in costs.items()
    ]
    print_table(f"{len(data)} examples, batch {arguments.batch_size}, {arguments.rounds} rounds", rows)
    met = ratio(costs["cached teacher"], costs["no teacher"])
    print(f"\ngoal: cached over no teacher at most {GOAL}")

    filling = fill_table(work, taken, costs["live teacher"])
    print_table("what the cache costs", filling)
    write_results("cache", arguments, rows, goal=GOAL, met=met.median <= GOAL, fill=filling)


def fill_table(work: Work, taken: dict[str, list[Taken]], live: Sequence[float]) -> list[Row]:
    """Seconds to fill, and bytes per example, with all terms and with logits only."""
    ready = statistics.median(each.setup for each in taken["live teacher"])  # what a training needs without a cache
    logits = [work.train(LOGITS, "always", epochs=1) for _ in live]
    rows: list[Row] = []
    for name, runs in (("all terms", taken["cached teacher"]), ("logits only", logits)):
        seconds = [each.setup - ready for each in runs]
        rows.append(
            {
                "kept": name,
                "fill s": Spread.of(seconds),
                "x live epoch": ratio(seconds, live),
                "bytes/example": round(runs[0].cached / len(work.data)),
                "MB": runs[0].cached / 1e6,
            }
        )
    return rows


if __name__ == "__main__":
    main()
