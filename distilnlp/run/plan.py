"""From a recipe to a plan: everything in it is parsed and checked once, with the libraries at hand, and handed on."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import torch
from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.training_args import TrainingArguments, trainer_log_levels

from distilnlp.data.mixture import SIZE_POWER
from distilnlp.data.recorded import RecordedColumns
from distilnlp.data.task import Task
from distilnlp.errors import RequestError, nearest, unknown
from distilnlp.losses import HardLabel, Objective, list_losses
from distilnlp.losses.base import Loss, loss_class, loss_of_entry
from distilnlp.losses.objective import says_schedule
from distilnlp.part import Part
from distilnlp.parts import PARTS
from distilnlp.recipe import LARGEST_SEED, DataSpec, Recipe, Stage, unknown_key
from distilnlp.recipe.names import as_stage, checkpoint_step
from distilnlp.recipe.schema import TeacherSpec
from distilnlp.recipe.seeds import models_by_seed
from distilnlp.registry import Registry
from distilnlp.report.schema import Role
from distilnlp.run.environment import choose_precision
from distilnlp.run.trackers import names_in_trackers
from distilnlp.teachers import TEACHERS, CacheSettings
from distilnlp.yaml_text import Path_

__all__ = [
    "Plan",
    "StagePlan",
    "guilty_keys",
    "loss_culprit",
    "loss_settings",
    "make_plan",
    "most_steps",
    "training_arguments",
]

_COUNT: dict[str, float] = {"gt": 0}
_SEED: dict[str, float] = {"ge": 0, "lt": LARGEST_SEED}
_SHARE: dict[str, float] = {"ge": 0, "lt": 1}
_NOT_NEGATIVE: dict[str, float] = {"ge": 0}
# What Trainer does not check itself: it would train nothing, go on for ever, or fail when minutes have been spent.
# Whole numbers besides are below 2**31, and no number is infinite.
_RANGES: dict[str, dict[str, float]] = {
    "num_train_epochs": {"gt": 0, "le": 1_000_000},
    "learning_rate": {"gt": 0},
    "per_device_train_batch_size": _COUNT,
    "per_device_eval_batch_size": _COUNT,
    "gradient_accumulation_steps": _COUNT,
    "max_steps": {"ge": -1},
    "seed": _SEED,
    "data_seed": _SEED,
    "adam_beta1": _SHARE,
    "adam_beta2": _SHARE,
    "adam_epsilon": {"gt": 0},
    "weight_decay": _NOT_NEGATIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "neftune_noise_alpha": _NOT_NEGATIVE,
    "logging_steps": {"gt": 0},
    "eval_steps": {"gt": 0},
    "save_steps": {"gt": 0},
    "eval_delay": _NOT_NEGATIVE,
    "eval_accumulation_steps": _COUNT,
    "save_total_limit": _COUNT,
    "dataloader_num_workers": {"ge": 0, "le": 256},
    "dataloader_prefetch_factor": {"ge": 1, "le": 1_000},
    "ddp_bucket_cap_mb": _COUNT,
    "ddp_timeout": {"ge": 1, "le": 10_000_000},
}
_CHOICES: dict[str, Callable[[], Sequence[str]]] = {
    "log_level": lambda: list(trainer_log_levels),
    "log_level_replica": lambda: list(trainer_log_levels),
    "torch_compile_backend": lambda: torch.compiler.list_backends(()),
    "torch_compile_mode": lambda: ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
}


@dataclass(frozen=True)
class StagePlan:
    """A stage, ready to be run.

    Args:
        name: of the stage.
        spec: what the recipe says.
        role: what it is in its run.
        data: its examples.
        objective: made, not yet resolved; None where it learns from labels alone.
        arguments: checked; `arguments_in` gives them with the stage's folder.
        cache: how the answers of its teacher are kept.
        recorded: where the teacher's answers stand in the data; None where it is a model, or there is none.
        candidates: where its teacher is that of the best of several stages, these, each with its teacher.
        checkpoints: the steps of those of its checkpoints that later stages name.
        of: of the model of one of several tasks, which otherwise looks like a stage with that task alone: the stage
            that trains it together with the others.
        parts: of a stage with several tasks: the models of each, by the names of the tasks.
        size_power: of such a stage, by which a step is of which task.
        repeats: of the model of a further seed: the model that it repeats, which has the first.
        answers: the stage in whose folder the answers of its teacher are kept for the stages of all seeds; None where
            they are no other's, or their folder is named.
    """

    name: str
    spec: Stage
    role: Role
    data: DataSpec
    objective: Objective | None
    arguments: TrainingArguments
    cache: CacheSettings
    recorded: RecordedColumns | None = None
    candidates: Mapping[str, str] = dataclasses.field(default_factory=dict)
    checkpoints: frozenset[int] = frozenset()
    of: str | None = None
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    size_power: float = SIZE_POWER
    repeats: str | None = None
    answers: str | None = None

    @property
    def trained_as(self) -> str:
        """The stage whose training makes it: itself, or one with several tasks."""
        return self.of or self.name

    @property
    def start(self) -> str:
        """The stage, folder or Hub id that it starts from."""
        return self.spec.start

    @property
    def teacher(self) -> str | None:
        """The stage, folder or Hub id of its teacher; of recorded answers, their column; else its kind, in words."""
        return self.spec.taught_by

    @property
    def teaching_models(self) -> tuple[str, ...]:
        """The stages, folders and Hub ids of the models that teach it, or of which one will: one, several, or none."""
        return tuple(dict.fromkeys(self.candidates.values())) or self.spec.teaching_models

    @property
    def models(self) -> list[tuple[Path_, str]]:
        """What it starts from, who teaches it, or may, and what its parts work with, with the keys that say it."""
        start: Path_ = ("model",) if self.spec.student is None else ("student", "from")
        taught: list[tuple[Path_, str]] = [(("teacher",), model) for model in self.teaching_models]
        of_parts: list[tuple[Path_, str]] = [
            (("parts", part, "model"), model) for part, model in self.spec.part_models.items()
        ]
        return [(start, self.start), *taught, *of_parts]

    @property
    def needs(self) -> tuple[str, ...]:
        """The models that it is made of, and the stages by which its teacher is chosen.

        Its start, the models that teach it, those that its parts work with, and the one that writes its texts.
        """
        writer = None if self.data.generate is None else self.data.generate.model
        written = () if writer is None else (writer,)
        return (self.start, *self.teaching_models, *self.candidates, *self.spec.part_models.values(), *written)

    def make_part(self, name: str, *given: object) -> Part:
        """A part that follows its training, made anew. ``given``: the model that it works with, and the tokenizer."""
        return PARTS.make(name, _of_part(name, (self.spec.parts or {})[name]), *given)

    @property
    def seed(self) -> int:
        """Of its training and of what is made new in its model."""
        return int(self.arguments.seed)

    def arguments_in(self, folder: Path) -> TrainingArguments:
        """Its training arguments, with the folder that they write into."""
        arguments = copy.copy(self.arguments)
        arguments.output_dir = str(folder)
        return arguments


@dataclass(frozen=True)
class Plan:
    """A recipe, ready to be run: what `make_plan` gives.

    Args:
        recipe: where it comes from; knows the lines that its values were written at.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        stages: by name, in the order they run: a model each, so that of a stage with several tasks there is one for
            each task (`StagePlan.of`).
        together: the stages with several tasks, by name.
    """

    recipe: Recipe
    precision: str
    stages: Mapping[str, StagePlan]
    together: Mapping[str, StagePlan] = dataclasses.field(default_factory=dict)

    @cached_property
    def last(self) -> StagePlan:
        """The stage whose task the report is about."""
        return self.of_first_seed[-1]

    @cached_property
    def of_first_seed(self) -> list[StagePlan]:
        """The stages but for those of further seeds."""
        return [stage for stage in self.stages.values() if stage.repeats is None]

    @property
    def reference_teacher(self) -> str | None:
        """Whom all are compared with: the teacher of the last stage that has one, else whose layers a student has."""
        taught = [s for s in self.of_first_seed if s.recorded is not None or s.teaching_models]
        alone = [s.recorded is None and s.spec.scheme is None for s in taught]
        teachers = [
            self.model_name(s.teaching_models[-1]) if is_alone else str(s.teacher)
            for s, is_alone in zip(taught, alone, strict=True)
        ]
        makers = [s for s in self.of_first_seed if s.spec.student is not None and self.stage_of(s.start) is not None]
        return next(reversed(teachers or [self.model_name(s.start) for s in makers]), None)

    def stage_of(self, model: str) -> StagePlan | None:
        """The stage that makes a model, or a checkpoint of it; None of a folder or Hub id."""
        return self.stages.get(as_stage(model))

    def model_name(self, model: str) -> str:
        """The model that a name stands for: of a stage's checkpoint the stage, else itself."""
        stage = self.stage_of(model)
        return model if stage is None else stage.name

    def chains(self) -> list[list[str]]:
        """Who teaches whom, from the first teacher to the last student: the names of stages.

        A stage that goes on from its own teacher is no step of a chain: it is the same model, taught further.
        """
        above = {
            stage.name: next(
                (
                    maker.name
                    for model in stage.teaching_models
                    if (maker := self.stage_of(model)) is not None
                    and (stage.spec.student is not None or self.model_name(stage.start) != maker.name)
                ),
                None,
            )
            for stage in self.of_first_seed
        }
        chains = []
        for name in (name for name in above if name not in above.values()):
            chain: list[str] = []
            last: str | None = name
            while last is not None:
                chain.append(last)
                last = above[last]
            chains.append(chain[::-1])
        return chains

    def begun(self, is_there: Callable[[str], bool]) -> list[str]:
        """The stages of which something is there, be it no more than the training that makes them with others."""
        return [name for name, stage in self.stages.items() if is_there(name) or is_there(stage.trained_as)]

    def checkpoints_needed(self, name: str, is_finished: Callable[[str], bool]) -> frozenset[int]:
        """The steps of those checkpoints of a stage that a stage which is not finished needs."""
        to_come = [each for each in self.stages.values() if not is_finished(each.name)]
        return _named_checkpoints(name, to_come)

    @property
    def outsiders(self) -> dict[str, StagePlan]:
        """The teachers that are no stages, each with the first stage that it teaches."""
        found: dict[str, StagePlan] = {}
        for stage in self.stages.values():
            recorded = [] if stage.recorded is None else [str(stage.teacher)]
            for name in (*recorded, *stage.teaching_models):
                if self.stage_of(name) is None:
                    found.setdefault(name, stage)
        return found

    @cached_property
    def poolings(self) -> dict[str, str]:
        """How the tokens of a model from outside become a vector, by its name, where the recipe says it.

        Raises:
            RequestError: it is said of a stage, which has it from what it starts from, or twice and differently.
        """
        found: dict[str, str] = {}
        for stage in self.stages.values():
            here, teacher = ("stages", stage.name), stage.spec.teacher
            said: list[tuple[str, str | None, Path_]] = [(stage.start, stage.spec.pooling, (*here, "pooling"))]
            if isinstance(teacher, TeacherSpec) and teacher.model is not None:
                said.append((teacher.model, teacher.pooling, (*here, "teacher", "pooling")))
            for place, each in enumerate((stage.spec.scheme and stage.spec.scheme.of) or ()):
                if isinstance(each, TeacherSpec):
                    said.append((str(each.model), each.pooling, (*here, "teacher", "of", place, "pooling")))
            for model, pooling, path in said:
                if pooling is None:
                    continue
                dotted = ".".join(map(str, path))
                if self.stage_of(model) is not None:
                    raise self.recipe.error(path, f"{dotted}: {model} is a stage, whose start has a pooling already")
                if found.setdefault(model, pooling) != pooling:
                    raise self.recipe.error(path, f"{dotted} is {pooling}, and elsewhere {model} has {found[model]}")
        return found

    def pupils(self, name: str) -> list[StagePlan]:
        """The stages that take over what a model has learned: those that it teaches, or that are made of its layers.

        A model that was not trained in this run, as a stage or at all, is no more than a start for the latter.
        """
        stage = self.stages.get(name)
        trained = stage is not None and stage.role == "teacher" and stage.spec.kind == "train"
        return [
            each
            for each in self.stages.values()
            if name in (each.teacher, *map(self.model_name, each.teaching_models))
            or (trained and each.spec.student is not None and self.model_name(each.start) == name)
        ]


def make_plan(recipe: Recipe) -> Plan:
    """Check every stage's training arguments and objective, and make them; loads no model and no data.

    Raises:
        RequestError: an unknown key (with the nearest match), a value of a wrong type or out of its range; each with
            the recipe's file and line.
    """
    precision = choose_precision(recipe.precision)
    alone, by_seed = recipe.by_task(), models_by_seed(recipe.to_dict())
    made = {name: _make_stage(alone, name, precision) for name in alone.written_stages()}
    for name in alone.written_stages():
        for path, model in made[name].models:
            _check_checkpoint(recipe, ("stages", name, *path), model, made.get(as_stage(model)))
    stages = {
        name: dataclasses.replace(
            made[name],
            checkpoints=_named_checkpoints(name, made.values()),
            repeats=first if (first := by_seed.get(name, (name, 0))[0]) != name else None,
        )
        for name in alone.stages
    }
    together = {
        name: _together(recipe, name, stages[recipe.models_of(name)[0]])
        for name, stage in recipe.stages.items()
        if stage.tasks
    }
    stages, together = ({name: _sharing(recipe, each) for name, each in some.items()} for some in (stages, together))
    return Plan(recipe, precision, stages, together)


def _sharing(recipe: Recipe, stage: StagePlan) -> StagePlan:
    """The stage, where its teacher answers the stages of all seeds alike: its answers are then kept once for all."""
    first = recipe.repeats.get(stage.name, stage.name)
    group = [first, *(name for name, each in recipe.repeats.items() if each == first)]
    teachers = [recipe.stages[name].teacher for name in group if name in recipe.stages]
    if len(teachers) < 2 or teachers[0] is None or any(each != teachers[0] for each in teachers):
        return stage
    cache = dataclasses.replace(stage.cache, trainings=len(teachers))
    return dataclasses.replace(stage, cache=cache, answers=first if cache.folder is None else None)


def _together(recipe: Recipe, name: str, like: StagePlan) -> StagePlan:
    """The stage that trains several tasks, made of that of one of them alone."""
    stage, power = recipe.stages[name], SIZE_POWER
    if stage.data is not None and stage.data.size_power is not None:
        power = stage.data.size_power
    parts = dict(zip(stage.tasks, recipe.models_of(name), strict=True))
    return dataclasses.replace(like, name=name, spec=stage, of=None, parts=parts, size_power=power)


def _named_checkpoints(name: str, stages: Iterable[StagePlan]) -> frozenset[int]:
    """The steps of the checkpoints of a stage that others start from or are taught by."""
    models = [model for stage in stages for _, model in stage.models if as_stage(model) == name]
    return frozenset(step for model in models if (step := checkpoint_step(model)) is not None)


def _check_checkpoint(recipe: Recipe, path: Path_, model: str, stage: StagePlan | None) -> None:
    """Refuse a checkpoint that its stage can never write."""
    step = checkpoint_step(model)
    if step is None or stage is None:
        return
    why = None
    if stage.of is not None:
        why = f"is one of several tasks, and the checkpoints of {stage.of} hold them all"
    elif stage.spec.kind == "transform":
        why = "is not trained, and so has no checkpoints"
    elif stage.spec.lora is not None:
        why = "trains adapters, and its checkpoints hold no whole model"
    elif stage.arguments.save_strategy == "no":
        why = "has save_strategy: no, and so writes no checkpoints: set save_strategy: steps"
    elif 0 < stage.arguments.max_steps < step:
        why = f"ends after {stage.arguments.max_steps} steps (max_steps)"
    if why is not None:
        raise recipe.error(path, f"{'.'.join(map(str, path))} is '{model}', and the stage '{stage.name}' {why}")


def most_steps(stage: StagePlan, task: Task) -> int | None:
    """How many steps a training can take at most; None where a row may be several inputs."""
    arguments = stage.arguments
    if arguments.max_steps > 0:
        return int(arguments.max_steps)
    if task.train is None or task.problem.rows not in ("text", "token") or stage.data.long == "windows":
        return None
    batches = math.ceil(len(task.train) / int(arguments.train_batch_size * arguments.world_size))
    an_epoch = math.ceil(batches / int(arguments.gradient_accumulation_steps))
    return math.ceil(float(arguments.num_train_epochs) * an_epoch)


def _make_stage(recipe: Recipe, name: str, precision: str) -> StagePlan:
    stage = recipe.stages[name]
    _check_training(recipe, name, stage)
    _check_scheme(recipe, name, stage)
    for part, settings in (stage.parts or {}).items():
        here = ("stages", name, "parts")
        if part in PARTS.names() and PARTS.get(part).of_model and part not in stage.part_models:
            place = recipe.latest((*here, part), (*here, part, "model"))
            wanted = "give 'model', an earlier stage, a folder or a model of the Hub"
            raise recipe.error(place, f"{'.'.join((*here, part))} works with a model: {wanted}")
        _check_made(recipe, here, PARTS, part, _of_part(part, settings), (part,))
    return StagePlan(
        name=name,
        spec=stage,
        role=_role(recipe, name),
        data=recipe.data_of(name),
        arguments=_arguments(recipe, name, precision),
        objective=None if stage.objective is None else _make_objective(recipe, name, stage.objective),
        cache=CacheSettings(**recipe.cache_of(name).model_dump()),
        recorded=_recorded(recipe, name),
        candidates={each: recipe.stages[each].teaching_models[0] for each in stage.of_best},
        of=recipe.owners[name][0] if name in recipe.owners else None,
    )


def _of_part(part: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a part itself, without the model that it works with, which others load."""
    loaded = part in PARTS.names() and PARTS.get(part).of_model
    return {key: value for key, value in settings.items() if not (loaded and key == "model")}


def _recorded(recipe: Recipe, name: str) -> RecordedColumns | None:
    spec = recipe.stages[name].recorded
    if spec is None:
        return None
    labels = None if spec.labels is None else tuple(spec.labels)
    try:
        return RecordedColumns(spec.columns, spec.confidence, spec.values, spec.missing or "refuse", labels)
    except RequestError as error:
        raise recipe.error(("stages", name, "teacher"), f"stages.{name}.teacher: {error}") from error


def _role(recipe: Recipe, name: str) -> Role:
    """``student`` has losses beyond the labels; ``control`` starts as one and has none; the rest: ``teacher``."""
    stage = recipe.stages[name]
    students = [
        s for s in recipe.stages.values() if s.parts or {*map(loss_of_entry, s.objective or ())} - {HardLabel.name}
    ]
    if any(stage is student for student in students):
        return "student"
    needed = {as_stage(name) for other in students for name in (other.start, *other.teaching_models)}
    same_start = any((other.model, other.student) == (stage.model, stage.student) for other in students)
    return "control" if name not in needed and (stage.student is not None or same_start) else "teacher"


# ---- teachers that are no model of their own, and parts ----


def _check_scheme(recipe: Recipe, name: str, stage: Stage) -> None:
    scheme, here = stage.scheme, ("stages", name, "teacher")
    if scheme is None:
        return
    if scheme.kind not in TEACHERS.names():
        problem = unknown(TEACHERS.kind, scheme.kind, TEACHERS.names())
        raise recipe.error((*here, "kind"), f"stages.{name}.teacher.kind: {problem}")
    of_others = TEACHERS.get(scheme.kind).of_others
    if of_others and not scheme.models:
        raise recipe.error(here, f"stages.{name}.teacher: {scheme.kind} is made of other teachers: name them in 'of'")
    if scheme.models and not of_others:
        raise recipe.error(
            (*here, "of"), f"stages.{name}.teacher.of: {scheme.kind} is made of no other teacher: leave 'of' out"
        )
    _check_made(recipe, here, TEACHERS, scheme.kind, scheme.settings, (), *([()] if of_others else []))


def _check_made(
    recipe: Recipe,
    here: tuple[str, ...],
    registry: Registry[Any],
    name: str,
    settings: Mapping[str, Any],
    under: tuple[str, ...],
    *given: object,
) -> None:
    """Make an object of a registry, to see whether it can be made.

    Args:
        here: where the recipe says it.
        under: the keys between ``here`` and its settings.
        given: as for `Registry.make`.
    """
    dotted = ".".join(here)
    if name not in registry.names():
        problem = unknown_key(name, dotted, registry.names()).replace("unknown key", f"unknown {registry.kind}")
        raise recipe.error((*here, *under), problem)
    for key in settings:
        if key not in registry.settings(name):
            where = ".".join((*here, *under))
            raise recipe.error((*here, *under, key), unknown_key(key, where, registry.settings(name)))
    try:
        registry.make(name, settings, *given)
    except RequestError as error:
        guilty = list(map(str, error.key)) or guilty_keys(
            lambda values: registry.make(name, values, *given), settings, RequestError
        )
        place = (*here, *under, *guilty[:1])
        raise recipe.error(place, f"{'.'.join(place)}: {error}") from error


# ---- training arguments ----


def _check_training(recipe: Recipe, name: str, stage: Stage) -> None:
    hints = get_type_hints(TrainingArguments)
    accepted = [field.name for field in dataclasses.fields(TrainingArguments) if field.init]
    for key, value in stage.training.items():
        path = ("stages", name, "training", key)
        where = f"stages.{name}.training"
        if key not in accepted:
            match = nearest(key, accepted)
            hint = f"did you mean '{match}'?" if match else "it takes the fields of transformers.TrainingArguments"
            raise recipe.error(path, f"unknown key '{key}' in {where}: {hint}")
        _check_type(recipe, path, f"{where}.{key}", hints[key], value)
        if key == "max_steps" and value == 0:
            raise recipe.error(path, f"{where}.max_steps is 0: should be greater than 0, or left out to go by epochs")
        _check_type(recipe, path, f"{where}.{key}", _limited(key, hints[key]), value)
        if key in _CHOICES and value not in (choices := _CHOICES[key]()):
            raise recipe.error(path, f"{where}: {unknown(key, str(value), choices)}")


def _limited(key: str, hint: Any) -> Any:
    """The type of a training argument with the numbers that it may be."""
    kinds = {*get_args(hint)} or {hint}
    limits: dict[str, Any]
    if int in kinds:
        limits = {"ge": -(2**31), "lt": 2**31}
    elif float in kinds:
        limits = {"allow_inf_nan": False}
    else:
        return hint
    number: Any = Annotated[int if int in kinds else float, Field(**{**limits, **_RANGES.get(key, {})})]
    return number | None if NoneType in kinds else number


def _arguments(recipe: Recipe, name: str, precision: str) -> TrainingArguments:
    own = recipe.stages[name].training

    def make(values: Mapping[str, Any]) -> TrainingArguments:
        arguments = training_arguments(recipe, precision, {**names_in_trackers(recipe.name, name), **values})
        for tracker in get_reporting_integration_callbacks(arguments.report_to):
            tracker()  # its package may be missing; it begins a run when the training begins, not here
        return arguments

    # What `TrainingArguments` raises is of every kind, and it is given nothing but what the recipe says.
    try:
        return make(own)
    except Exception as error:
        path = ("stages", name, "training")
        guilty = [(*path, key) for key in guilty_keys(make, own, Exception)]
        place = recipe.latest(*guilty, path)
        raise recipe.error(place, f"{'.'.join(map(str, place))}: {error or type(error).__name__}") from error


def training_arguments(recipe: Recipe, precision: str, values: Mapping[str, Any]) -> TrainingArguments:
    """The `TrainingArguments` with a stage's own values and what the run decides: seed, precision, bars."""
    # Without a GPU transformers refuses bf16 unless it is told to use the CPU, and torch warns of pinned memory.
    gpu = torch.accelerator.is_available()
    return TrainingArguments(
        output_dir="unused",
        disable_tqdm=True,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        **{"seed": recipe.seed, "use_cpu": not gpu, "dataloader_pin_memory": gpu, **values},
    )


def guilty_keys(
    make: Callable[[Mapping[str, Any]], object],
    values: Mapping[str, Any],
    errors: type[Exception] | tuple[type[Exception], ...],
) -> list[str]:
    """The keys without which it can be made: each of them is, alone or with the others, what is wrong."""
    found = []
    for key in values:
        try:
            make({name: value for name, value in values.items() if name != key})
        except errors:
            continue
        found.append(key)
    return found


# ---- the objective ----


def _make_objective(recipe: Recipe, name: str, objective: Mapping[str, Mapping[str, Any]]) -> Objective:
    where, here = f"stages.{name}.objective", ("stages", name, "objective")
    for loss_name, settings in objective.items():
        _check_loss(recipe, name, loss_name, settings)
    try:
        return Objective.from_dict(objective)
    except RequestError as error:
        if not error.key:  # of the objective as a whole
            weights = [(*here, loss, "weight") for loss in objective]
            raise recipe.error(recipe.latest(*weights, here), f"{where}: {error}") from error
        loss, *inner = map(str, error.key)
        inner = inner or loss_culprit(loss, objective[loss], lambda made: made)[:1]
        dotted = f"{where}.{loss}.{inner[0]}" if len(inner) > 1 else f"{where}.{loss}"
        raise recipe.error((*here, loss, *inner), f"{dotted}: {error}") from error


def loss_culprit(name: str, settings: Mapping[str, Any], use: Callable[[Loss], object]) -> list[str]:
    """The settings of a loss without which it can be made and used; the library's message names none."""

    def make(values: Mapping[str, Any]) -> object:
        return use(Objective.from_dict({loss_of_entry(name): {**values, "weight": 1.0}}).terms[0].loss)

    return guilty_keys(make, settings, (RequestError,))


def _check_loss(recipe: Recipe, name: str, loss_name: str, settings: Mapping[str, Any]) -> None:
    """Names and types, which a loss does not check itself."""
    where, path = f"stages.{name}.objective", ("stages", name, "objective", loss_name)
    loss = loss_of_entry(loss_name)
    if loss not in list_losses():
        problem = unknown_key(loss_name, where, list_losses()).replace("unknown key", "unknown loss")
        raise recipe.error(path, problem)
    if recipe.stages[name].teacher is None and loss_class(loss).uses_teacher:
        place = recipe.latest(path, ("stages", name, "teacher"))
        raise recipe.error(place, f"{where} has {loss_name}, and stages.{name} has no 'teacher' to learn from")
    hints = loss_settings(loss_class(loss))
    for key, value in settings.items():
        if key not in hints:
            raise recipe.error((*path, key), unknown_key(key, f"{where}.{loss_name}", list(hints)))
        if key == "teacher" and isinstance(value, str):
            _check_member(recipe, name, (*path, key), value)
        if not says_schedule(value, loss, key):
            _check_type(recipe, (*path, key), f"{where}.{loss_name}.{key}", hints[key], value)


def _check_member(recipe: Recipe, name: str, path: tuple[str, ...], teacher: str) -> None:
    """Whether the teacher that a term names is one of several."""
    scheme, dotted = recipe.stages[name].scheme, ".".join(path)
    models = () if scheme is None else scheme.models
    if not models:
        raise recipe.error(path, f"{dotted} is for a stage with several teachers: leave it out")
    if teacher not in models:
        raise recipe.error(path, f"{dotted}: {unknown('teacher', teacher, models)}")


def loss_settings(loss: type[Loss]) -> dict[str, Any]:
    """The keys that a recipe can give for a loss, and their types."""
    hints = get_type_hints(loss)
    named = {"teacher": str} if loss.uses_teacher else {}
    return {
        "weight": float,
        **named,
        **{field.name: hints[field.name] for field in dataclasses.fields(loss) if field.init},
    }


def _check_type(recipe: Recipe, path: tuple[str, ...], dotted: str, hint: Any, value: object) -> None:
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except PydanticUserError:  # a type that pydantic cannot read: the class itself has to check it
        return
    except ValidationError as error:
        problem = error.errors()[0]["msg"].replace("Input should", "should")
        raise recipe.error(path, f"{dotted} is {value!r}: {problem}") from None
