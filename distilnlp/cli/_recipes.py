"""From options to a recipe, so that every command that trains runs the same code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilnlp.recipe import Recipe

__all__ = ["recipe_from_options"]


def recipe_from_options(
    command: str,
    *,
    data: Mapping[str, Any],
    top: Mapping[str, Any],
    stages: Mapping[str, Any],
    settings: Sequence[str],
) -> "Recipe":
    """The GLUE recipes' base with the options over it; an option that was not given is None and changes nothing.

    Args:
        command: for the recipe's name, ``mrpc-finetune``.
        data: of the recipe, ``task`` among it.
        top: other keys at the recipe's top.
        stages: changes of the base's stages; None takes a stage out.
        settings: of ``--set``, applied last.
    """
    from distilnlp.recipe import make_recipe

    values = {
        "data": _given(data),
        **_given(top),
        "stages": {name: None if stage is None else _given(stage) for name, stage in stages.items()},
    }
    task = str(data["task"])
    short = Path(task).stem if Path(task).suffix else task.rstrip("/").rpartition("/")[2]
    return make_recipe(
        values,
        name=f"{short}-{command}",
        extends="glue/_base.yaml",
        settings=settings,
        origin=f"distilnlp {command}",
    )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Remove):
            given[key] = None
        elif isinstance(value, Mapping):
            given[key] = _given(value)
        elif value is not None:
            given[key] = value
    return given


class Remove:
    """Stands for a null in the recipe, where None means that an option was not given."""
