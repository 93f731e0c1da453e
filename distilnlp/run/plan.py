"""From a recipe to a plan: everything in it is parsed and checked once, with the libraries at hand, and handed on."""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import torch
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.training_args import TrainingArguments

from distilnlp.errors import RequestError, nearest
from distilnlp.losses import HardLabel, Objective, list_losses
from distilnlp.losses.base import Loss, loss_class
from distilnlp.losses.objective import says_schedule
from distilnlp.recipe import DataSpec, Recipe, Stage, unknown_key
from distilnlp.report.schema import Role
from distilnlp.run.environment import choose_precision
from distilnlp.teachers import CacheSettings

__all__ = ["Plan", "StagePlan", "loss_culprit", "loss_settings", "make_plan"]

# Trainer takes a zero for these and trains nothing, or fails after the first stage has been trained.
_ABOVE_ZERO = ("num_train_epochs", "learning_rate", "per_device_train_batch_size", "per_device_eval_batch_size")


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
    """

    name: str
    spec: Stage
    role: Role
    data: DataSpec
    objective: Objective | None
    arguments: TrainingArguments
    cache: CacheSettings

    @property
    def start(self) -> str:
        """The stage, folder or Hub id that it starts from."""
        return self.spec.start

    @property
    def teacher(self) -> str | None:
        """The stage, folder or Hub id of its teacher."""
        return self.spec.taught_by

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
        stages: by name, in the order they run.
    """

    recipe: Recipe
    precision: str
    stages: Mapping[str, StagePlan]

    @cached_property
    def last(self) -> StagePlan:
        """The stage whose task the report is about."""
        return list(self.stages.values())[-1]

    @property
    def reference_teacher(self) -> str | None:
        """Whom all are compared with: the teacher of the last stage that has one, else whose layers a student has."""
        teachers = [stage.teacher for stage in self.stages.values() if stage.teacher is not None]
        makers = [s.start for s in self.stages.values() if s.spec.student is not None and s.start in self.stages]
        return next(reversed(teachers or makers), None)

    @property
    def outsiders(self) -> dict[str, StagePlan]:
        """The teachers that are no stages, each with the first stage that it teaches."""
        found: dict[str, StagePlan] = {}
        for stage in self.stages.values():
            if stage.teacher is not None and stage.teacher not in self.stages:
                found.setdefault(stage.teacher, stage)
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
            if each.teacher == name or (trained and each.spec.student is not None and each.start == name)
        ]


def make_plan(recipe: Recipe) -> Plan:
    """Check every stage's training arguments and objective, and make them; loads no model and no data.

    Raises:
        RequestError: an unknown key (with the nearest match), a value of a wrong type or out of its range; each with
            the recipe's file and line.
    """
    precision = choose_precision(recipe.precision)
    made = {name: _make_stage(recipe, name, precision) for name in recipe.written_stages()}
    return Plan(recipe, precision, {name: made[name] for name in recipe.stages})


def _make_stage(recipe: Recipe, name: str, precision: str) -> StagePlan:
    stage = recipe.stages[name]
    _check_training(recipe, name, stage)
    return StagePlan(
        name=name,
        spec=stage,
        role=_role(recipe, name),
        data=recipe.data_of(name),
        arguments=_arguments(recipe, name, precision),
        objective=None if stage.objective is None else _make_objective(recipe, name, stage.objective),
        cache=CacheSettings(**recipe.cache_of(name).model_dump()),
    )


def _role(recipe: Recipe, name: str) -> Role:
    """``student`` has losses beyond the labels; ``control`` starts as one and has none; the rest: ``teacher``."""
    stage = recipe.stages[name]
    students = [other for other in recipe.stages.values() if set(other.objective or ()) - {HardLabel.name}]
    if any(stage is student for student in students):
        return "student"
    needed = {other.start for other in students} | {other.taught_by for other in students}
    same_start = any((other.model, other.student) == (stage.model, stage.student) for other in students)
    return "control" if name not in needed and (stage.student is not None or same_start) else "teacher"


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
        if key in _ABOVE_ZERO and not 0 < value < math.inf:
            raise recipe.error(path, f"{where}.{key} is {value}: should be greater than 0 and finite")


def _arguments(recipe: Recipe, name: str, precision: str) -> TrainingArguments:
    """The `TrainingArguments` of a stage: its own keys, and what the run decides (seed, precision, bars)."""
    # Without a GPU transformers refuses bf16 unless it is told to use the CPU, and torch warns of pinned memory.
    gpu = torch.accelerator.is_available()
    own = recipe.stages[name].training

    def make(values: Mapping[str, Any]) -> TrainingArguments:
        arguments = TrainingArguments(
            output_dir="unused",
            disable_tqdm=True,
            bf16=precision == "bf16",
            fp16=precision == "fp16",
            **{"seed": recipe.seed, "use_cpu": not gpu, "dataloader_pin_memory": gpu, **values},
        )
        get_reporting_integration_callbacks(arguments.report_to)  # Trainer would find an unknown tracker out too late
        return arguments

    try:
        return make(own)
    except (ValueError, ImportError) as error:
        path = ("stages", name, "training")
        guilty = [(*path, key) for key in _guilty(make, own, (ValueError, ImportError))]
        raise recipe.error(recipe.latest(*guilty, path), f"stages.{name}.training: {error}") from error


def _guilty(
    make: Callable[[Mapping[str, Any]], object], values: Mapping[str, Any], errors: tuple[type[Exception], ...]
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
        return use(Objective.from_dict({name: {**values, "weight": 1.0}}).terms[0].loss)

    return _guilty(make, settings, (RequestError,))


def _check_loss(recipe: Recipe, name: str, loss_name: str, settings: Mapping[str, Any]) -> None:
    """Names and types, which a loss does not check itself."""
    where, path = f"stages.{name}.objective", ("stages", name, "objective", loss_name)
    if loss_name not in list_losses():
        problem = unknown_key(loss_name, where, list_losses()).replace("unknown key", "unknown loss")
        raise recipe.error(path, problem)
    if recipe.stages[name].teacher is None and loss_class(loss_name).uses_teacher:
        place = recipe.latest(path, ("stages", name, "teacher"))
        raise recipe.error(place, f"{where} has {loss_name}, and stages.{name} has no 'teacher' to learn from")
    hints = loss_settings(loss_class(loss_name))
    for key, value in settings.items():
        if key not in hints:
            raise recipe.error((*path, key), unknown_key(key, f"{where}.{loss_name}", list(hints)))
        if not says_schedule(value, loss_name, key):
            _check_type(recipe, (*path, key), f"{where}.{loss_name}.{key}", hints[key], value)


def loss_settings(loss: type[Loss]) -> dict[str, Any]:
    """The keys that a recipe can give for a loss, and their types."""
    hints = get_type_hints(loss)
    return {"weight": float, **{field.name: hints[field.name] for field in dataclasses.fields(loss) if field.init}}


def _check_type(recipe: Recipe, path: tuple[str, ...], dotted: str, hint: Any, value: object) -> None:
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except PydanticUserError:  # a type that pydantic cannot read: the class itself has to check it
        return
    except ValidationError as error:
        problem = error.errors()[0]["msg"].replace("Input should", "should")
        raise recipe.error(path, f"{dotted} is {value!r}: {problem}") from None
