"""What is asked of a student that is searched for, and of the search: how good, how cheap; how long, by whom."""

import math
from dataclasses import dataclass

from distilnlp.errors import RequestError
from distilnlp.run.search_records import Spent
from distilnlp.run.served import Served

__all__ = ["Goal", "SearchSettings"]

DOUBLED = 0.005  # how much of the kept share twice the speed, or half the size, is worth to the search
CLOSE = 0.05  # and how much to answer as the teacher does


@dataclass(frozen=True)
class Goal:
    """What is asked of a student.

    Args:
        keep: the share of the teacher's score that it keeps, above 0 and at most 1.
        max_ms: the time of a text by itself on one thread, in ms, at most; None: any.
        speedup: how many times as fast as its teacher it is at least; None: any.
        max_mb: the size of its weights, in MB (1e6 bytes), at most; None: any.
    Raises:
        RequestError: a number out of its range.
    """

    keep: float
    max_ms: float | None = None
    speedup: float | None = None
    max_mb: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise RequestError(
                f"--keep {self.keep:g}: a share of the teacher's score is needed, above 0 and at most 1 (0.98: 98 %)"
            )
        for option, value in self.budgets.items():
            if value is not None and not 0 < value < math.inf:
                raise RequestError(f"{option} {value:g}: a number above 0 is needed")

    @property
    def budgets(self) -> dict[str, float | None]:
        """By the option that says each; None where none is said."""
        return {"--max-ms": self.max_ms, "--speedup": self.speedup, "--max-mb": self.max_mb}

    @property
    def has_budget(self) -> bool:
        """Whether any student may be too slow or too large."""
        return any(value is not None for value in self.budgets.values())

    @property
    def by_size(self) -> bool:
        """Whether the smallest is looked for; else the fastest."""
        return self.max_mb is not None and self.max_ms is None and self.speedup is None

    def over(self, served: Served) -> dict[str, float]:
        """How many times too slow or large a model is, by the option that says so; empty where it fits."""
        times = {
            "--max-ms": served.ms / (self.max_ms or math.inf),
            "--speedup": (self.speedup or 0.0) / served.speedup,
            "--max-mb": served.mb / (self.max_mb or math.inf),
        }
        return {option: factor for option, factor in times.items() if factor > 1}

    def value(self, share: float, distance: float, served: Served, teacher_mb: float) -> float:
        """What a student is worth to the search: what it keeps, up to what is asked for, and how fast or small it is.

        After few steps the scores of many students are that of one answer to all texts. How far their answers are from
        their teacher's tells these apart.

        Args:
            share: of the teacher's score.
            distance: from the teacher's answers, from 0.
            served: what it costs.
            teacher_mb: the size of its teacher.
        """
        gain = math.log2(teacher_mb / served.mb if self.by_size else served.speedup)
        return min(share, self.keep) + CLOSE * math.exp(-distance) + DOUBLED * gain

    def words(self) -> str:
        """As the options say it."""
        said = [f"{option} {value:g}" for option, value in self.budgets.items() if value is not None]
        return " ".join([f"--keep {self.keep:g}", *said])


@dataclass(frozen=True)
class SearchSettings:
    """How long and with how many processes is searched.

    Args:
        trials: how many students are trained, if only for a few steps; from 1.
        minutes: of the clock, after which no training is begun that would not end in time; None: any. A training that
            is longer than those before let expect is not broken off.
        processor_minutes: the same by the processor time of each process, for a machine that does other work too.
        jobs: processes that try students, each with its share of the processor's threads; from 1.
        fresh: delete what an earlier search has left in the folder.
    Raises:
        RequestError: a number out of its range.
    """

    trials: int = 20
    minutes: float | None = None
    processor_minutes: float | None = None
    jobs: int = 1
    fresh: bool = False

    def __post_init__(self) -> None:
        for option, count in (("--trials", self.trials), ("--jobs", self.jobs)):
            if count < 1:
                raise RequestError(f"{option} {count}: at least 1 is needed")
        for option, minutes in (("--minutes", self.minutes), ("--processor-minutes", self.processor_minutes)):
            if minutes is not None and not 0 < minutes < math.inf:
                raise RequestError(f"{option} {minutes:g}: a number above 0 is needed")

    def left(self, since: Spent) -> Spent:
        """The time that is left of a process that has begun ``since``."""
        taken = Spent.now() - since
        clock, processor = (math.inf if each is None else 60 * each for each in (self.minutes, self.processor_minutes))
        return Spent(clock, processor) - taken
