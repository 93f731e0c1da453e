"""From what a user asks for to a recipe: the command line and Python say the same things, and run the same code."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from distilnlp.errors import DistilError

if TYPE_CHECKING:
    from distilnlp.data.task import Task
    from distilnlp.recipe import Recipe

__all__ = ["ACCEPT", "KEYWORD", "OPTION", "Remove", "Request", "Settings", "Spelling", "look_at", "recipe_of"]

ACCEPT = "accept_weak_teacher=true"  # a setting of the recipe

# Keys of a recipe that are asked for by another name.
_NAMES = {
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "layers": "student_layers",
    "from": "teacher",
    "size": "student_vocabulary",
    "column": "teacher_column",
}
_DATA = (
    *("text", "text_pair", "translations", "label", "label_names", "weight", "problem_type", "without_relevant"),
    *("max_length", "long", "join", "stride", "data_dir"),
)
_LOOKED_AT = (
    *("data_dir", "validation", "text", "text_pair", "label", "label_names", "weight", "problem_type"),
    *("without_relevant", "translations"),
)


class Settings(TypedDict, total=False):
    """What may be said of every training; what is left out, or None, is as the recipe of the kind of task has it."""

    text: str | None
    text_pair: str | None
    translations: str | Sequence[str] | None
    label: str | Sequence[str] | None
    label_names: str | Path | Sequence[str] | None
    weight: str | None
    problem_type: str | None
    without_relevant: str | None
    data_dir: str | Path | None
    max_length: int | None
    long: str | None
    join: str | None
    stride: int | None
    epochs: float | None
    batch_size: int | None
    learning_rate: float | None
    precision: str | None
    seed: int | None
    seeds: int | Sequence[int] | None


@dataclass(frozen=True)
class Spelling:
    """How what is asked for is written where it is asked, for messages: ``--student-layers 3``, ``student_layers=3``.

    Args:
        origin: what the whole is called, before the command's name.
        as_option: whether it is an option of a command line.
    """

    origin: str
    as_option: bool

    def __call__(self, name: str, value: object = None) -> str:
        """A name, or what was said by it."""
        if not self.as_option:
            return name if value is None else f"{name}={value!r}"
        option = f"--{'translation' if name == 'translations' else name.replace('_', '-')}"
        if value is None:
            return option
        shown = f"{value:g}" if isinstance(value, float) else value
        return f"{option} {','.join(map(str, value)) if isinstance(value, list) else shown}"


OPTION = Spelling("distilnlp ", as_option=True)
KEYWORD = Spelling("distilnlp.", as_option=False)


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Args:
        command: ``distill``; a recipe of it is called ``mrpc-distill``.
        task: whatever `distilnlp.load_task` takes.
        validation: a file of the held-out examples, or the name of a split on the Hub.
        settings: of data and training.
        changes: of the recipe, as ``--set`` has them: ``stages.student.training.seed=1``.
        write: how they are written.
        tell: shows one line of text to the user.
    """

    command: str
    task: str
    validation: str | None
    settings: Settings
    changes: Sequence[str]
    write: Spelling
    tell: Callable[[str], object]

    @property
    def data(self) -> dict[str, Any]:
        """The recipe's `data`, but for its task; None where nothing is said."""
        return {"validation": self.validation, **{name: _plain(self.settings.get(name)) for name in _DATA}}

    @property
    def top(self) -> dict[str, Any]:
        """Other keys at the recipe's top."""
        return {
            "precision": self.settings.get("precision"),
            "seed": self.settings.get("seed"),
            "seeds": _plain(self.settings.get("seeds")),
        }

    @property
    def training(self) -> dict[str, Any]:
        """A stage's `training`."""
        return {
            "num_train_epochs": self.settings.get("epochs"),
            "per_device_train_batch_size": self.settings.get("batch_size"),
            "learning_rate": self.settings.get("learning_rate"),
        }


def recipe_of(
    request: Request, stages: Mapping[str, Any], base: str | None = None, *, accept_weak_teacher: bool = False
) -> "Recipe":
    """The base recipe for the data with what is asked for over it; what was not said is None and changes nothing.

    Args:
        request: of a user.
        stages: changes of the base's stages; None takes a stage out, `Remove` a key, where the base has it.
        base: the recipe that is changed; None takes that of the kind of task.
        accept_weak_teacher: go on where a teacher is no better than one answer for every text.
    Raises:
        RequestError: what is said makes no recipe; says what, as the user has written it.
    """
    from distilnlp.recipe import find_recipe, make_recipe
    from distilnlp.recipe.source import read_document

    task, data = request.task, request.data
    base = _base_recipe(task, data) if base is None else base
    changes = {name: Remove() if stage is None else stage for name, stage in stages.items()}
    values = {
        "data": _given({"task": task, **data}),
        **_given(request.top),
        "stages": _given(changes, read_document(find_recipe(base)).values["stages"]),
    }
    short = Path(task).stem if Path(task).suffix else task.rstrip("/").rpartition("/")[2]
    return make_recipe(
        values,
        name=f"{short}-{request.command}",
        extends=base,
        settings=[*request.changes, *([ACCEPT] if accept_weak_teacher else [])],
        origin=f"{request.write.origin}{request.command}",
        places={path: said for path, said in _said(values, request) if path != ("data", "task")},
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
        task, data: as a `Request` has them.
        strict: raise what is wrong with the data.
        settings: of `load_task`.
    """
    from distilnlp.data import load_task
    from distilnlp.data.glue_table import known_name

    if known_name(task) and not strict:
        return None
    ours, level = logging.getLogger("distilnlp"), logging.getLogger("distilnlp").level
    ours.setLevel(logging.CRITICAL)  # the run will say it
    try:
        return load_task(task, **{name: data[name] for name in _LOOKED_AT}, **settings)
    except DistilError:
        if strict:
            raise
        return None
    finally:
        ours.setLevel(level)


def _said(
    values: Mapping[str, Any], request: Request, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The path of each value that was given, and how the user has written it."""
    for key, value in values.items():
        path = (*before, key)
        if isinstance(value, Mapping):
            yield from _said(value, request, path)
        elif value is not None:
            # The model of a stage is the teacher or the student of `distill`.
            own = key == "model" and request.command == "distill"
            yield path, request.write(before[-1] if own else _NAMES.get(key, key), value)


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


def _plain(value: object) -> object:
    """As YAML holds it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


class Remove:
    """Stands for a null in the recipe, where None means that nothing was said."""
