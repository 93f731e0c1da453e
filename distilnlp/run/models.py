"""The models of a run: what a stage starts from, who teaches it, and whether the two fit before any training."""

import copy
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.data.label_sets import label_array
from distilnlp.data.task import Task
from distilnlp.data.tokenize import check_tokenizer
from distilnlp.errors import RequestError
from distilnlp.label_names import match_names
from distilnlp.losses import Objective
from distilnlp.losses.objective import info_for
from distilnlp.models.backend import TorchBackend, best_device
from distilnlp.models.capture import model_info
from distilnlp.models.checks import check_fits, training_limit
from distilnlp.models.heads import model_from_config
from distilnlp.models.labels import align_labels, keep_label_rows, label_names_of, label_order, relabel
from distilnlp.models.loading import load_classifier, load_config
from distilnlp.models.predictor import Predictor
from distilnlp.models.reading import remember_reading
from distilnlp.models.sentence_encoder import SENTENCE, SentenceEncoder, sentence_modules
from distilnlp.models.task_heads import join_tasks, joined_config, split_task
from distilnlp.models.trained_columns import TrainedColumns, remember_columns
from distilnlp.outputs import ModelInfo, Needs
from distilnlp.part import Part
from distilnlp.problems import TEACHER_TEXT, problem_of_config
from distilnlp.recipe import LoraSpec
from distilnlp.recipe.names import checkpoint_step
from distilnlp.recipe.schema import SchemeSpec
from distilnlp.report.schema import Choice
from distilnlp.report.scores import SCORES
from distilnlp.run.evaluation import check_head, texts_of
from distilnlp.run.folder import RunFolder
from distilnlp.run.plan import Plan, StagePlan, loss_culprit, most_steps
from distilnlp.run.reading import reading_of
from distilnlp.run.sources import Sources, plain_copy, start_for
from distilnlp.run.vocabulary import TokenCounts, Vocabularies
from distilnlp.students import build_student
from distilnlp.students.choice import check_measured
from distilnlp.students.layers import IMPORTANCE
from distilnlp.teachers import (
    TEACHERS,
    ByTaskTeacher,
    EnsembleTeacher,
    FrozenTeacher,
    RecordedTeacher,
    Teacher,
    load_teacher,
)
from distilnlp.teachers.ensemble import answering
from distilnlp.training.checkpoints import whole_checkpoint
from distilnlp.training.compatibility import (
    CONFIRM_BATCHES,
    check_members,
    check_part_tokens,
    check_same_tokens,
    check_terms,
    confirm_label_order,
    reads_other_tokens,
)
from distilnlp.training.own_tokens import check_compares
from distilnlp.yaml_text import Path_

__all__ = ["Models", "add_adapter", "shortened_config", "sketch_of", "teacher_of"]

logger = logging.getLogger(__name__)


# PEFT trains the head in full, and leaves it out of all-linear only where it answers for a text.
HEADS = r"(.*\.)?(classifier|score|qa_outputs)(\..*)?"


def add_adapter(model: PreTrainedModel, lora: LoraSpec) -> nn.Module:
    """The model with low-rank adapters that are trained in its place; the head is trained in full.

    Raises:
        RequestError: the model has no module of the names in ``target_modules``.
    """
    from peft import LoraConfig, get_peft_model

    problem = problem_of_config(model.config)
    config = LoraConfig(
        task_type=problem.peft_task_type,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        exclude_modules=None if problem.rows == "text" else HEADS,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise RequestError(f"lora: {error}", key=["lora", "target_modules"]) from error


def teacher_of(stage: StagePlan, models: Mapping[str, FrozenTeacher]) -> Teacher | None:
    """Who teaches a stage: a model itself, or what is made of several, or follows the student.

    Args:
        models: those of ``stage.teaching_models``, by their names; of a teacher that is chosen, the one.
    """
    scheme = stage.spec.scheme
    for name, model in models.items():
        model.info = replace(model.info, name=name)  # what a recipe calls it
    if scheme is None:
        return next(iter(models.values()), None)
    given = [tuple(models.values())] if TEACHERS.get(scheme.kind).of_others else []
    made: Teacher = TEACHERS.make(scheme.kind, scheme.settings, *given)
    return made


def sketch_of(scheme: SchemeSpec) -> Any:
    """A teacher with its settings, and without the models that it is made of."""
    given = [()] if TEACHERS.get(scheme.kind).of_others else []
    return TEACHERS.make(scheme.kind, scheme.settings, *given)


# Texts whose vectors tell which directions to keep: more change nothing.
_TEXTS_OF_COMPONENTS = 10_000
# How many of them importance is measured on, where a recipe does not say it.
_TEXTS_OF_IMPORTANCE = 256


def shortened_config(stage: StagePlan, config: PreTrainedConfig) -> PreTrainedConfig:
    """The config of a model that a stage's student is made of or taught by, with vectors as short as the student's.

    Itself where nothing is to be shortened.
    """
    dimension = None if stage.spec.student is None else stage.spec.student.dimension
    if dimension is None or getattr(config, SENTENCE, None) is None:
        return config
    modules = sentence_modules(config)
    if dimension >= modules.width(config.hidden_size):
        return config
    problem = problem_of_config(config)
    if problem.apart:
        raise RequestError(
            f"dimension shortens vectors that a teacher gives, and {problem.name} is learned from scores: leave it"
            " out, or start from an encoder with shorter vectors",
            key=["student", "dimension"],
        )
    made = copy.deepcopy(config)
    setattr(made, SENTENCE, modules.projected(config.hidden_size, dimension, bias=False).to_dict())
    return made


class Models:
    """Finds and makes the models of a plan's stages.

    Args:
        plan: of the run.
        tasks: the data of each stage, whose labels its model gets.
        folder: where the stages that are finished are.
        counts: what tokenizers found in the tasks' texts for other plans; None: nothing is known.
    """

    def __init__(
        self, plan: Plan, tasks: Mapping[str, Task], folder: RunFolder, counts: TokenCounts | None = None
    ) -> None:
        self.plan = plan
        self.tasks = tasks
        self.folder = folder
        to_come = [stage for stage in plan.stages.values() if not folder.is_finished(stage.name)]
        names = [name for stage in to_come for name in (stage.start, *stage.teaching_models)]
        outside = [name for name in names if plan.stage_of(name) is None]
        # The teachers from outside of which no stage reads the head, so that they need none; `check` finds them.
        self.bodies: set[str] = set()
        self.sources = Sources(Counter(outside), plan.poolings)
        self.vocabularies = Vocabularies(plan, tasks, folder, self.sources, counts or TokenCounts())
        self._reduced: dict[tuple[str, int], SentenceEncoder] = {}

    # ---- for a stage that is to be trained ----

    def start_of_tasks(self, stage: StagePlan) -> PreTrainedModel:
        """The model that a stage with several tasks begins to train: of each task what it would begin with alone."""
        return join_tasks({task: self.start(self.plan.stages[name]) for task, name in stage.parts.items()})

    def teacher_of_tasks(self, stage: StagePlan) -> ByTaskTeacher | None:
        """Who teaches a stage with several tasks: for each its own."""
        if stage.spec.teacher is None:
            return None
        return ByTaskTeacher({task: self.teacher(self.plan.stages[name]) for task, name in stage.parts.items()})

    def of_task(self, stage: StagePlan) -> PreTrainedModel:
        """The model of one of several tasks, which a finished training has left together with the others."""
        task = self.plan.recipe.owners[stage.name][1]
        made = split_task(load_classifier(self.folder.stage(stage.trained_as), require_head=True), task)
        self._remember(stage, made)
        return made

    def tokenizer(self, name: str) -> PreTrainedTokenizerBase:
        """The tokenizer of a stage, or of a folder or Hub id."""
        return self.vocabularies.tokenizer(name)

    def start(self, stage: StagePlan, task: Task | None = None) -> PreTrainedModel:
        """The model that a stage begins to train: the same weights each time.

        Args:
            task: with the texts that it will be trained on, where those that the plan knows of stand for them.
        """
        texts = task or self.tasks[stage.name]
        if self.plan.stage_of(stage.start) is not None:
            base = self._grown(stage, self._of_stage(stage.start, stage))
            made = self._made_of(stage, self._shortened(stage, stage.start, base), texts)
        else:
            base = self._grown(stage, self.sources.start(stage.start, self.tasks[stage.name], stage.seed))
            made = self._made_of(stage, self._shortened(stage, stage.start, base), texts)
            made = self._for_task(plain_copy(made) if made is base else made, self.tasks[stage.name])
            self.sources.used(stage.start)
        self._remember(stage, made)
        return made

    def _remember(self, stage: StagePlan, made: PreTrainedModel) -> None:
        """Keep in a model's config what it is trained on, and how it reads."""
        columns = self.tasks[stage.name].columns
        if columns is not None:
            remember_columns(made.config, TrainedColumns(columns.text, columns.text_pair, columns.label))
        remember_reading(made.config, reading_of(stage.data, self.tasks[stage.name], made.config))

    def recorded(self, stage: StagePlan) -> RecordedTeacher | None:
        """Who teaches a stage, where the answers stand in its data."""
        task = self.tasks[stage.name]
        return None if stage.recorded is None else RecordedTeacher(task.label_names, task.problem, stage.recorded.name)

    def teacher(self, stage: StagePlan) -> Teacher | None:
        """Who teaches a stage."""
        if stage.recorded is not None:
            return self.recorded(stage)
        chosen = self.chosen_teacher(stage)
        names = stage.teaching_models if chosen is None else (chosen.teacher,)
        return teacher_of(stage, {name: self._teaching(stage, name) for name in names})

    def parts(self, stage: StagePlan, load: Callable[[str], PreTrainedModel] | None = None) -> list[Part]:
        """What else follows the training of a stage, with the models that it works with.

        Args:
            load: gives one of these by its name; default: from its folder, or the stage that is finished.
        """

        def given(part: str) -> tuple[object, ...]:
            name = stage.spec.part_models.get(part)
            return () if name is None else ((load or self._as_it_is)(name), self.tokenizer(name))

        return [stage.make_part(part, *given(part)) for part in stage.spec.parts or {}]

    def _as_it_is(self, name: str) -> PreTrainedModel:
        """A model with its own head: of a stage that is finished, or from outside."""
        return load_classifier(self.folder.model(name) if self.plan.stage_of(name) else name, require_head=True)

    def config_of(self, name: str, sketches: Mapping[str, PreTrainedModel]) -> PreTrainedConfig:
        """The config of a model, before it is there."""
        own = self.plan.stage_of(name)
        return load_config(name) if own is None else sketches[own.name].config

    def _check_part(self, stage: StagePlan, part: str, name: str, sketches: Mapping[str, PreTrainedModel]) -> None:
        """Whether the model that a part works with is one for it, and reads the tokens of the student."""
        with self._told_at(stage, ("parts", part), ("parts", part, "model")):
            with torch.device("meta"):
                model = model_from_config(copy.deepcopy(self.config_of(name, sketches)))
            made = stage.make_part(part, model, self.tokenizer(name))
            made.accept(sketches[stage.name])
            check_part_tokens(made, self.tokenizer(stage.name))

    def chosen_teacher(self, stage: StagePlan) -> Choice | None:
        """The teacher of the best of several stages, which are finished; None where a stage has its own.

        Raises:
            RequestError: their scores cannot be compared.
        """
        if not stage.candidates:
            return None
        results = {name: self.folder.result(name) for name in stage.candidates}
        measured = {(each.held_out, each.main_metric) for each in results.values()}
        scores = {name: each.score for name, each in results.items() if each.score is not None}
        if len(measured) > 1 or len(scores) < len(results):
            with self._told_at(stage, ("teacher",), ("teacher", "of_best")):
                raise RequestError(
                    f"{', '.join(results)} were not measured on the same labelled held-out examples, so that none is"
                    " the best: give them the same data"
                )
        better = SCORES[str(self.tasks[next(iter(results))].main_metric)].higher_is_better
        best = max(scores, key=lambda name: scores[name] if better else -scores[name])
        return Choice(teacher=stage.candidates[best], by=best, scores=scores)

    def _teaching(self, stage: StagePlan, name: str) -> FrozenTeacher:
        """One of the models that teach a stage."""
        if self.plan.stage_of(name) is not None:
            found = load_teacher(self.folder.model(name))
            shorter = self._shortened(stage, name, found.model)
            whole = found if shorter is found.model else FrozenTeacher(shorter, found.tokenizer)
        else:
            whole = FrozenTeacher(
                self._shortened(stage, name, self.outsider(stage, name)), self.sources.tokenizer(name)
            )
            self.sources.used(name)
        vocabulary = self.vocabularies.teaching(stage, name)
        return whole if vocabulary is None else FrozenTeacher(vocabulary.model(whole.model), vocabulary.tokenizer)

    def _shortened(self, stage: StagePlan, name: str, model: PreTrainedModel) -> PreTrainedModel:
        """A sentence encoder whose vectors are as short as the stage's student wants them; any other as it is."""
        config = shortened_config(stage, model.config)
        task = self.tasks[stage.name]
        if config is model.config or not isinstance(model, SentenceEncoder) or task.train is None:
            return model
        key = (name, task.problem.head_size(config))
        if key not in self._reduced:
            chosen = np.random.default_rng(0).permutation(len(task.train))[:_TEXTS_OF_COMPONENTS]
            predictor = Predictor(TorchBackend(model, best_device()), self.tokenizer(name), batch_size=64)
            some = task.train.select(np.sort(chosen))
            if TEACHER_TEXT in some.column_names and name in stage.teaching_models:
                some = some.select_columns([TEACHER_TEXT]).rename_columns({TEACHER_TEXT: "text"})
            vectors = predictor.logits(texts_of(some))
            self._reduced[key] = model.cpu().reduced(torch.from_numpy(vectors), key[1])
        return copy.deepcopy(self._reduced[key])

    def outsider(self, stage: StagePlan, name: str) -> PreTrainedModel:
        """A model that teaches a stage and is no stage itself."""
        return self.sources.teacher(name, self.tasks[stage.name], head=name not in self.bodies)

    @staticmethod
    def _with_head(name: str, task: Task) -> ModelInfo:
        """The sizes of a model with a head for a task, whether it has one or not."""
        config = relabel(load_config(name), task.problem.config_settings(task.label_names))
        with torch.device("meta"):
            return model_info(model_from_config(config))

    def _of_stage(self, name: str, stage: StagePlan) -> PreTrainedModel:
        """What a finished stage has left, with a head for the task of the stage that goes on from it."""
        return start_for(self.folder.model(name), self.tasks[stage.name], stage.seed)

    def _grown(self, stage: StagePlan, base: PreTrainedModel) -> PreTrainedModel:
        """The start of a stage whose labels grow, with the rows of its head for the old ones; any other as it is."""
        if stage.spec.labels != "grow":
            return base
        own = self.plan.stage_of(stage.start)
        place = stage.start if own is None else self.folder.model(stage.start)
        grown = plain_copy(base)
        keep_label_rows(grown, load_classifier(place, require_head=True))
        return grown

    @staticmethod
    def _for_task(model: PreTrainedModel, task: Task) -> PreTrainedModel:
        """Its labels in the task's order; a head that has them in another order is put into theirs, not lost."""
        model.config.problem_type = task.problem.name  # type: ignore[assignment]  # theirs lists three kinds
        return model if task.label_names is None else align_labels(model, task.label_names)

    def _made_of(self, stage: StagePlan, base: PreTrainedModel, texts: Task | None = None) -> PreTrainedModel:
        """The student of a stage, made of ``base``; itself where the stage makes none.

        Args:
            texts: that importance is measured on, and low ranks are made for; None: of a sketch, whose sizes do not
                depend on them.
        """
        spec = stage.spec.student
        if spec is None:
            return base
        layer_map: str | None = spec.layer_map
        choose: str | None = spec.choose
        batches = None
        if IMPORTANCE in (layer_map, choose):
            check_measured(base.config, spec.layers, layer_map, choose, spec.config, spec.architecture, spec.init)
        low_rank = "embedding_size" in (spec.config or {}) and spec.init == "teacher"
        if texts is not None and (low_rank or IMPORTANCE in (layer_map, choose)):
            batches = self._batches(stage, base, texts)
        elif texts is None:
            layer_map, choose = (None if each == IMPORTANCE else each for each in (layer_map, choose))
            batches = [] if low_rank else None
        return build_student(
            base,
            layers=spec.layers,
            layer_map=layer_map,
            config=spec.config,
            architecture=spec.architecture,
            dimension=spec.dimension,
            vocabulary=self.vocabularies.make(stage, base.config),
            init=spec.init,
            choose=choose,
            batches=batches,
            seed=stage.seed,
        )

    def _batches(self, stage: StagePlan, model: PreTrainedModel, task: Task) -> list[dict[str, torch.Tensor]]:
        """Inputs of a model: some of the texts that a stage learns from, the same each time."""
        spec = stage.spec.student
        if task.train is None:
            raise RequestError("importance is measured on training texts, and there are none")
        wanted = _TEXTS_OF_IMPORTANCE if spec is None or spec.texts is None else spec.texts
        chosen = np.random.default_rng(0).permutation(len(task.train))[:wanted]
        # Of the model that is asked, whose tokens the student may know by other numbers.
        predictor = Predictor(TorchBackend(model), self.tokenizer(stage.start), max_length=stage.data.max_length)
        texts = texts_of(task.train.select(np.sort(chosen)))
        size = predictor.batch_size
        return [predictor.encode(texts[start : start + size]) for start in range(0, len(texts), size)]

    # ---- before the first stage ----

    def check(self) -> dict[str, PreTrainedModel]:
        """Make sketches of every stage's models, without weights, and compare them as the objective will.

        What cannot work in the last stage is so found before the first one is trained. A model from outside is loaded
        for it, which also shows whether its weights are whole, and is kept for the stage that uses it.

        Returns:
            The sketch of each stage's model, by the stage's name.
        Raises:
            RequestError: a model that cannot be loaded, a teacher without a head, models that the objective cannot
                compare; with the line of the recipe.
        """
        sketches: dict[str, PreTrainedModel] = {}
        for stage in self.plan.stages.values():
            sketches[stage.name] = self._sketch(stage, sketches)
        self.bodies = self._find_bodies(sketches)
        for stage in self.plan.stages.values():
            self._check_checkpoints(stage)
            self._check_as_it_is(stage)
            if stage.objective is not None:
                self._check_objective(stage, sketches)
            for part, name in stage.spec.part_models.items():
                self._check_part(stage, part, name, sketches)
        self._warn_of_sizes(sketches)
        for stage in self.plan.together.values():
            with self._told_at(stage, ("data", "tasks")), torch.device("meta"):
                configs = {task: sketches[name].config for task, name in stage.parts.items()}
                sketches[stage.name] = model_from_config(joined_config(configs))
        return sketches

    def _warn_of_sizes(self, sketches: Mapping[str, PreTrainedModel]) -> None:
        """Say where a chain of assistants does not go down in size; one of models all alike has other reasons."""
        sizes = {name: sketch.num_parameters() for name, sketch in sketches.items()}
        for chain in self.plan.chains():
            if len(chain) < 3 or len({sizes[name] for name in chain}) == 1:
                continue
            for above, below in itertools.pairwise(chain):
                if sizes[below] >= sizes[above]:
                    logger.warning(
                        "%s has %d parameters, and its teacher %s %d: along a chain (%s) sizes should decrease",
                        *(below, sizes[below], above, sizes[above], " -> ".join(chain)),
                    )

    def _check_checkpoints(self, stage: StagePlan) -> None:
        """Whether the checkpoints that a stage names are there, or can still be written."""
        if self.folder.is_finished(stage.name):
            return
        for path, model in stage.models:
            step, made_by = checkpoint_step(model), self.plan.stage_of(model)
            if step is None or made_by is None:
                continue
            with self._told_at(stage, path):
                if self._is_past(made_by, step):
                    self.folder.check_model(model)
                most = most_steps(made_by, self.tasks[made_by.name])
                if most is not None and most < step:
                    raise RequestError(
                        f"{model} can never be written: the stage '{made_by.name}' ends after {most} steps"
                    )

    def _is_past(self, stage: StagePlan, step: int) -> bool:
        """Whether the training of a stage is over, or goes on after a step."""
        if self.folder.is_finished(stage.name):
            return True
        last, _ = whole_checkpoint(self.folder.stage(stage.name), stage.arguments.world_size)
        return last is not None and int(last.name.rpartition("-")[2]) >= step

    def _find_bodies(self, sketches: Mapping[str, PreTrainedModel]) -> set[str]:
        """The teachers from outside of which no stage reads the head, where a bare encoder can teach."""
        found: set[str] = set()
        read: set[str] = set()
        for name, stage in self._taught_from_outside():
            if not self.tasks[stage.name].problem.labels_itself:
                read.add(name)
                continue
            infos = {}
            for each in stage.teaching_models:
                with self._told_at(stage, ("teacher",), *_start_paths(stage)):
                    made_by = self.plan.stage_of(each)
                    known = None if made_by is None else model_info(sketches[made_by.name])
                    info = known or self._with_head(each, self.tasks[stage.name])
                    self.vocabularies.check_teacher(stage, each, sketches[stage.name].config)
                    vocabulary = self.vocabularies.teaching(stage, each)
                    size = info.num_logits if vocabulary is None else len(vocabulary)  # of a head over its tokens
                    infos[each] = replace(info, name=each, num_logits=size)
            own, info, scheme = model_info(sketches[stage.name]), infos[name], stage.spec.scheme
            if scheme is not None:
                info = TEACHERS.get(scheme.kind).info_of(own, list(infos.values()))
            needs = self._resolved(stage, own, info).needs_teacher()
            read_of_it = needs.logits or needs.members.get(name, Needs()).logits
            (read if read_of_it else found).add(name)
        return found - read

    def _taught_from_outside(self) -> list[tuple[str, StagePlan]]:
        taught = [(name, stage) for stage in self.plan.stages.values() for name in stage.teaching_models]
        return [(name, stage) for name, stage in taught if self.plan.stage_of(name) is None]

    def _sketch(self, stage: StagePlan, sketches: Mapping[str, PreTrainedModel]) -> PreTrainedModel:
        """A model of the sizes and labels that the stage's will have; its weights are on no device."""
        if self.folder.is_finished(stage.name):
            with torch.device("meta"):
                return model_from_config(load_config(self.folder.stage(stage.name)))
        with self._told_at(stage, *_start_paths(stage)):
            base = sketches.get(self.plan.model_name(stage.start))
            if base is None:
                base = self.sources.start(stage.start, self.tasks[stage.name], stage.seed)
            with torch.device("meta"):
                base = _relabelled(base, self.tasks[stage.name])
                shorter = shortened_config(stage, base.config)
                made = self._made_of(stage, base if shorter is base.config else model_from_config(shorter))
            self._check_tokenizer(stage, made.config)
            remember_reading(made.config, reading_of(stage.data, self.tasks[stage.name], made.config))
        if stage.spec.lora is not None:
            with self._told_at(stage, ("lora",), ("lora", "target_modules")), torch.device("meta"):
                add_adapter(type(made)(copy.deepcopy(made.config)), stage.spec.lora)
        return made

    def _check_tokenizer(self, stage: StagePlan, config: PreTrainedConfig) -> None:
        """Whether it can read the texts, at this length, and the model its tokens."""
        task = self.tasks[stage.name]
        if task.train is None:
            raise RequestError(f"task {task.name} has no training examples")
        tokenizer = self.tokenizer(stage.name)
        check_fits(config, tokenizer, pair="text_pair" in task.train.column_names)
        limit = training_limit([config], tokenizer, stage.data.max_length)
        check_tokenizer(task.train, tokenizer, limit, task.problem, reading_of(stage.data, task, config))

    def _check_as_it_is(self, stage: StagePlan) -> None:
        """Whether a model from outside that is taken without training knows the task it teaches or is measured on.

        One that others only start from may have a new head, as a start has.
        """
        others = [other for other in self.plan.stages.values() if other is not stage]
        only_a_start = any(other.start == stage.name for other in others) and all(
            stage.name not in other.teaching_models for other in others
        )
        trained_or_made = stage.spec.kind == "train" or stage.spec.student is not None
        made_here = self.plan.stage_of(stage.start) is not None
        if trained_or_made or only_a_start or made_here or self.folder.is_finished(stage.name):
            return
        task = self.tasks[stage.name]
        with self._told_at(stage, *_start_paths(stage)):
            model = FrozenTeacher(self.sources.teacher(stage.start, task), self.sources.tokenizer(stage.start))
            check_head(model.model.config, task, stage.start)
            if task.label_names is not None:
                self._check_labels(stage, model, task.label_names)

    def _check_labels(self, stage: StagePlan, teacher: FrozenTeacher, labels: tuple[str, ...]) -> None:
        if teacher.label_names is not None:
            label_order(labels, teacher.label_names, "the data")
        else:
            self._confirm_labels(stage, teacher, labels)

    def _check_objective(self, stage: StagePlan, sketches: Mapping[str, PreTrainedModel]) -> None:
        """Whether the models that teach a stage can; of those of which one will be chosen, each alone."""
        together = stage.teaching_models
        for names in [(name,) for name in together] if stage.candidates else [together]:
            self._check_taught(stage, names, sketches)

    def _check_taught(self, stage: StagePlan, names: Sequence[str], sketches: Mapping[str, PreTrainedModel]) -> None:
        own, recorded = model_info(sketches[stage.name]), self.recorded(stage)
        members, other_tokens = {}, None
        for name in names:
            with self._told_at(stage, ("teacher",), *_start_paths(stage)):
                members[name], differ = self._check_reads(stage, name, sketches)
            other_tokens = other_tokens or differ
        scheme = stage.spec.scheme
        keys = () if scheme is None else scheme.settings
        with self._told_at(stage, ("teacher",), *(("teacher", key) for key in keys)):
            teacher = recorded or teacher_of(stage, members)
            check_members(teacher, self.tasks[stage.name].train, self.tasks[stage.name].problem)
            if isinstance(teacher, Part):
                teacher.accept(sketches[stage.name])
        info = None if teacher is None else teacher.info
        objective = self._resolved(stage, own, info)
        needs = objective.needs_teacher()
        if isinstance(teacher, EnsembleTeacher):
            with self._told_at(stage, ("teacher",)):
                teacher.check(needs)
        if other_tokens is not None:
            self._check_compares(stage, objective, other_tokens)
        labels = self.tasks[stage.name].label_names
        if labels is None or not members:
            return
        read = answering(teacher, needs)
        for name in names if "" in read else read:
            count = members[name].info.num_logits
            known = labels[:count] if objective.teacher_knows_first else labels
            with self._told_at(stage, ("teacher",)):
                try:
                    self._check_means(stage, name, known, sketches)
                except RequestError as error:
                    raise RequestError(f"{name}: {error}" if len(members) > 1 else str(error), error.key) from error

    def _check_reads(
        self, stage: StagePlan, name: str, sketches: Mapping[str, PreTrainedModel]
    ) -> tuple[FrozenTeacher, str | None]:
        """A model that teaches a stage, perhaps without weights, and why it reads other tokens, where it may."""
        self.vocabularies.check_teacher(stage, name, sketches[stage.name].config)
        vocabulary = self.vocabularies.teaching(stage, name)
        other_tokens = None if vocabulary is not None else self._other_tokens(stage, name)
        if vocabulary is None and other_tokens is None:
            check_same_tokens(self.tokenizer(stage.name), self.tokenizer(name))
        own = self.plan.stage_of(name)
        found = self.outsider(stage, name) if own is None else copy.deepcopy(sketches[own.name])
        if vocabulary is None:
            teacher = FrozenTeacher(found, self.tokenizer(name))
        else:
            with torch.device("meta"):
                teacher = FrozenTeacher(vocabulary.model(found), vocabulary.tokenizer)
        model, info = teacher.model, teacher.info
        if other_tokens is None:
            training_limit([model.config], self.tokenizer(stage.name), stage.data.max_length)
        else:
            check_fits(model.config, self.tokenizer(name))
        size = info.problem.head_size(shortened_config(stage, model.config))
        teacher.info = replace(info, num_logits=size)
        return teacher, other_tokens

    def _check_means(
        self, stage: StagePlan, name: str, labels: tuple[str, ...], sketches: Mapping[str, PreTrainedModel]
    ) -> None:
        """Whether a model that teaches a stage has the labels of its data."""
        own = self.plan.stage_of(name)
        if own is None:
            self._check_labels(stage, FrozenTeacher(self.outsider(stage, name), self.sources.tokenizer(name)), labels)
            return
        names = label_names_of(sketches[own.name])
        if names is not None:
            label_order(labels, names, "the data")

    def _other_tokens(self, stage: StagePlan, teacher: str) -> str | None:
        """Why the teacher of a stage reads tokens of its own, in words; None where it reads the student's."""
        task = self.tasks[stage.name]
        return reads_other_tokens(task.problem, self.tokenizer(stage.name), self.tokenizer(teacher), task.train)

    def _check_compares(self, stage: StagePlan, objective: Objective, why: str) -> None:
        task = self.tasks[stage.name]
        translated = task.train is not None and TEACHER_TEXT in task.train.column_names
        tokenizers = [self.tokenizer(name) for name in (stage.name, *stage.teaching_models)]
        try:
            check_compares(objective, task.problem, why, tokenizers, translated)
        except RequestError as error:
            place = ("stages", stage.name, "objective" if error.key else "teacher", *map(str, error.key))
            raise self.plan.recipe.error(place, f"stages.{stage.name}: {error}") from error

    def _resolved(self, stage: StagePlan, own: ModelInfo, teacher: ModelInfo | None) -> Objective:
        if stage.objective is None:
            raise ValueError(f"{stage.name} has no objective")
        self._check_terms(stage, stage.objective)
        try:
            return stage.objective.resolve(own, teacher)
        except RequestError as error:
            here, (loss, *keys) = ("stages", stage.name, "objective"), map(str, error.key)
            settings = (stage.spec.objective or {})[loss]
            term = next(each for each in stage.objective if each.name == loss)
            guilty = keys or loss_culprit(loss, settings, lambda made: made.resolve(own, info_for(term, own, teacher)))
            place = self.plan.recipe.latest((*here, loss), *((*here, loss, key) for key in guilty or settings))
            raise self.plan.recipe.error(place, f"stages.{stage.name}: {error}") from error

    def _check_terms(self, stage: StagePlan, objective: Objective) -> None:
        """Whether the data and a recorded teacher have what each loss reads."""
        try:
            task = self.tasks[stage.name]
            check_terms(objective, self.recorded(stage), task.train, task.problem)
        except RequestError as error:
            place = ("stages", stage.name, "objective", str(error.key[0]))
            raise self.plan.recipe.error(place, f"stages.{stage.name}: {error}") from error

    def _confirm_labels(self, stage: StagePlan, teacher: FrozenTeacher, labels: tuple[str, ...]) -> None:
        """Whether a teacher whose labels have no names knows the task: what the trainer will find."""
        task, size = self.tasks[stage.name], stage.arguments.train_batch_size
        if task.train is None or teacher.tokenizer is None or "label" not in task.train.column_names:
            return
        rows = len(task.train)
        sample = min(CONFIRM_BATCHES * size, rows)
        some = task.train.select([place * rows // sample for place in range(sample)])  # data may be sorted by label
        backend = TorchBackend(teacher.model, best_device())
        predictor = Predictor(backend, teacher.tokenizer, max_length=stage.data.max_length, batch_size=size)
        logits = torch.from_numpy(predictor.logits(texts_of(some)))
        confirm_label_order(
            [(logits, torch.from_numpy(label_array(some, task.problem)))], labels, teacher.info.problem
        )

    @contextmanager
    def _told_at(self, stage: StagePlan, *paths: Path_) -> Iterator[None]:
        """Tell a mistake at the line of the recipe: of the key that it names, else of what was written last."""
        try:
            yield
        except RequestError as error:
            here: Path_ = ("stages", stage.name)
            places = [(*here, *path) for path in paths]
            if error.key in (("max_length",), ("long",), ("join",), ("stride",)):
                places = [("data", *error.key), (*here, "data", *error.key)]
            place = self.plan.recipe.latest(*places)
            raise self.plan.recipe.error(place, f"stages.{stage.name}: {error}") from error


def _start_paths(stage: StagePlan) -> list[Path_]:
    """Where a recipe says what a stage starts from."""
    spec = stage.spec.student
    keys = spec.model_dump(by_alias=True) if spec is not None else {}
    inner = [("vocabulary", key) for key in keys.get("vocabulary") or ()]
    return [("model",), ("student",), *(("student", key) for key in keys), *(("student", *path) for path in inner)]


def _relabelled(model: PreTrainedModel, task: Task) -> PreTrainedModel:
    """The model with the labels of a task, as it will be loaded; itself where it has them."""
    own, labels = label_names_of(model), task.label_names
    same = task.problem.fits_head(model.config, labels)
    if same and (labels is None or own is None or match_names(labels, own) is not None):
        return model
    return model_from_config(relabel(copy.deepcopy(model.config), task.problem.config_settings(labels)))
