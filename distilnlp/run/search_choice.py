"""The end of a search: the one student, trained in full, exported and measured once more; else the nearest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from distilnlp.errors import DistilError, RunError
from distilnlp.report.front import Front, Tried, draw_front, pareto, render_front
from distilnlp.report.plotting import can_draw
from distilnlp.run.environment import library_versions
from distilnlp.run.search_goal import Goal
from distilnlp.run.search_records import Final, Records, Teacher, Training
from distilnlp.run.search_space import STAGE, Candidate, Space
from distilnlp.run.search_students import Students
from distilnlp.run.served import Served
from distilnlp.whole_files import write_text

__all__ = ["PLOT", "RECIPE", "RESULT", "RUN", "SERVED", "Choice"]

RESULT, RECIPE, PLOT = "search.json", "recipe.yaml", "front.svg"
RUN, SERVED = "run", "served"
SECOND_LOOKS = 3  # students that kept too little after a short training and are trained in full all the same


class Choice:
    """Chooses among the students that were tried. No other process works in the folder meanwhile.

    Args:
        students, records, space, goal, teacher: of the search.
        place: its folder.
        trials: the folder of its trainings, which is deleted when a student is found.
        has_time: whether a training in full of a student still ends in time.
        say: shows one line of text to the user.
    """

    def __init__(
        self,
        students: Students,
        records: Records,
        space: Space,
        goal: Goal,
        teacher: Teacher,
        place: Path,
        *,
        trials: Path,
        has_time: Callable[[Candidate], bool],
        say: Callable[[str], object],
    ) -> None:
        self.students, self.records, self.space, self.goal, self.teacher = students, records, space, goal, teacher
        self.place, self.trials, self.has_time, self.say = place, trials, has_time, say
        self.stopped = ""

    def make(self) -> Front:
        """The student that is found, in its folder, and all that were tried.

        Raises:
            RunError: none meets the goal; says which comes nearest.
        """
        self._write(self.front())
        self.say("")
        self.say(render_front(self.front()))
        self.say("")
        looks = 0
        while (candidate := self._next(looks)) is not None:
            looks += self._share(candidate) < self.goal.keep
            if not self._is_there(candidate):
                self._bring_to_the_end(candidate)
            final = self.records.final(candidate)
            if final is not None and final.failed is None:
                return self._found(candidate, final)
            if final is not None:
                self.say(f"{self.space.words(candidate)}: {final.failed}")
        front = replace(self.front(), outcome=self._nearest())
        self._write(front)
        raise RunError(front.outcome)

    # ---- which one ----

    def _next(self, looks: int) -> Candidate | None:
        """Whom to bring to the end next; None where nobody is left who could meet the goal.

        First those that keep the share, the fastest or smallest before the others; then, a few, those that keep it in
        float32 alone or were not trained in full, the best before the others.
        """
        trained = self.records.trained()
        finals = {each: self.records.final(each) for each in trained}
        keeping = [each for each, final in finals.items() if final is None and self._share(each) >= self.goal.keep]
        found = [each for each, final in finals.items() if final is not None and final.failed is None]
        for each in sorted([*keeping, *found], key=self._size_of):
            if self._in_time(each, trained[each]):
                return each
        if looks >= SECOND_LOOKS:
            return None
        others = [
            each
            for each, final in finals.items()
            if final is None
            and (trained[each].steps < self.students.full or self._plain_share(each) >= self.goal.keep)
        ]
        for each in sorted(others, key=lambda one: (-self._plain_share(one), self._size_of(one))):
            if self._in_time(each, trained[each]):
                return each
        return None

    def _in_time(self, candidate: Candidate, training: Training) -> bool:
        if training.steps >= self.students.full or self.has_time(candidate):
            return True
        self.stopped = "; no time was left to train another in full: more --minutes go on from here"
        return False

    def _share(self, candidate: Candidate) -> float:
        return self.students.share(self.records.trained()[candidate].score, self.teacher)

    def _plain_share(self, candidate: Candidate) -> float:
        return self.students.share(self.records.trained()[candidate].plain, self.teacher)

    def _size_of(self, candidate: Candidate) -> float:
        served = self._served(candidate)
        return served.mb if self.goal.by_size else served.ms

    def _served(self, candidate: Candidate) -> Served:
        served = self.records.served(candidate)
        if served is None:
            raise ValueError("what is trained was measured before")
        return served

    # ---- the one ----

    def _is_there(self, candidate: Candidate) -> bool:
        """Whether its run stands in the search's folder, from an earlier end of the search."""
        return (
            self.records.final(candidate) is not None
            and self.records.kept_run() == candidate
            and (self.place / RUN / STAGE).is_dir()
            and (not candidate.int8 or (self.place / SERVED).is_dir())
        )

    def _bring_to_the_end(self, candidate: Candidate) -> None:
        """Train it in full, unless it is, write it as it is served, and note what it is worth then."""
        words, full = self.space.words(candidate), self.students.full
        run = self.students.run_of(candidate, full)
        training = self.records.training(candidate, full)
        if training is None or not (run / STAGE).is_dir():
            self.say(f"training {words} in full")
            try:
                training = self.students.train(self.space, candidate, full)
            except DistilError as error:
                self.records.keep_final(candidate, Final(0.0, self._served(candidate), f"cannot be trained: {error}"))
                return
            self.records.keep_training(training)
        final = Final(training.plain, self._served(candidate), None)
        share = self.students.share(training.plain, self.teacher)
        if candidate.int8 and share > 0:
            try:
                final = self.students.export(run, self.trials / SERVED, self.goal.keep, share, final.served)
            except DistilError as error:
                final = Final(training.score, final.served, f"in int8 its score does not hold: {error}")
        final = self._judged(replace(final, served=self.records.beside_teacher(final.served)))
        self.records.keep_final(candidate, final)
        if final.failed is None:
            self._keep(candidate, run)

    def _judged(self, final: Final) -> Final:
        """With what it lacks."""
        share, over = self.students.share(final.score, self.teacher), self.goal.over(final.served)
        lacks = [f"keeps {share:.1%} after its training in full"] if share < self.goal.keep else []
        lacks += [f"is over {' and '.join(over)} at {final.served.words()}"] if over else []
        return replace(final, failed=final.failed or " and ".join(lacks) or None)

    def _keep(self, candidate: Candidate, run: Path) -> None:
        """Put a student's run, and its files in int8, into the search's folder, in the place of an earlier one."""
        self.records.keep_run(None)
        for name in (RUN, SERVED):
            if (self.place / name).is_dir():
                shutil.rmtree(self.place / name)
        run.rename(self.place / RUN)
        if candidate.int8:
            (self.trials / SERVED).rename(self.place / SERVED)
        self.records.keep_run(candidate)

    def _found(self, candidate: Candidate, final: Final) -> Front:
        row = self._row(candidate)
        where = SERVED if candidate.int8 else f"{RUN}/{STAGE}"
        told = (
            f"{row.student}: {row.share:.1%} of the teacher's {self.students.task.main_metric}, {final.served.words()}"
        )
        write_text(self.place / RECIPE, self.space.recipe(self.students.recipe, candidate).to_yaml())
        front = replace(self.front(candidate), outcome=f"found {told}")
        self._write(front)
        if self.trials.is_dir():
            shutil.rmtree(self.trials)
        self.say(f"found  {told}")
        self.say(f"model  {self.place / where}")
        self.say(f"recipe {self.place / RECIPE}")
        return front

    def _nearest(self) -> str:
        """What is said where no student meets the goal; the recipe of the nearest is written."""
        rows = self.front().tried
        if not rows:
            return f"no student was trained that could meet {self.goal.words()}: give more --trials or --minutes"
        row = max(rows, key=lambda each: (each.share, -(each.mb if self.goal.by_size else each.ms)))
        candidate = Candidate(**row.candidate)
        write_text(self.place / RECIPE, self.space.recipe(self.students.recipe, candidate).to_yaml())
        final = self.records.final(candidate)
        cost = (self._served(candidate) if final is None else final.served).words()
        more = self.stopped or ", and more --trials go on from here"
        return (
            f"no student of {len(rows)} met {self.goal.words()}: the nearest ({row.student}) keeps {row.share:.1%}"
            f" after {row.steps} steps, at {cost}; its recipe is {self.place / RECIPE}{more}"
        )

    # ---- what was found ----

    def front(self, chosen: Candidate | None = None) -> Front:
        """All students that were trained, each as it was measured last."""
        spent = self.records.spent()
        return Front(
            task=self.students.task.name,
            main_metric=self.students.task.main_metric,
            goal={name: value for name, value in asdict(self.goal).items() if value is not None},
            teacher=asdict(replace(self.teacher, ms=self.records.teacher_ms(self.teacher.ms))),
            tried=pareto([self._row(each, each == chosen) for each in self.records.trained()]),
            refused=self.records.refused(),
            minutes=round(spent.clock / 60, 2),
            processor_minutes=round(spent.processor / 60, 2),
            versions=library_versions(),
        )

    def _row(self, candidate: Candidate, is_chosen: bool = False) -> Tried:
        training, final = self.records.trained()[candidate], self.records.final(candidate)
        score = training.score if final is None else final.score
        served = self._served(candidate) if final is None else final.served
        return Tried(
            student=self.space.words(candidate),
            candidate=asdict(candidate),
            steps=training.steps,
            score=score,
            share=self.students.share(score, self.teacher),
            ms=served.ms,
            speedup=served.speedup,
            spread=served.spread,
            mb=served.mb,
            chosen=is_chosen,
            failed=None if final is None else final.failed,
        )

    def _write(self, front: Front) -> None:
        write_text(self.place / RESULT, front.to_json())
        if can_draw():
            draw_front(front, self.place / PLOT)
