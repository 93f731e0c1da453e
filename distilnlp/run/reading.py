"""How the texts of a stage are read, where its kind of task leaves that open."""

from typing import Any

from distilnlp.data.load import Task
from distilnlp.errors import RequestError
from distilnlp.recipe import DataSpec

__all__ = ["READING", "check_reading", "reading_of"]

READING = ("stride", "pieces")  # keys of a recipe's data that some kinds of task read


def reading_of(data: DataSpec, task: Task) -> dict[str, Any]:
    """The settings that are said, for `distilnlp.models.reading.remember_reading`."""
    return {key: getattr(data, key) for key in task.problem.reading if getattr(data, key) is not None}


def check_reading(data: DataSpec, task: Task) -> None:
    """Raise RequestError for a setting that means nothing for the kind of task."""
    for key in READING:
        if getattr(data, key) is not None and key not in task.problem.reading:
            raise RequestError(
                f"data.{key} says how another kind of task reads its texts, and {task.name} is {task.problem.name}:"
                " leave it out"
            )
