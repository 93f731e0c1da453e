"""What the processes of a search know together: Optuna's study in SQLite, and what was measured of each student."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilnlp.errors import RequestError
from distilnlp.run.search_space import Candidate
from distilnlp.run.served import Served

if TYPE_CHECKING:
    import optuna

__all__ = ["REDUCTION", "Final", "Records", "Spent", "Teacher", "Training"]

REDUCTION = 3  # successive halving: a training is so many times as long as the one before it
CANDIDATE, REFUSED, FIRST = "candidate", "refused", "first"  # what a trial says of itself
WAIT = 120  # seconds for which a process waits for another that writes


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock, and of the processors."""

    clock: float
    processor: float

    @classmethod
    def now(cls) -> Spent:
        """Of this process up to now, from a beginning that is the same each time."""
        took = os.times()
        return cls(time.monotonic(), took.user + took.system)

    @classmethod
    def each_of(cls, choose: Callable[[Iterable[float]], float], several: Sequence[Spent]) -> Spent:
        """Of each of both one, the greatest, say."""
        return cls(choose(each.clock for each in several), choose(each.processor for each in several))

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.clock + other.clock, self.processor + other.processor)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.clock - other.clock, self.processor - other.processor)

    def times(self, factor: float) -> Spent:
        """So many times as much of both."""
        return Spent(self.clock * factor, self.processor * factor)

    def fits(self, left: Spent) -> bool:
        """Whether it is less than what is left of both."""
        return self.clock < left.clock and self.processor < left.processor

    def words(self) -> str:
        """In minutes."""
        return f"{self.clock / 60:.1f} min ({self.processor / 60:.1f} min of processors)"


@dataclass(frozen=True)
class Teacher:
    """Whom the students are compared with: its score, its time for a text in ms, its MB."""

    name: str
    score: float
    ms: float
    mb: float


@dataclass(frozen=True)
class Training:
    """A training that was ended.

    Args:
        candidate: of whom.
        steps: as those of a student of layers count (`Space.steps`).
        score: on the held-out examples, as it is served.
        plain: the same in float32; another than ``score`` in int8.
        distance: of its answers to these examples from its teacher's, as it is served, as `fidelity` measures it.
        spent: what it took.
    """

    candidate: Candidate
    steps: int
    score: float
    plain: float
    distance: float
    spent: Spent


@dataclass(frozen=True)
class Final:
    """A student as it is after its training in full, in the files that it would be served with.

    Args:
        score: on the held-out examples.
        served: what it costs.
        failed: why it is not what was asked for; None where it is.
    """

    score: float
    served: Served
    failed: str | None


class Records:
    """The study in a search's folder, and beside the trials what no process need find out again.

    Args:
        file: of SQLite; made where it is not there.
        seed: of what is proposed, and of what not before.
        begun: when this process has.
    """

    def __init__(self, file: Path, *, seed: int, begun: Spent) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{file.resolve()}", engine_kwargs={"connect_args": {"timeout": WAIT}}
        )
        self.study = optuna.create_study(
            study_name="search",
            storage=storage,
            direction="maximize",
            load_if_exists=True,
        )
        draws = seed + len(self.study.trials)
        # What others have begun counts as bad, so that two processes propose different students.
        self.study.sampler = optuna.samplers.TPESampler(seed=draws, n_startup_trials=6, constant_liar=True)
        self._begun, self._process = begun, f"spent {os.getpid()} {time.time():.0f}"

    # ---- the search itself ----

    def check_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Raise RequestError where this search has begun with other settings."""
        now = json.loads(json.dumps(settings))
        before = self.study.user_attrs.get("settings")
        if before is None:
            self.study.set_user_attr("settings", now)
            return
        changed = next((key for key in now if now[key] != before.get(key)), None)
        if changed is not None:
            raise RequestError(
                f"{place} holds a search with another {changed}: give another folder with --output, or start over"
                " with --fresh"
            )

    def try_first(self, several: Iterable[Mapping[str, Any]]) -> None:
        """Let students be tried before any other is proposed, those that this was not said of before.

        Args:
            several: each as the parameters of a trial; what was said before comes first.
        """
        known = self.study.user_attrs.get("tried first", 0)
        for count, params in enumerate(several, 1):
            if count > known:
                self.study.enqueue_trial(dict(params), user_attrs={FIRST: True})
                self.study.set_user_attr("tried first", count)

    def tried_first(self) -> list[Candidate]:
        """The students of `try_first` whose trials were begun."""
        said = [each.user_attrs for each in self.study.get_trials(deepcopy=False)]
        return [Candidate(**each[CANDIDATE]) for each in said if FIRST in each and CANDIDATE in each]

    def take_back_what_was_broken_off(self) -> None:
        """Let the trials of processes that are gone be tried again. Called where no other process works here."""
        from optuna.trial import TrialState

        for each in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(each.number, state=TrialState.FAIL)
            self.study.enqueue_trial(each.params)

    def teacher(self) -> Teacher | None:
        """The teacher, once `keep_teacher` has said what it is."""
        known = self.study.user_attrs.get("teacher")
        return None if known is None else Teacher(**known)

    def keep_teacher(self, teacher: Teacher) -> None:
        """Note the teacher for all processes."""
        self.study.set_user_attr("teacher", asdict(teacher))

    def add_spent(self) -> None:
        """Note the time that this process has taken up to now."""
        self.study.set_user_attr(self._process, asdict(Spent.now() - self._begun))

    def spent(self) -> Spent:
        """What all processes have taken up to now."""
        found = [Spent(**value) for key, value in self.study.user_attrs.items() if key.startswith("spent ")]
        return sum(found, Spent(0, 0))

    # ---- trials ----

    def has_waiting(self) -> bool:
        """Whether there is a student that is to be tried before any other is proposed."""
        from optuna.trial import TrialState

        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def begin_trial(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """Note of whom a trial is."""
        trial.set_user_attr(CANDIDATE, asdict(candidate))

    def under_way(self) -> list[Candidate]:
        """The students that are being tried, by all processes."""
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [Candidate(**each.user_attrs[CANDIDATE]) for each in trials if CANDIDATE in each.user_attrs]

    def end_trial(self, trial: optuna.Trial, value: float | None, refused: str | None = None) -> None:
        """Note what became of a trial.

        Args:
            value: of its student; None: it was broken off, and worth what it was when it was last reported.
            refused: why it was not trained, with the student's name.
        """
        import optuna

        if refused is not None:
            trial.set_user_attr(REFUSED, refused)
        if value is None:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, value)

    def refused(self) -> list[str]:
        """What was not trained, each with its reason."""
        trials = self.study.get_trials(deepcopy=False)
        return list(dict.fromkeys(str(each.user_attrs[REFUSED]) for each in trials if REFUSED in each.user_attrs))

    def broken(self) -> list[Candidate]:
        """The students that were not trained, or no further, for a reason that `refused` tells."""
        trials = self.study.get_trials(deepcopy=False)
        return [Candidate(**each.user_attrs[CANDIDATE]) for each in trials if REFUSED in each.user_attrs]

    # ---- students ----

    def served(self, candidate: Candidate) -> Served | None:
        """What a student of this shape costs (`beside_teacher`); None where it was not measured."""
        known = self.study.user_attrs.get(_key("served", candidate.shape))
        return None if known is None else self.beside_teacher(_served(known["served"]))

    def keep_served(self, candidate: Candidate, served: Served) -> Served:
        """Note what a student of this shape costs, or cost before in less time; what `served` gives from now on."""
        key = _key("served", candidate.shape)
        before = self.study.user_attrs.get(key)
        if before is not None:
            served = served.at_best(_served(before["served"]))
        self.study.set_user_attr(key, {CANDIDATE: asdict(candidate.shape), "served": asdict(served)})
        return self.beside_teacher(served)

    def shapes(self) -> dict[Candidate, Served]:
        """All shapes that were measured, beside the teacher (`beside_teacher`)."""
        return {shape: self.beside_teacher(served) for shape, served in self._timed().items()}

    def beside_teacher(self, served: Served) -> Served:
        """A cost beside the shortest time of the teacher."""
        return served.beside(self.teacher_ms(served.teacher_ms))

    def teacher_ms(self, measured: float) -> float:
        """The shortest time of the teacher that any student was timed beside, or the one that was measured.

        Other work can make the teacher wait longer than a small student, so that the turns of a busy minute tell a
        speedup that does not last.
        """
        return min([measured, *(each.teacher_ms for each in self._timed().values())])

    def _timed(self) -> dict[Candidate, Served]:
        known = (value for key, value in self.study.user_attrs.items() if key.startswith("served "))
        return {Candidate(**each[CANDIDATE]): _served(each["served"]) for each in known}

    def training(self, candidate: Candidate, steps: int) -> Training | None:
        """A student's training of so many steps; None where it was not ended."""
        known = self.study.user_attrs.get(_key(f"score {steps}", candidate))
        return None if known is None else _training(known)

    def keep_training(self, training: Training) -> None:
        """Note a training that is ended."""
        self.study.set_user_attr(_key(f"score {training.steps}", training.candidate), asdict(training))

    def trainings(self) -> list[Training]:
        """All trainings that were ended."""
        return [_training(value) for key, value in self.study.user_attrs.items() if key.startswith("score ")]

    def trained(self) -> dict[Candidate, Training]:
        """Of each student that was trained, the longest training."""
        found: dict[Candidate, Training] = {}
        for each in self.trainings():
            if each.candidate not in found or each.steps > found[each.candidate].steps:
                found[each.candidate] = each
        return found

    def final(self, candidate: Candidate) -> Final | None:
        """A student as it is in the end; None where it was not brought that far."""
        known = self.study.user_attrs.get(_key("final", candidate))
        return None if known is None else Final(**{**known, "served": _served(known["served"])})

    def keep_final(self, candidate: Candidate, final: Final) -> None:
        """Note a student as it is in the end."""
        self.study.set_user_attr(_key("final", candidate), asdict(final))

    def kept_run(self) -> Candidate | None:
        """The student whose run stands in the search's folder."""
        known = self.study.user_attrs.get("run")
        return None if known is None else Candidate(**known)

    def keep_run(self, candidate: Candidate | None) -> None:
        """Note whose run stands in the search's folder."""
        self.study.set_user_attr("run", None if candidate is None else asdict(candidate))


def _key(what: str, candidate: Candidate) -> str:
    return f"{what} {json.dumps(asdict(candidate))}"


def _served(known: Mapping[str, Any]) -> Served:
    least, greatest = known["spread"]
    return Served(**{**known, "spread": (float(least), float(greatest))})


def _training(known: Mapping[str, Any]) -> Training:
    return Training(**{**known, "candidate": Candidate(**known["candidate"]), "spent": Spent(**known["spent"])})
