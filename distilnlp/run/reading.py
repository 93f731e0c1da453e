"""How the texts of a stage are read, where its kind of task leaves that open."""

from typing import Any

from transformers import PreTrainedConfig

from distilnlp.data.task import Task
from distilnlp.errors import RequestError
from distilnlp.models.reading import reading_settings
from distilnlp.recipe import DataSpec

__all__ = ["READING", "check_reading", "reading_of"]

# Keys of a recipe's data that some kinds of task read.
READING = ("long", "join", "stride", "longest_answer", "pieces", "mask_share", "similarity", "scale")


def reading_of(data: DataSpec, task: Task, config: PreTrainedConfig) -> dict[str, Any]:
    """How a stage's model reads texts: as its data say, else as the model that it starts from.

    Args:
        data, task: of the stage.
        config: of its model.
    Returns:
        for `distilnlp.models.reading.remember_reading`.
    Raises:
        RequestError: a setting of windows where there are none.
    """
    known = task.problem.reading
    kept = {key: value for key, value in reading_settings(config).items() if key in (*known, "window")}
    said = {key: getattr(data, key) for key in known if getattr(data, key) is not None}
    if "long" not in known:
        return {**kept, **said}
    long = said.pop("long", None)
    if (long or kept.get("long", "truncate")) != "windows" and said:
        name = next(iter(said))
        raise RequestError(f"{name} is for windows of long texts: add long: windows, or leave it out", key=[name])
    if long == "truncate":
        return {"long": "truncate"} if kept else {}
    return {"long": "windows", "window": data.max_length, **said} if long == "windows" else {**kept, **said}


def check_reading(data: DataSpec, task: Task) -> None:
    """Raise RequestError for a setting that means nothing for the kind of task."""
    for key in READING:
        if getattr(data, key) is not None and key not in task.problem.reading:
            raise RequestError(
                f"data.{key} says how another kind of task reads its texts, and {task.name} is {task.problem.name}:"
                " leave it out"
            )
