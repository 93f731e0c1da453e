"""The students of a search: what they can be, what one costs before it is trained, and what it scores after that."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from distilnlp.data.task import Task
from distilnlp.errors import RequestError, RunError
from distilnlp.export.gate import drop
from distilnlp.models.capture import model_info
from distilnlp.models.heads import model_from_config
from distilnlp.models.loading import load_classifier, load_config, load_tokenizer
from distilnlp.models.predictor import Predictor, Text
from distilnlp.onnx_file import need_onnx
from distilnlp.report.fidelity import fidelity_of
from distilnlp.report.predictions import Predictions
from distilnlp.report.scores import SCORES
from distilnlp.run.environment import describe_environment
from distilnlp.run.evaluation import answer_of, texts_of
from distilnlp.run.export import ExportSettings, export_model
from distilnlp.run.folder import RunFolder
from distilnlp.run.manifest import clear_stage
from distilnlp.run.models import Models
from distilnlp.run.plan import Plan, StagePlan, make_plan, most_steps
from distilnlp.run.report import outsider_result
from distilnlp.run.runner import run_recipe
from distilnlp.run.search_records import REDUCTION, Final, Spent, Teacher, Training
from distilnlp.run.search_space import NEEDED, STAGE, Candidate, Space, whole_space, without_what_cannot_be
from distilnlp.run.served import Served, cost_of, one_thread, score_served, size_and_speed, timed
from distilnlp.run.stage import train_stage
from distilnlp.run.vocabulary import TokenCounts
from distilnlp.run.weak_teacher import weak_teacher

__all__ = ["Students", "training_lengths"]

FEWEST_STEPS = 10
TIMED = 200  # texts that the speed is measured on are drawn from
FINAL_SECONDS = 10.0  # for which what is served in the end is timed


class Students:
    """Makes, measures and trains the students of one teacher for one task.

    Args:
        plan: of a recipe with the one stage that a search has.
        task: its data, with labelled held-out examples.
        folder: where trainings have their files while they run.
        answers: the folder of the teacher's answers, which all trainings read.
    Raises:
        RequestError: several teachers, or none that is a model.
    """

    def __init__(self, plan: Plan, task: Task, folder: Path, answers: Path) -> None:
        self.plan, self.recipe, self.task, self.folder, self.answers = plan, plan.recipe, task, folder, answers
        stage = plan.stages[STAGE]
        if len(stage.teaching_models) != 1 or stage.spec.student is None or stage.objective is None:
            raise RequestError("a search needs one model as --teacher, of whose layers students are made")
        if task.validation is None:
            raise ValueError("a search has held-out examples")
        self.teacher_name = stage.teaching_models[0]
        self.max_length = stage.data.max_length
        texts = texts_of(task.validation.select(range(min(TIMED, len(task.validation)))))
        self.texts: list[Text] = [text for text in texts if text]
        known = SCORES.get(task.main_metric)
        self.higher_is_better = known is None or known.higher_is_better
        self.full = self._full_steps(stage)
        self._counts = TokenCounts()
        self._timed_teacher: Predictor | None = None
        self._teachers_answers: Predictions | None = None

    def _full_steps(self, stage: StagePlan) -> int:
        steps = most_steps(stage, self.task)
        if steps is not None:
            return steps
        rows = 0 if self.task.train is None else len(self.task.train)
        size = stage.arguments.train_batch_size * stage.arguments.gradient_accumulation_steps
        return max(1, math.ceil(float(stage.arguments.num_train_epochs) * rows / size))

    # ---- what they can be ----

    def space(self, say: Callable[[str], object]) -> Space:
        """The students that can be made of this teacher for this task; what cannot be is said, with the reason."""
        objectives = self._objectives(self.plan.stages[STAGE])
        int8 = _can_export()
        if not int8:
            say("no student in int8: onnx is not installed (pip install 'distilnlp[onnx]')")
        space = whole_space(load_config(self.teacher_name), objectives, int8=int8)
        self._sketch(space, replace(space.plain, int8=False))  # what is wrong with teacher or data is told as it is
        space, told = without_what_cannot_be(space, lambda candidate: self._refused(space, candidate))
        for name, why in told.items():
            say(f"no student with {name}: {why}")
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
        return Models(plan, {STAGE: self.task}, folder or RunFolder(self.folder / "none"), self._counts)

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

    def teacher(self) -> Teacher:
        """The teacher, measured. Raises RunError: it is not above the baseline, or has no score to keep a share of."""
        answers = answer_of(self.teacher_name, self.task, max_length=self.max_length)
        self._teachers_answers = answers.predictions
        result = outsider_result(self.teacher_name, answers, self.task)
        weakness = weak_teacher(self.teacher_name, self.plan, RunFolder(self.folder / "none"), result)
        if weakness is not None:
            raise RunError(weakness)
        score = result.score
        if score is None or score <= 0:
            raise RunError(
                f"{self.teacher_name} has {self.task.main_metric} {score}, of which no share can be kept:"
                " a teacher with a score above 0 is needed"
            )
        model, tokenizer = load_classifier(self.teacher_name, require_head=True), load_tokenizer(self.teacher_name)
        served = size_and_speed(model, tokenizer, int8=False, teacher=self.timed_teacher, texts=self.texts)
        return Teacher(self.teacher_name, score, served.teacher_ms, served.mb)

    @property
    def timed_teacher(self) -> Predictor:
        """The teacher that students are timed in turns with."""
        if self._timed_teacher is None:
            self._timed_teacher = timed(self.teacher_name, self.max_length)
        return self._timed_teacher

    def share(self, score: float, teacher: Teacher) -> float:
        """Which share of the teacher's score one is: 1 for the same, whichever way is better."""
        return 1 - drop(teacher.score, score, higher_is_better=self.higher_is_better)

    # ---- what one costs, and scores ----

    def served(self, space: Space, candidate: Candidate) -> Served:
        """Size and speed of a candidate, with random weights. Raises RequestError: it cannot be."""
        models, sketch = self._sketch(space, candidate)
        with torch.random.fork_rng(devices=[]), one_thread():
            torch.default_generator.manual_seed(0)
            model = model_from_config(sketch.config).eval()
            # A new model's biases are 0 and its norms equal. Of what is equal an ONNX file has one, and is too small.
            for vector in (each.data for each in model.parameters() if each.dim() == 1):
                vector.add_(0.02 * torch.randn_like(vector))
            return size_and_speed(
                model, models.tokenizer(STAGE), int8=candidate.int8, teacher=self.timed_teacher, texts=self.texts
            )

    def train(self, space: Space, candidate: Candidate, steps: int) -> Training:
        """Train a candidate, and score it as it is served. In full it stays in its folder (`run_of`).

        Raises:
            DistilError: it cannot be trained.
        """
        started, place = Spent.now(), self.run_of(candidate, steps)
        if steps >= self.full:
            run_recipe(self._with_answers(make_plan(space.recipe(self.recipe, candidate))), place, say=_say_nothing)
        else:
            self._train_shortly(space, candidate, steps, RunFolder(place))
        plain = RunFolder(place).result(STAGE).score
        if plain is None:
            raise ValueError("the held-out examples have labels")
        score, own = plain, RunFolder(place).predictions(STAGE)
        if candidate.int8:
            trained, tokenizer = load_classifier(place / STAGE, require_head=True), load_tokenizer(place / STAGE)
            own, score = score_served(trained, tokenizer, self.task, max_length=self.max_length, texts=self.texts)
        distance = self._distance(own)
        if steps < self.full:
            clear_stage(place, STAGE)
            shutil.rmtree(place)
        return Training(candidate, steps, score, plain, distance, Spent.now() - started)

    def _distance(self, own: Predictions) -> float:
        """How far a student's answers to the held-out examples are from its teacher's; infinite of other tokens."""
        if self._teachers_answers is None:
            self._teachers_answers = answer_of(self.teacher_name, self.task, max_length=self.max_length).predictions
        found = fidelity_of(own, self._teachers_answers, self.task.problem, (STAGE, self.teacher_name))
        if found is None:
            return math.inf
        return found["kl"] if "kl" in found else found["mae"]

    def _train_shortly(self, space: Space, candidate: Candidate, steps: int, place: RunFolder) -> None:
        taken = space.steps(candidate, steps)
        plan = self._with_answers(make_plan(space.recipe(self.recipe, candidate, steps=taken)))
        with place.claim(plan.recipe, describe_environment(plan), fresh=False):
            models = self._models(plan, place)
            models.check()
            if not place.is_finished(STAGE):
                train_stage(plan.stages[STAGE], self.task, models, place, _say_nothing)

    def _with_answers(self, plan: Plan) -> Plan:
        """A plan whose teacher's answers are read where all of this search are. No recipe tells of it."""
        stage = plan.stages[STAGE]
        cache = dataclasses.replace(stage.cache, folder=str(self.answers.resolve()))
        return dataclasses.replace(plan, stages={STAGE: dataclasses.replace(stage, cache=cache)})

    def run_of(self, candidate: Candidate, steps: int) -> Path:
        """The folder of a training."""
        return self.folder / f"{hashlib.sha256(json.dumps(asdict(candidate)).encode()).hexdigest()[:12]}-{steps}"

    def export(self, run: Path, folder: Path, keep: float, share: float, known: Served) -> Final:
        """Write a trained student in int8, with as few layers in fp32 as it needs to keep the share.

        It is timed once more. Where all layers are in int8 it is what was timed before it was trained, and of both
        times the shorter one counts.

        Args:
            run: with the student.
            folder: the new one.
            keep: the share of the teacher's score that is asked for.
            share: the one that the student keeps in float32.
            known: what a student of its shape costs, with all layers in int8.
        Raises:
            RunError: the score does not hold.
        """
        if folder.exists():
            shutil.rmtree(folder)
        settings = ExportSettings(
            int8="dynamic", max_drop=max(0.0, 1 - keep / share), max_length=self.max_length, seconds=0
        )
        made = export_model(str(run / STAGE), folder, self.task, settings)
        row = made.files[-1]
        if row.score is None or row.exported is None:
            raise ValueError("an export with held-out examples is scored")
        file = folder / row.exported.file
        megabytes = file.stat().st_size / 1e6
        served = cost_of(file, megabytes, teacher=self.timed_teacher, texts=self.texts, seconds=FINAL_SECONDS)
        return Final(row.score, served if row.exported.in_fp32 else served.at_best(known), None)


def training_lengths(steps: int) -> list[int]:
    """The steps of the trainings of a trial, the last in full: each `REDUCTION` times as long as the one before.

    Two are shorter at most. After a thirtieth of its steps a student gives one answer to all texts, and to load and
    score it takes longer than they do.
    """
    shorter = [steps // REDUCTION**2, steps // REDUCTION]
    return [*(each for each in shorter if each >= FEWEST_STEPS), steps]


def _can_export() -> bool:
    try:
        need_onnx()
    except RequestError:
        return False
    return True


def _say_nothing(_: str) -> None:
    pass
