"""The JSON schema of recipes, for editors, with the names of all training arguments, losses and their settings."""

import dataclasses
from typing import Any, get_type_hints

from transformers.training_args import TrainingArguments

from distilnlp.losses import list_losses
from distilnlp.losses.base import loss_class
from distilnlp.losses.objective import takes_schedule
from distilnlp.recipe import recipe_schema
from distilnlp.run.plan import loss_settings

__all__ = ["full_schema"]


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
                        for key, hint in loss_settings(loss_class(name)).items()
                    },
                },
                {"type": "null"},
            ]
        }
        for name in list_losses()
    }
    for key, properties in (("training", training), ("objective", losses)):
        body: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
        if key == "objective":  # one more of a loss
            body["patternProperties"] = {f"^{name}_[1-9][0-9]*$": loss for name, loss in losses.items()}
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
