"""Finds the student that keeps a share of its teacher's score within a budget: tries, measures, and trains the one."""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilnlp.data.tokenize import keeping_tokens
from distilnlp.errors import DistilError, RequestError
from distilnlp.recipe import Recipe
from distilnlp.report.front import Front
from distilnlp.run.plan import make_plan
from distilnlp.run.runner import load_tasks
from distilnlp.run.search_choice import PLOT, RECIPE, RESULT, RUN, SERVED, Choice
from distilnlp.run.search_company import Company
from distilnlp.run.search_goal import Goal, SearchSettings
from distilnlp.run.search_jobs import helped_by
from distilnlp.run.search_records import REDUCTION, Records, Spent, Teacher, Training
from distilnlp.run.search_space import STAGE, Candidate, Space
from distilnlp.run.search_students import Students, training_lengths
from distilnlp.run.served import Served
from distilnlp.run.view import viewing

if TYPE_CHECKING:
    import optuna

__all__ = ["Goal", "SearchSettings", "need_optuna", "search_student"]

STUDY, TRIALS, ANSWERS = "search.db", "trials", "teacher-answers"
MEASURING = "measuring.lock"
ASKING = "asking.lock"
UNMADE = -10.0  # what a student is worth to the search that cannot be
FORMAT = 3  # of what a search notes; 1 knew no distance of a student from its teacher, 2 dropout and one learning rate
ATTEMPTS = 10  # candidates that are looked at for each that is trained: most are refused by their size or speed


def need_optuna() -> None:
    """Raise RequestError where the library that proposes the students is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise RequestError("optuna is not installed, which proposes the students: pip install 'distilnlp[search]'")


def search_student(
    recipe: Recipe,
    folder: str | Path,
    goal: Goal,
    settings: SearchSettings | None = None,
    *,
    say: Callable[[str], object],
) -> Front:
    """Search for a student, or go on with a search; train the one that is found, and write it as it is served.

    Students are proposed by Optuna, made as the stages of a run are, timed with random weights, and trained where that
    fits the budget: the more steps, the better they do. What was found stands in ``search.json``. Several processes
    may work in one folder: what one has begun or measured no other does again, and the last one to be done ends it.

    Args:
        recipe: with one stage, ``student``, whose teacher is a fine-tuned model, and whose student is made of it.
        folder: of the search.
        goal: what is asked of the student.
        settings: None is `SearchSettings()`.
        say: shows one line of text to the user.
    Raises:
        RequestError: the recipe cannot be; no labelled held-out examples; a budget that no student meets, whatever its
            weights; the folder holds something else, or a search with other settings.
        RunError: a teacher is not above the baseline; no student was found that meets the goal.
    """
    settings = settings or SearchSettings()
    started = Spent.now()
    with _entered(recipe, Path(folder), settings.fresh, say) as (students, company), viewing():
        search = _Search(students, company, goal, settings, started, say)
        search.begin()
        with helped_by(settings.jobs - 1, help_search, recipe, company.place, goal, settings, say=say):
            search.try_students()
        company.wait_alone()
        try:
            return search.choice().make()
        finally:
            search.records.add_spent()


def help_search(recipe: Recipe, folder: Path, goal: Goal, settings: SearchSettings) -> None:
    """Try students for a search that another process has begun and will end. It says what that one says."""
    started = Spent.now()
    with _entered(recipe, folder, False, _say_nothing) as (students, company):
        search = _Search(students, company, goal, settings, started, _say_nothing)
        search.begin()
        search.say = _say_at_once
        search.try_students()


@contextmanager
def _entered(
    recipe: Recipe, place: Path, fresh: bool, say: Callable[[str], object]
) -> Iterator[tuple[Students, Company]]:
    """The folder of a search and its students, where both can be."""
    need_optuna()
    if recipe.seeds is not None:
        raise RequestError("a search trains every student that it tries once, with seed: leave seeds out")
    if [*recipe.stages] != [STAGE]:
        others = ", ".join(name for name in recipe.stages if name != STAGE)
        raise RequestError(f"a search trains one stage, '{STAGE}', and the recipe has {others} too: leave that out")
    _check_folder(place)
    plan = make_plan(recipe)
    task = load_tasks(plan)[STAGE]
    if task.validation is None or "label" not in task.validation.column_names:
        raise RequestError(f"task {task.name} has no labelled held-out examples, by which students are compared")
    students = Students(plan, task, place / TRIALS, place / ANSWERS)
    place.mkdir(parents=True, exist_ok=True)
    company = Company(place)
    try:
        if not company.try_alone():
            if fresh:
                raise RequestError(f"another process searches in {place}: wait for it, or give --output")
            say(f"another process searches in {place}: this one joins it")
            company.join()
        elif fresh:
            _clear(place)
        with keeping_tokens():
            yield students, company
    finally:
        company.leave()


def _check_folder(place: Path) -> None:
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise RequestError(f"{place} is no folder of its own: give another with --output")
    if place.is_dir() and not (place / STUDY).is_file():
        others = sorted(each.name for each in place.iterdir() if each.name not in (".lock", TRIALS))
        if others:
            raise RequestError(f"{place} is no search and holds {others[0]}: give another folder with --output")


def _clear(place: Path) -> None:
    """Delete what a search has written; nothing else."""
    for name in (TRIALS, ANSWERS, RUN, SERVED):
        if (place / name).is_dir() and not (place / name).is_symlink():
            shutil.rmtree(place / name)
    for name in (RESULT, RECIPE, PLOT, STUDY):
        (place / name).unlink(missing_ok=True)


class _NoTimeLeft(Exception):
    """The next training would not end in time."""


class _Search:
    """One process of a search."""

    space: Space
    teacher: Teacher

    def __init__(
        self,
        students: Students,
        company: Company,
        goal: Goal,
        settings: SearchSettings,
        started: Spent,
        say: Callable[[str], object],
    ) -> None:
        self.students, self.company, self.goal, self.settings, self.say = students, company, goal, settings, say
        self.started = started
        self.lengths = training_lengths(students.full)
        (company.place / TRIALS).mkdir(exist_ok=True)
        self.records = Records(company.place / STUDY, seed=students.recipe.seed, begun=started)

    # ---- before the first trial ----

    def begin(self) -> None:
        """Look at teacher, space and budget; of several processes the first does, and the others read it."""
        self.space = self.students.space(self.say)
        self.records.check_settings(self._settings(), self.company.place)
        known = self.records.teacher()
        self.teacher = known or self.students.teacher()
        if known is None:
            self.records.keep_teacher(self.teacher)
        self.say(
            f"task {self.students.task.name}, teacher {self.teacher.name}: {self._score(self.teacher.score)},"
            f" {self.teacher.ms:.2f} ms a text on one thread, {self.teacher.mb:.1f} MB"
        )
        self.say(f"looking for {self.goal.words()}, with trainings of {', '.join(map(str, self.lengths))} steps")
        self._check_budget()
        if self.company.is_alone:
            self.records.take_back_what_was_broken_off()
            starts = self.space.starts(self._fits if self.goal.has_budget else None)[: self.settings.trials]
            self.records.try_first(map(self.space.params, starts))
        self.company.join()

    def _settings(self) -> Mapping[str, Any]:
        names = ("layers", "vocabularies", "int8", "methods", "static_methods")
        return {
            "format": FORMAT,
            "recipe": self.students.recipe.to_dict(),
            "goal": asdict(self.goal),
            "space": {name: list(getattr(self.space, name)) for name in names},
        }

    def _check_budget(self) -> None:
        """Refuse a budget that no student meets, by the smallest and fastest there are."""
        if not self.goal.has_budget:
            return
        found: dict[Candidate, Served] = {}
        for candidate in self.space.corners():
            try:
                found[candidate] = self._served(candidate)
            except RequestError:  # of one there is none in int8, say
                continue
            if not self.goal.over(found[candidate]):
                return
        if not found:
            raise RequestError("none of the smallest students can be made: give another --teacher")
        candidate, served = min(found.items(), key=lambda each: max(self.goal.over(each[1]).values()))
        raise RequestError(
            f"{' and '.join(self.goal.over(served))} cannot be met by any student: the nearest"
            f" ({self.space.words(candidate)}) takes {served.ms:.3g} ms a text here ({served.speedup:.3g} times as"
            f" fast as the teacher) and {served.mb:.3g} MB"
        )

    def _fits(self, candidate: Candidate) -> bool:
        try:
            return not self.goal.over(self._served(candidate))
        except RequestError:
            return False

    def _served(self, candidate: Candidate, *, again: bool = False) -> Served:
        """Size and speed of a candidate, measured once by all processes, of which one measures at a time; or again."""
        known = self.records.served(candidate)
        if known is not None and not again:
            return known
        with self.company.taking(f"{TRIALS}/{MEASURING}", wait=True):
            known = self.records.served(candidate)
            if known is None or again:
                known = self.records.keep_served(candidate, self.students.served(self.space, candidate))
        return known

    # ---- trials ----

    def try_students(self) -> None:
        """Try students until there are enough, or no time is left."""
        for _ in range(ATTEMPTS * self.settings.trials):
            if not Spent(0, 0).fits(self.settings.left(self.started)):
                self.say("no time is left to try another student")
                return
            # One at a time: SQLite would give one waiting trial to two that ask at once.
            with self.company.taking(f"{TRIALS}/{ASKING}", wait=True):
                asked = self._ask()
            if asked is None:
                return
            trial, candidate = asked
            try:
                with self.company.taking(f"{TRIALS}/{self.students.run_of(candidate, 0).name}.lock") as is_ours:
                    if is_ours:
                        self._try(trial, candidate)
                    else:  # another process trains the same, and will say what it is worth
                        self.records.end_trial(trial, None)
            except _NoTimeLeft as stopped:
                self.records.end_trial(trial, None)
                self.say(str(stopped))
                return
            finally:
                self.records.add_spent()

    def _ask(self) -> tuple[optuna.Trial, Candidate] | None:
        """Whom to try next; None where enough students are tried."""
        under_way, waiting = self.records.under_way(), self.records.has_waiting()
        further = None if waiting else self._next(under_way)
        if further is not None:
            self.records.study.enqueue_trial(self.space.params(further))
        elif not waiting and self._has_enough(under_way):
            return None
        trial = self.records.study.ask()
        candidate = self.space.suggest(trial)
        self.records.begin_trial(trial, candidate)
        return trial, candidate

    def _has_enough(self, under_way: Collection[Candidate]) -> bool:
        return len({*self.records.trained(), *under_way}) >= self.settings.trials

    def _next(self, under_way: Collection[Candidate]) -> Candidate | None:
        """Who goes on or is tried before Optuna proposes anybody, where none waits.

        Args:
            under_way: who is trained already.
        """
        if self._has_enough(under_way):
            return self._going_on(under_way)
        return self._as_the_best(under_way) or self._going_on(under_way) or self._near_the_best(under_way)

    def _as_the_best(self, under_way: Collection[Candidate]) -> Candidate | None:
        """A shape of those that were tried first, not tried yet with what the best has beside its own (`trained_as`).

        The best is the one of layers that is, after the shortest training.

        Args:
            under_way: who is trained already.
        """
        values = self._values(self.lengths[0])
        several = [each for each in sorted(values, key=lambda each: -values[each]) if not each.is_static]
        others, first = {*under_way, *self.records.broken(), *self.records.trained()}, {*self.records.tried_first()}
        alike = (self.space.trained_as(each, several[0]) for each in several if each in first)
        return next((each for each in alike if each not in others), None)

    def _going_on(self, under_way: Collection[Candidate]) -> Candidate | None:
        """A student that was broken off and is among the best of its length by now, the shortest length before others.

        So those that go on have been compared before one of them takes the time of a longer training.

        Args:
            under_way: who is trained already.
        """
        others = {*under_way, *self.records.broken()}
        for steps, longer in pairwise(self.lengths):
            for each in self._best(steps):
                if each not in others and self.records.training(each, longer) is None:
                    return each
        return None

    def _near_the_best(self, under_way: Collection[Candidate]) -> Candidate | None:
        """A neighbour, not tried so far, of the best that were trained in full.

        Args:
            under_way: who is trained already.
        """
        others = {*under_way, *self.records.broken(), *self.records.trained()}
        near = (each for best in self._best(self.lengths[-1]) for each in self.space.neighbours(best))
        return next((each for each in near if each not in others), None)

    def _best(self, steps: int) -> list[Candidate]:
        """The best third of those that were trained for so many steps, of whom there is one at least."""
        values = self._values(steps)
        return sorted(values, key=lambda each: -values[each])[: max(1, len(values) // REDUCTION)]

    def _values(self, steps: int) -> dict[Candidate, float]:
        """What those are worth that were trained for so many steps."""
        return {
            each.candidate: self._value(each, served)
            for each in self.records.trainings()
            if each.steps == steps and (served := self.records.served(each.candidate)) is not None
        }

    def _value(self, training: Training, served: Served) -> float:
        share = self.students.share(training.score, self.teacher)
        return self.goal.value(share, training.distance, served, self.teacher.mb)

    def _try(self, trial: optuna.Trial, candidate: Candidate) -> None:
        words = f"{trial.number}: {self.space.words(candidate)}"
        larger = self._larger_than_refused(candidate)
        if larger is not None:
            shape, over = larger
            told = f"{words}: no smaller than {self.space.words(shape)}, which is over {' and '.join(over)}"
            self._refuse(trial, told, -math.log2(max(over.values())))
            return
        try:
            served = self._served(candidate)
        except RequestError as error:
            self._refuse(trial, f"{words}: cannot be made: {error}", UNMADE)
            return
        if self.goal.over(served) and self._larger_fits(candidate):
            served = self._served(candidate, again=True)
        over = self.goal.over(served)
        if over:
            told = f"{words}: {served.words()}, over {' and '.join(over)}"
            self._refuse(trial, told, -math.log2(max(over.values())))
            return
        try:
            self._train(trial, candidate, served, words)
        except DistilError as error:  # a vocabulary that hardly knows the texts, numbers that are not finite
            self._refuse(trial, f"{words}: cannot be trained: {error}", UNMADE)

    def _larger_than_refused(self, candidate: Candidate) -> tuple[Candidate, dict[str, float]] | None:
        """A shape that is over the budget though it is no larger, and by how much."""
        for shape, served in self.records.shapes().items():
            over = self.goal.over(served)
            if over and shape != candidate.shape and candidate.is_no_smaller(shape):
                return replace(shape, layer_map="uniform", method=candidate.method), over
        return None

    def _larger_fits(self, candidate: Candidate) -> bool:
        """Whether a shape that is no smaller is within the budget, so that something disturbed the timing of this."""
        return any(
            not self.goal.over(served) and shape != candidate.shape and shape.is_no_smaller(candidate)
            for shape, served in self.records.shapes().items()
        )

    def _refuse(self, trial: optuna.Trial, told: str, value: float) -> None:
        self.records.end_trial(trial, value, refused=told.partition(": ")[2])
        self.say(told)

    def _train(self, trial: optuna.Trial, candidate: Candidate, served: Served, words: str) -> None:
        """Train a candidate for more and more steps, as long as nobody else is to be trained before (`_next`).

        None goes on while others wait who were not trained at all: it would have nobody to be compared with.
        """
        for steps, longer in zip(self.lengths, [*self.lengths[1:], None], strict=True):
            training = self.records.training(candidate, steps)
            if training is None:
                self._check_time(candidate, steps)
                training = self.students.train(self.space, candidate, steps)
                self.records.keep_training(training)
            share, value = self.students.share(training.score, self.teacher), self._value(training, served)
            self.say(
                f"{words}: {served.words()}; after {steps} steps {self._score(training.score)}, {share:.1%} of"
                " the teacher's"
            )
            trial.report(value, steps)
            if longer is not None and not self._goes_on(candidate, longer):
                self.records.end_trial(trial, None)
                return
        self.records.end_trial(trial, value)

    def _goes_on(self, candidate: Candidate, longer: int) -> bool:
        """Whether a student that is under way is the next to be trained for so many steps, or has been."""
        if self.records.training(candidate, longer) is not None:
            return True
        others = [each for each in self.records.under_way() if each != candidate]
        return not self.records.has_waiting() and self._next(others) == candidate

    def _check_time(self, candidate: Candidate, steps: int) -> None:
        """Whether a training ends in time, and one in full after it, where none has been that meets the goal.

        Raises:
            _NoTimeLeft: it would not, by what those before took. Of the first of all nobody can tell.
        """
        needed, words = self._expected(candidate, steps), f"a training of {steps} steps"
        if steps < self.students.full and not self._has_found():
            needed += self._expected(candidate, self.students.full)
            words += f" and one in full, of {self.students.full}, after it"
        if not needed.fits(self.settings.left(self.started)):
            raise _NoTimeLeft(f"no time for {words}: that would take {needed.words()}")

    def _expected(self, candidate: Candidate, steps: int) -> Spent:
        """What a training may take: the slowest before of as many steps, or by what those of other lengths took."""
        taken = self._taken(candidate.is_static)
        if not taken:
            return Spent(0, 0)
        near = min((each for each in taken if each >= steps), default=max(taken))
        slowest = Spent.each_of(max, taken[near])
        if near >= steps:
            return slowest
        # Most of what a short training takes is not for its steps. Those of layers take longer than those of a table.
        several = taken if len(taken) > 1 else self._taken(not candidate.is_static)
        if len(several) < 2:  # then nobody can tell: no more than a training of the next length may take
            return slowest.times(min(steps / near, REDUCTION))
        short, long = min(several), max(several)
        more = Spent.each_of(max, several[long]) - Spent.each_of(min, several[short])
        return slowest + more.times((steps - near) / (long - short))

    def _taken(self, is_static: bool) -> dict[int, list[Spent]]:
        """What trainings took, by their steps, of students without layers or with."""
        taken: dict[int, list[Spent]] = {}
        for each in self.records.trainings():
            if each.candidate.is_static == is_static:
                taken.setdefault(each.steps, []).append(each.spent)
        return taken

    def _has_found(self) -> bool:
        """Whether a student has been trained in full and keeps the share."""
        return any(
            each.steps >= self.students.full and self.students.share(each.score, self.teacher) >= self.goal.keep
            for each in self.records.trainings()
        )

    def _score(self, score: float) -> str:
        return f"{self.students.task.main_metric} {score:.4f}"

    # ---- the end ----

    def choice(self) -> Choice:
        """What ends the search, where no other process tries students any more."""
        self.records.add_spent()
        return Choice(
            self.students,
            self.records,
            self.space,
            self.goal,
            self.teacher,
            self.company.place,
            trials=self.company.place / TRIALS,
            has_time=self._has_time,
            say=self.say,
        )

    def _has_time(self, candidate: Candidate) -> bool:
        """Whether a training in full ends in time."""
        return self._expected(candidate, self.students.full).fits(self.settings.left(self.started))


def _say_nothing(_: str) -> None:
    pass


def _say_at_once(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
