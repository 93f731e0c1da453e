"""What can only be checked with the libraries at hand: training arguments, losses and their settings."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, get_type_hints

import torch
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.training_args import TrainingArguments

from distilnlp.errors import RequestError, nearest
from distilnlp.losses import Objective, Schedule, list_losses
from distilnlp.losses.base import Loss, loss_class
from distilnlp.losses.objective import says_schedule, takes_schedule
from distilnlp.recipe import Recipe, Stage, recipe_schema, unknown_key
from distilnlp.run.environment import choose_precision

__all__ = ["check_recipe", "full_schema", "training_arguments"]

# Trainer takes a zero for these and trains nothing, or fails after the first stage has been trained.
_ABOVE_ZERO = ("num_train_epochs", "learning_rate", "per_device_train_batch_size", "per_device_eval_batch_size")


def check_recipe(recipe: Recipe) -> None:
    """Check every stage's training arguments and objective; loads no model and no data.

    Raises:
        RequestError: an unknown key (with the nearest match), a value of a wrong type or out of its range; each with
            the recipe's file and line.
    """
    for name, stage in recipe.written_stages().items():
        _check_training(recipe, name, stage)
        if stage.objective is not None:
            _check_objective(recipe, name, stage.objective, stage.teacher)


def training_arguments(recipe: Recipe, name: str, folder: str) -> TrainingArguments:
    """The `TrainingArguments` of a stage: its own keys, and what the run decides (folder, seed, precision, bars)."""
    precision = choose_precision(recipe.precision)
    # Without a GPU transformers refuses bf16 unless it is told to use the CPU, and torch warns of pinned memory.
    gpu = torch.accelerator.is_available()
    values = {"seed": recipe.seed, "use_cpu": not gpu, "dataloader_pin_memory": gpu, **recipe.stages[name].training}
    try:
        arguments = TrainingArguments(
            output_dir=folder, disable_tqdm=True, bf16=precision == "bf16", fp16=precision == "fp16", **values
        )
        get_reporting_integration_callbacks(arguments.report_to)  # Trainer would find an unknown tracker out too late
        return arguments
    except (ValueError, ImportError) as error:
        path, said = ("stages", name, "training"), re.split(r"\W+", str(error).lower())
        given = recipe.stages[name].training.items()
        named = [(*path, key) for key, value in given if key in said or str(value).lower() in said]
        raise recipe.error(recipe.latest(*named, path), f"stages.{name}.training: {error}") from error


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
        _check_type(recipe, (*path,), f"{where}.{key}", hints[key], value)
        if key in _ABOVE_ZERO and not 0 < value < math.inf:
            raise recipe.error(path, f"{where}.{key} is {value}: should be greater than 0 and finite")
    training_arguments(recipe, name, "unused")


def _check_objective(
    recipe: Recipe, name: str, objective: Mapping[str, Mapping[str, Any]], teacher: str | None
) -> None:
    where = f"stages.{name}.objective"
    for loss_name, settings in objective.items():
        path = ("stages", name, "objective", loss_name)
        if loss_name not in list_losses():
            problem = unknown_key(loss_name, where, list_losses()).replace("unknown key", "unknown loss")
            raise recipe.error(path, problem)
        if teacher is None and loss_class(loss_name).uses_teacher:
            place = recipe.latest(path, ("stages", name, "teacher"))
            raise recipe.error(place, f"{where} has {loss_name}, and stages.{name} has no 'teacher' to learn from")
        hints = _settings(loss_class(loss_name))
        for key, value in settings.items():
            if key not in hints:
                raise recipe.error((*path, key), unknown_key(key, f"{where}.{loss_name}", list(hints)))
            if says_schedule(value, loss_name, key):
                _check_schedule(recipe, (*path, key), f"{where}.{loss_name}.{key}", value)
            else:
                _check_type(recipe, (*path, key), f"{where}.{loss_name}.{key}", hints[key], value)
        try:
            Objective.from_dict({"hard_label": {}, loss_name: settings})
        except RequestError as error:
            culprit = _culprit(settings, str(error))
            if culprit and isinstance(settings[culprit[0]], Mapping):
                culprit += _culprit(settings[culprit[0]], str(error))
            raise recipe.error((*path, *culprit), f"{where}.{loss_name}: {error}") from error
    try:
        Objective.from_dict(objective)
    except RequestError as error:
        weights = [("stages", name, "objective", loss, "weight") for loss in objective]
        raise recipe.error(recipe.latest(*weights, ("stages", name, "objective")), f"{where}: {error}") from error


def _check_schedule(recipe: Recipe, path: tuple[str, ...], dotted: str, schedule: Mapping[str, Any]) -> None:
    try:
        Schedule.from_dict(schedule)
    except RequestError as error:
        raise recipe.error((*path, *_culprit(schedule, str(error))), f"{dotted}: {error}") from error


def _culprit(settings: Mapping[str, Any], message: str) -> tuple[str, ...]:
    """The key that a library's message is about, as far as it can be told, to name its line."""
    words = re.split(r"[\s'\",:;()]+", message)
    named = [word for word in words for key, value in settings.items() if word in (key, f"{value}")][:1]
    return tuple(key for key, value in settings.items() if named and named[0] in (key, f"{value}"))[:1]


def _settings(loss: type[Loss]) -> dict[str, Any]:
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


def full_schema() -> dict[str, Any]:
    """The recipes' JSON schema with the names of all training arguments, and of all losses and their settings."""
    schema = recipe_schema()
    fields = dataclasses.fields(TrainingArguments)
    hints = get_type_hints(TrainingArguments)
    stage = schema["$defs"]["Stage"]["properties"]
    training = {field.name: _json_type(hints[field.name]) for field in fields if field.init}
    losses = {
        name: {
            "anyOf": [
                {
                    "type": "object",
                    "description": (loss_class(name).__doc__ or "").partition("\n")[0],
                    "additionalProperties": False,
                    "properties": {
                        key: _json_type(hint, key == "weight" or takes_schedule(loss_class(name), key))
                        for key, hint in _settings(loss_class(name)).items()
                    },
                },
                {"type": "null"},
            ]
        }
        for name in list_losses()
    }
    for key, properties in (("training", training), ("objective", losses)):
        body = {"type": "object", "additionalProperties": False, "properties": properties}
        stage[key] = {"anyOf": [body, {"type": "null"}]}
    numbers = {key: {"type": "number"} for key in ("start", "end", "until", "warmup")}
    schema["$defs"]["Schedule"] = {
        "type": "object",
        "description": "a number that changes while the student trains",
        "additionalProperties": False,
        "properties": {"schedule": {"enum": ["constant", "linear", "cosine"]}, **numbers},
    }
    return schema


def _json_type(hint: Any, scheduled: bool = False) -> dict[str, Any]:
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if scheduled and hint in names:
        return {"anyOf": [_json_type(hint), {"$ref": "#/$defs/Schedule"}]}
    # Unions and classes are left open: what they accept is checked when the recipe is read.
    return {"type": [names[hint], "null"]} if hint in names else {}
