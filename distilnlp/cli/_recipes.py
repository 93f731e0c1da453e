"""From options to a recipe, so that every command that trains runs the same code."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilnlp.cli._options import Training, split_seeds
from distilnlp.cli._quiet import quiet_libraries
from distilnlp.errors import DistilError

if TYPE_CHECKING:
    from distilnlp.data.task import Task
    from distilnlp.recipe import Recipe

__all__ = ["Remove", "look_at", "recipe_from_options", "recipe_with_seeds"]

# Keys of a recipe whose option has another name.
_NAMES = {
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch-size",
    "layers": "student-layers",
    "from": "teacher",
    "size": "student-vocabulary",
    "column": "teacher-column",
    "translations": "translation",
}


def recipe_from_options(
    command: str, task: str, options: Training, stages: Mapping[str, Any], base: str | None = None
) -> "Recipe":
    """The base recipe for the data with the options over it; an option that was not given is None and changes nothing.

    Args:
        command: for the recipe's name, ``mrpc-finetune``.
        task: of its data.
        options: of the command.
        stages: changes of the base's stages; None takes a stage out, `Remove` a key, where the base has it.
        base: the recipe that the options change; None takes that of the kind of task.
    """
    from distilnlp.recipe import find_recipe, make_recipe
    from distilnlp.recipe.source import read_document

    base = _base_recipe(task, options.data) if base is None else base
    changes = {name: Remove() if stage is None else stage for name, stage in stages.items()}
    values = {
        "data": _given({"task": task, **options.data}),
        **_given(options.top),
        "stages": _given(changes, read_document(find_recipe(base)).values["stages"]),
    }
    short = Path(task).stem if Path(task).suffix else task.rstrip("/").rpartition("/")[2]
    return make_recipe(
        values,
        name=f"{short}-{command}",
        extends=base,
        settings=options.settings or (),
        origin=f"distilnlp {command}",
        places={path: option for path, option in _options(values, command) if path != ("data", "task")},
    )


def recipe_with_seeds(name: str, seeds: str | None, settings: Sequence[str]) -> "Recipe":
    """The recipe of a file or a shipped one, with the settings of ``--set`` and the seeds of ``--seeds`` over it."""
    from distilnlp.recipe import find_recipe, load_recipe, make_recipe

    given = split_seeds(seeds)
    if given is None:
        return load_recipe(name, settings)
    path = find_recipe(name)
    return make_recipe(
        {"seeds": given},
        name=path.stem,
        extends=name,
        settings=settings,
        origin=path.name,
        places={("seeds",): f"--seeds {seeds}"},
    )


def _base_recipe(task: str, data: Mapping[str, Any]) -> str:
    """That of the kind of task. Data that cannot be read are told by the run, with their place."""
    from distilnlp.problems import Problem, get_problem, list_problems

    said = data["problem_type"]
    if said is not None:
        return get_problem(said).recipe if said in list_problems() else Problem.recipe
    found = look_at(task, data)
    return Problem.recipe if found is None else found.problem.recipe


def look_at(task: str, data: Mapping[str, Any], *, strict: bool = False, **settings: Any) -> "Task | None":
    """The user's own data; None for a task with a name, and for data that cannot be read, which the run tells.

    Args:
        task, data: as the options say them.
        strict: raise what is wrong with the data.
        settings: of `load_task`.
    """
    quiet_libraries()
    from distilnlp.data import load_task
    from distilnlp.data.glue_table import known_name

    if known_name(task) and not strict:
        return None
    names = (
        *("data_dir", "validation", "text", "text_pair", "label", "label_names", "weight", "problem_type"),
        *("without_relevant", "translations"),
    )
    ours, level = logging.getLogger("distilnlp"), logging.getLogger("distilnlp").level
    ours.setLevel(logging.CRITICAL)  # the run will say it
    try:
        return load_task(task, **{name: data[name] for name in names}, **settings)
    except DistilError:
        if strict:
            raise
        return None
    finally:
        ours.setLevel(level)


def _options(
    values: Mapping[str, Any], command: str, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The path of each value that was given, and the option as it was typed."""
    for key, value in values.items():
        path = (*before, key)
        if isinstance(value, Mapping):
            yield from _options(value, command, path)
        elif value is not None:
            # The model of a stage is --teacher or --student of `distill`.
            name = before[-1] if key == "model" and command == "distill" else _NAMES.get(key, key.replace("_", "-"))
            shown = f"{value:g}" if isinstance(value, float) else _joined(value)
            yield path, f"--{name} {shown}"


def _joined(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _given(values: Mapping[str, Any], base: Any = None) -> dict[str, Any]:
    """What was said, as a recipe has it; a null only where ``base`` has what it removes."""
    given: dict[str, Any] = {}
    known = base if isinstance(base, Mapping) else {}
    for key, value in values.items():
        if isinstance(value, Remove):
            if key in known:
                given[key] = None
        elif isinstance(value, Mapping):
            given[key] = _given(value, known.get(key))
        elif value is not None:
            given[key] = value
    return given


class Remove:
    """Stands for a null in the recipe, where None means that an option was not given."""
