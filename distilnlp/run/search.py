"""Finds the student that keeps a share of its teacher's score within a budget: tries, measures, and trains the one."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from distilnlp.data.task import Task
from distilnlp.errors import DistilError, RequestError, RunError
from distilnlp.export.gate import drop
from distilnlp.models.capture import model_info
from distilnlp.models.heads import model_from_config
from distilnlp.models.loading import load_classifier, load_config, load_tokenizer
from distilnlp.models.predictor import Text
from distilnlp.onnx_file import need_onnx
from distilnlp.recipe import Recipe
from distilnlp.report.cost import disk_mb, measure_latencies
from distilnlp.report.front import Front, Tried, draw_front, pareto, render_front
from distilnlp.report.scores import SCORES
from distilnlp.run.environment import describe_environment, library_versions
from distilnlp.run.evaluation import answer_of, texts_of
from distilnlp.run.export import ExportSettings, export_model
from distilnlp.run.folder import RunFolder
from distilnlp.run.manifest import clear_stage
from distilnlp.run.models import Models
from distilnlp.run.plan import Plan, StagePlan, make_plan, most_steps
from distilnlp.run.report import outsider_result
from distilnlp.run.runner import load_tasks, run_recipe
from distilnlp.run.search_space import NEEDED, STAGE, Candidate, Space, whole_space, without_what_cannot_be
from distilnlp.run.served import Served, one_thread, score_served, size_and_speed, timed
from distilnlp.run.stage import train_stage
from distilnlp.run.view import viewing
from distilnlp.run.weak_teacher import weak_teacher
from distilnlp.whole_files import write_text

if TYPE_CHECKING:
    import optuna

__all__ = ["Goal", "need_optuna", "search_student"]

STUDY, RESULT, RECIPE, PLOT = "search.db", "search.json", "recipe.yaml", "front.svg"
TRIALS, ANSWERS, RUN, SERVED = "trials", "teacher-answers", "run", "served"
REDUCTION = 3  # successive halving: a training is so many times as long as the one before it
FEWEST_STEPS = 10
TIMED = 200  # texts that the speed is measured on
DOUBLED = 0.02  # how much of the kept share twice the speed, or half the size, is worth to the search
UNMADE = -10.0  # what a student is worth to the search that cannot be
ATTEMPTS = 10  # candidates that are looked at for each that is trained: most are refused by their size or speed


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

    def gain(self, served: Served, teacher_mb: float) -> float:
        """How often the time of the teacher, or its size, is halved."""
        return math.log2(teacher_mb / served.mb if self.by_size else served.speedup)

    def words(self) -> str:
        """As the options say it."""
        said = [f"{option} {value:g}" for option, value in self.budgets.items() if value is not None]
        return " ".join([f"--keep {self.keep:g}", *said])


def need_optuna() -> None:
    """Raise RequestError where the library that proposes the students is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise RequestError("optuna is not installed, which proposes the students: pip install 'distilnlp[search]'")


def search_student(
    recipe: Recipe, folder: str | Path, goal: Goal, *, trials: int, fresh: bool, say: Callable[[str], object]
) -> Front:
    """Search for a student, or go on with a search; train the one that is found, and write it as it is served.

    Students are proposed by Optuna, made as the stages of a run are, timed with random weights, and trained where that
    fits the budget: the more steps, the better they do. What was found stands in ``search.json``.

    Args:
        recipe: with one stage, ``student``, whose teacher is a fine-tuned model, and whose student is made of it.
        folder: of the search.
        goal: what is asked of the student.
        trials: how many students are trained, if only for a few steps; from 1.
        fresh: delete what an earlier search has left in the folder.
        say: shows one line of text to the user.
    Raises:
        RequestError: the recipe cannot be; no labelled held-out examples; a budget that no student meets, whatever its
            weights; the folder holds something else, or a search with other settings.
        RunError: a teacher is not above the baseline; no student was found that meets the goal.
    """
    need_optuna()
    if trials < 1:
        raise RequestError(f"--trials {trials}: at least 1 is needed")
    if recipe.seeds is not None:
        raise RequestError("a search trains every student that it tries once, with seed: leave seeds out")
    if [*recipe.stages] != [STAGE]:
        others = ", ".join(name for name in recipe.stages if name != STAGE)
        raise RequestError(f"a search trains one stage, '{STAGE}', and the recipe has {others} too: leave that out")
    place = Path(folder)
    _check_folder(place)
    plan = make_plan(recipe)
    task = load_tasks(plan)[STAGE]
    if task.validation is None or "label" not in task.validation.column_names:
        raise RequestError(f"task {task.name} has no labelled held-out examples, by which students are compared")
    place.mkdir(parents=True, exist_ok=True)
    with RunFolder(place).lock(), viewing():
        if fresh:
            _clear(place)
        return _Search(plan, task, place, goal, trials, say).run()


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


@dataclass(frozen=True)
class _Teacher:
    """Whom the students are compared with."""

    name: str
    score: float
    ms: float
    mb: float


class _Search:
    def __init__(
        self, plan: Plan, task: Task, place: Path, goal: Goal, trials: int, say: Callable[[str], object]
    ) -> None:
        self.plan, self.recipe, self.task = plan, plan.recipe, task
        self.place, self.goal, self.trials, self.say = place, goal, trials, say
        stage = plan.stages[STAGE]
        self.max_length = stage.data.max_length
        if len(stage.teaching_models) != 1 or stage.spec.student is None or stage.objective is None:
            raise RequestError("a search needs one model as --teacher, of whose layers students are made")
        self.teacher_name = stage.teaching_models[0]
        held_out = (
            []
            if task.validation is None
            else texts_of(task.validation.select(range(min(TIMED, len(task.validation)))))
        )
        self.texts: list[Text] = [text for text in held_out if text]
        known = SCORES.get(task.main_metric)
        self.higher = known is None or known.higher_is_better
        self.full = self._full_steps(stage)
        self.rungs = _rungs(self.full)

    def _full_steps(self, stage: StagePlan) -> int:
        steps = most_steps(stage, self.task)
        if steps is not None:
            return steps
        rows = 0 if self.task.train is None else len(self.task.train)
        size = stage.arguments.train_batch_size * stage.arguments.gradient_accumulation_steps
        return max(1, math.ceil(float(stage.arguments.num_train_epochs) * rows / size))

    # ---- the whole ----

    def run(self) -> Front:
        space = self._space()
        score = self._teacher_score()
        teacher = self._timed_teacher(score)
        self.predictor = timed(self.teacher_name, self.max_length)
        self._say_begin(teacher, space)
        study = self._study(space)
        self._check_budget(space, study)
        self._try(space, study, teacher)
        front = self._front(space, study, teacher)
        self._write(front)
        self.say("")
        self.say(render_front(front))
        self.say("")
        return self._train_chosen(space, study, front)

    def _say_begin(self, teacher: _Teacher, space: Space) -> None:
        self.say(
            f"task {self.task.name}, teacher {teacher.name}: {self.task.main_metric} {teacher.score:.4f},"
            f" {teacher.ms:.2f} ms a text on one thread, {teacher.mb:.1f} MB"
        )
        self.say(f"looking for {self.goal.words()}, with trainings of {', '.join(map(str, self.rungs))} steps")

    def _space(self) -> Space:
        """The students that can be made of this teacher for this task."""
        stage = self.plan.stages[STAGE]
        objectives = self._objectives(stage)
        int8 = _can_export()
        if not int8:
            self.say("no student in int8: onnx is not installed (pip install 'distilnlp[onnx]')")
        space = whole_space(load_config(self.teacher_name), objectives, int8=int8)
        self._sketch(space, replace(space.plain, int8=False))  # what is wrong with teacher or data is told as it is
        space, told = without_what_cannot_be(space, lambda candidate: self._refused(space, candidate))
        for name, why in told.items():
            self.say(f"no student with {name}: {why}")
        if NEEDED in space.vocabularies:
            sketch = self._sketch(space, replace(space.plain, vocabulary=NEEDED))[1]
            space = replace(space, vocabularies=(*space.vocabularies, int(sketch.config.vocab_size) // 2))
        return space

    def _objectives(self, stage: StagePlan) -> dict[str, dict[str, Any]]:
        """The recipe's objective, and, where that compares more than answers, the part of it that compares those."""
        said = {name: dict(settings) for name, settings in (stage.spec.objective or {}).items()}
        plain = dict(self.recipe.stages[STAGE].objective or {})
        models = self._models(self.plan)
        sketch = models.check()[STAGE]
        teacher = models.outsider(stage, self.teacher_name)
        if stage.objective is None:
            raise ValueError("there is an objective")
        resolved = stage.objective.resolve(model_info(sketch), model_info(teacher))
        inside = {term.name for term in resolved if term.needs("student").layers or term.needs("teacher").layers}
        answers = {name: settings for name, settings in plain.items() if name not in inside}
        if not inside or not answers:
            return {"as the recipe": said}
        return {"states": said, "answers": {name: dict(settings) for name, settings in answers.items()}}

    def _models(self, plan: Plan, folder: RunFolder | None = None) -> Models:
        return Models(plan, {STAGE: self.task}, folder or RunFolder(self.place / TRIALS / "none"))

    def _sketch(self, space: Space, candidate: Candidate) -> tuple[Models, PreTrainedModel]:
        """The models of a candidate's stage, and its student without weights. Raises RequestError: it cannot be."""
        models = self._models(make_plan(space.recipe(self.recipe, candidate, steps=FEWEST_STEPS)))
        return models, models.check()[STAGE]

    def _refused(self, space: Space, candidate: Candidate) -> str | None:
        try:
            self._sketch(space, candidate)
        except RequestError as error:
            return str(error).partition("stages.student: ")[2] or str(error)
        return None

    # ---- the teacher ----

    def _teacher_score(self) -> float:
        answers = answer_of(self.teacher_name, self.task, max_length=self.max_length)
        result = outsider_result(self.teacher_name, answers, self.task)
        weakness = weak_teacher(self.teacher_name, self.plan, RunFolder(self.place / RUN), result)
        if weakness is not None:
            raise RunError(weakness)
        score = result.score
        if score is None or score <= 0:
            raise RunError(
                f"{self.teacher_name} has {self.task.main_metric} {score}, of which no share can be kept:"
                " a teacher with a score above 0 is needed"
            )
        return score

    def _timed_teacher(self, score: float) -> _Teacher:
        with one_thread():
            served = size_and_speed(
                load_classifier(self.teacher_name, require_head=True),
                load_tokenizer(self.teacher_name),
                int8=False,
                teacher=timed(self.teacher_name, self.max_length),
                texts=self.texts,
            )
        return _Teacher(self.teacher_name, score, served.teacher_ms, served.mb)

    def _share(self, score: float, teacher: float) -> float:
        """Which share of the teacher's score one is: 1 for the same, whichever way is better."""
        return 1 - drop(teacher, score, higher_is_better=self.higher)

    # ---- the trials ----

    def _study(self, space: Space) -> optuna.Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        (self.place / TRIALS).mkdir(exist_ok=True)
        storage = optuna.storages.RDBStorage(f"sqlite:///{(self.place / STUDY).resolve()}")
        study = optuna.create_study(
            study_name="search",
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=self.rungs[0], reduction_factor=REDUCTION),
        )
        study.sampler = optuna.samplers.TPESampler(seed=self.recipe.seed + len(study.trials), n_startup_trials=6)
        settings = self._settings(space)
        before = study.user_attrs.get("settings")
        if before is None:
            study.set_user_attr("settings", settings)
            for candidate in space.starts():
                study.enqueue_trial(space.params(candidate))
        elif before != settings:
            changed = next(key for key in settings if settings[key] != before.get(key))
            raise RequestError(
                f"{self.place} holds a search with another {changed}: give another folder with --output, or start over"
                " with --fresh"
            )
        for each in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            # Of a process that is gone, for this one holds the folder.
            study.tell(each.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(each.params)
        return study

    def _settings(self, space: Space) -> dict[str, Any]:
        known = json.loads(json.dumps({"recipe": self.recipe.to_dict(), "goal": asdict(self.goal)}))
        return {
            **known,
            "space": {name: list(getattr(space, name)) for name in ("layers", "vocabularies", "int8", "methods")},
        }

    def _check_budget(self, space: Space, study: optuna.Study) -> None:
        """Refuse a budget that no student meets, by the smallest and fastest there are."""
        if not any(self.goal.budgets.values()):
            return
        found = {candidate: self._served(space, candidate, study) for candidate in space.corners()}
        if any(not self.goal.over(served) for served in found.values()):
            return
        candidate, served = min(found.items(), key=lambda each: max(self.goal.over(each[1]).values()))
        raise RequestError(
            f"{' and '.join(self.goal.over(served))} cannot be met by any student: the nearest"
            f" ({space.words(candidate)}) takes {served.ms:.3g} ms a text here ({served.speedup:.3g} times as fast as"
            f" the teacher) and {served.mb:.3g} MB"
        )

    def _served(self, space: Space, candidate: Candidate, study: optuna.Study) -> Served:
        """Size and speed of a candidate, with random weights. Raises RequestError: it cannot be."""
        key = f"served {json.dumps(asdict(candidate.shape))}"
        known = study.user_attrs.get(key)
        if known is None:
            models, sketch = self._sketch(space, candidate)
            torch.manual_seed(0)
            model = model_from_config(sketch.config).eval()
            served = size_and_speed(
                model, models.tokenizer(STAGE), int8=candidate.int8, teacher=self.predictor, texts=self.texts
            )
            known = asdict(served)
            study.set_user_attr(key, known)
        return Served(**known)

    def _try(self, space: Space, study: optuna.Study, teacher: _Teacher) -> None:
        import optuna

        for _ in range(ATTEMPTS * self.trials):
            if len(self._trained(study)) >= self.trials:
                return
            trial = study.ask()
            candidate = space.suggest(trial)
            trial.set_user_attr("candidate", asdict(candidate))
            words = f"{trial.number}: {space.words(candidate)}"
            try:
                served = self._served(space, candidate, study)
            except RequestError as error:
                self._refuse(study, trial, f"{words}: cannot be made: {error}", UNMADE)
                continue
            over = self.goal.over(served)
            if over:
                self._refuse(
                    study,
                    trial,
                    f"{words}: {_cost(served)}, over {' and '.join(over)}",
                    -math.log2(max(over.values())),
                )
                continue
            try:
                value, pruned = self._train_trial(space, study, trial, candidate, served, teacher, words)
            except DistilError as error:  # a vocabulary that hardly knows the texts, numbers that are not finite
                self._refuse(study, trial, f"{words}: cannot be trained: {error}", UNMADE)
                continue
            if pruned:  # its value is the last that was reported
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, value)

    def _refuse(self, study: optuna.Study, trial: optuna.Trial, told: str, value: float) -> None:
        trial.set_user_attr("refused", told.partition(": ")[2])
        study.tell(trial, value)
        self.say(told)

    def _train_trial(
        self,
        space: Space,
        study: optuna.Study,
        trial: optuna.Trial,
        candidate: Candidate,
        served: Served,
        teacher: _Teacher,
        words: str,
    ) -> tuple[float, bool]:
        """Train a candidate for more and more steps while it is among the best; its value, and whether it was not."""
        value, pruned = -math.inf, False
        for steps in self.rungs:
            score = self._score(space, study, candidate, steps)
            share = self._share(score, teacher.score)
            value = min(share, self.goal.keep) + DOUBLED * self.goal.gain(served, teacher.mb)
            self.say(
                f"{words}: {_cost(served)}; after {steps} steps {self.task.main_metric} {score:.4f}, {share:.1%} of"
                " the teacher's"
            )
            trial.report(value, steps)
            if steps != self.rungs[-1] and trial.should_prune():
                pruned = True
                break
        return value, pruned

    def _score(self, space: Space, study: optuna.Study, candidate: Candidate, steps: int) -> float:
        """What a candidate scores, as it is served, after a training of so many steps."""
        key = f"score {json.dumps(asdict(candidate))} {steps}"
        known = study.user_attrs.get(key)
        if known is not None:
            return float(known["score"])
        answers = str((self.place / ANSWERS).resolve())
        plan = make_plan(space.recipe(self.recipe, candidate, steps=steps, answers=answers))
        place = RunFolder(self.place / TRIALS / _name(candidate, steps))
        with place.claim(plan.recipe, describe_environment(plan), fresh=False):
            models = self._models(plan, place)
            models.check()
            if not place.is_finished(STAGE):
                train_stage(plan.stages[STAGE], self.task, models, place, _say_nothing)
            score = place.result(STAGE).score
            if candidate.int8:
                trained = load_classifier(place.stage(STAGE), require_head=True)
                tokenizer = load_tokenizer(place.stage(STAGE))
                score = score_served(trained, tokenizer, self.task, max_length=self.max_length, texts=self.texts)
            if score is None:
                raise ValueError("the held-out examples have labels")
            study.set_user_attr(key, {"candidate": asdict(candidate), "steps": steps, "score": score})
        clear_stage(place.path, STAGE)  # its weights; the score is kept
        shutil.rmtree(place.path)
        return score

    def _trained(self, study: optuna.Study) -> dict[Candidate, tuple[int, float]]:
        """The candidates that were trained: steps of the longest training, and what it scored."""
        found: dict[Candidate, tuple[int, float]] = {}
        for key, known in study.user_attrs.items():
            if key.startswith("score "):
                candidate = Candidate(**known["candidate"])
                found[candidate] = max(found.get(candidate, (0, 0.0)), (known["steps"], known["score"]))
        return found

    # ---- what was found ----

    def _front(self, space: Space, study: optuna.Study, teacher: _Teacher) -> Front:
        rows = []
        for candidate, (steps, score) in self._trained(study).items():
            served = self._served(space, candidate, study)
            rows.append(
                Tried(
                    student=space.words(candidate),
                    candidate=asdict(candidate),
                    steps=steps,
                    score=score,
                    share=self._share(score, teacher.score),
                    ms=served.ms,
                    speedup=served.speedup,
                    mb=served.mb,
                )
            )
        refused = [
            str(each.user_attrs["refused"])
            for each in study.get_trials(deepcopy=False)
            if "refused" in each.user_attrs
        ]
        return Front(
            task=self.task.name,
            main_metric=self.task.main_metric,
            goal={name: value for name, value in asdict(self.goal).items() if value is not None},
            teacher=asdict(teacher),
            tried=pareto(rows),
            refused=refused,
            versions=library_versions(),
        )

    def _write(self, front: Front) -> None:
        write_text(self.place / RESULT, front.to_json())
        if importlib.util.find_spec("matplotlib") is not None:
            draw_front(front, self.place / PLOT)

    def _size_of(self, row: Tried) -> float:
        return row.mb if self.goal.by_size else row.ms

    def _train_chosen(self, space: Space, study: optuna.Study, front: Front) -> Front:
        """Train the smallest or fastest that keeps the share; where it does not after all, the next one."""
        fitting = sorted((row for row in front.tried if row.share >= self.goal.keep), key=self._size_of)
        for row in fitting:
            candidate = Candidate(**row.candidate)
            recipe = space.recipe(self.recipe, candidate)
            self.say(f"training {row.student} in full")
            final = self._in_full(study, recipe, candidate, row, front)
            if final.share >= self.goal.keep:
                front = front.with_chosen(final)
                self._write(front)
                self._say_chosen(final)
                return front
            front = front.with_row(final)
            self._write(front)
            self.say(f"{row.student} keeps {final.share:.1%} after its training in full")
        raise RunError(self._nearest(space, front))

    def _nearest(self, space: Space, front: Front) -> str:
        if not front.tried:
            return f"no student was trained that could meet {self.goal.words()}: give more --trials"
        row = max(front.tried, key=lambda each: (each.share, -self._size_of(each)))
        recipe = space.recipe(self.recipe, Candidate(**row.candidate))
        write_text(self.place / RECIPE, recipe.to_yaml())
        return (
            f"no student of {len(front.tried)} met {self.goal.words()}: the nearest ({row.student}) keeps"
            f" {row.share:.1%} after {row.steps} steps, at {_cost(row)}; its recipe is"
            f" {self.place / RECIPE}, and more --trials go on from here"
        )

    def _in_full(self, study: optuna.Study, recipe: Recipe, candidate: Candidate, row: Tried, front: Front) -> Tried:
        """A row as it is after the training in full, served as it will be."""
        write_text(self.place / RECIPE, recipe.to_yaml())
        mark = json.dumps(asdict(candidate))
        again = study.user_attrs.get("run") not in (None, mark)
        study.set_user_attr("run", mark)
        report = run_recipe(recipe, self.place / RUN, fresh=again, say=self.say)
        found = None if report is None else report.stage(STAGE)
        if found is None or found.score is None:
            raise ValueError("the run is finished")
        score, name = found.score, self.place / RUN / STAGE
        share = self._share(score, front.teacher["score"])
        served = Served(row.ms, row.mb, row.ms * row.speedup)
        if candidate.int8 and share >= self.goal.keep:
            score, served = self._exported(name, share)
            share = self._share(score, front.teacher["score"])
        return replace(
            row, steps=self.full, score=score, share=share, ms=served.ms, speedup=served.speedup, mb=served.mb
        )

    def _exported(self, name: Path, share: float) -> tuple[float, Served]:
        """The int8 file of the chosen student, in a folder of its own: what it scores, its size and speed."""
        if (self.place / SERVED).exists():
            shutil.rmtree(self.place / SERVED)
        settings = ExportSettings(
            int8="dynamic", max_drop=max(0.0, 1 - self.goal.keep / share), max_length=self.max_length, seconds=0
        )
        made = export_model(str(name), self.place / SERVED, self.task, settings)
        row = made.files[-1]
        if row.score is None or row.exported is None:
            raise ValueError("an export with held-out examples is scored")
        return row.score, self._final_cost(self.place / SERVED / row.exported.file)

    def _final_cost(self, file: Path) -> Served:
        with one_thread():
            times = measure_latencies(
                {"teacher": self.predictor, "student": timed(file, self.max_length)}, self.texts, budget_seconds=2.0
            )
        return Served(times["student"], disk_mb(file), times["teacher"])

    def _say_chosen(self, row: Tried) -> None:
        self.say("")
        self.say(f"found  {row.student}: {row.share:.1%} of the teacher's {self.task.main_metric}, {_cost(row)}")
        self.say(f"model  {self.place / (SERVED if row.candidate['int8'] else f'{RUN}/{STAGE}')}")
        self.say(f"recipe {self.place / RECIPE}")


def _can_export() -> bool:
    try:
        need_onnx()
    except RequestError:
        return False
    return True


def _rungs(steps: int) -> list[int]:
    """The steps of the trainings of a trial, each `REDUCTION` times as long as the one before, the last in full."""
    first = steps
    while first // REDUCTION >= FEWEST_STEPS:
        first //= REDUCTION
    found = [first]
    while found[-1] * REDUCTION**2 <= steps:
        found.append(found[-1] * REDUCTION)
    return [*found, steps] if found[-1] < steps else found


def _cost(row: Served | Tried) -> str:
    return f"{row.ms:.2f} ms ({row.speedup:.1f}x), {row.mb:.1f} MB"


def _name(candidate: Candidate, steps: int) -> str:
    return f"{hashlib.sha256(json.dumps(asdict(candidate)).encode()).hexdigest()[:12]}-{steps}"


def _say_nothing(_: str) -> None:
    pass
