"""Names of runs and of stages: each becomes a folder, so it is a name and never a path."""

import re
import unicodedata
from collections.abc import Mapping

__all__ = [
    "NAME_RULE",
    "STAGE_RULE",
    "as_run_name",
    "as_stage",
    "checkpoint_step",
    "is_run_name",
    "is_stage_name",
    "model_of_task",
    "models_of_stages",
]

MOST_CHARACTERS, _MOST_BYTES = 100, 200  # a file system takes 255 bytes, and names beside it are made of this one
NAME_RULE = (
    f'it names a folder: needed at most {MOST_CHARACTERS} characters, none of / \\ : * ? " < > | and no line break, '
    "no '.', '~' or blank at its start, no '.' or blank at its end, and no name of a device"
)
STAGE_RULE = f"should be letters, digits, '-' and '_', at most {MOST_CHARACTERS}; it names a folder"
_NEVER = set('/\\:*?"<>|')
# No name of a stage has the sign @.
_CHECKPOINT = re.compile(r"([^/@]+)@checkpoint-([1-9][0-9]{0,11})")
# A folder of such a name cannot be copied to Windows, with any ending either.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{number}" for kind in ("com", "lpt") for number in range(1, 10))}


def is_run_name(name: str) -> bool:
    """Whether it names one folder, in any folder of any system."""
    return (
        _fits(name)
        and name == name.strip(" ").rstrip(".")
        and name[0] not in ".~"
        and not any(_never(character) for character in name)
        and name.partition(".")[0].rstrip(" ").lower() not in _DEVICES
    )


def is_stage_name(name: object) -> bool:
    """Whether it is a stage's name and no path: what stands in its place is deleted by ``--fresh``."""
    return isinstance(name, str) and _fits(name) and is_run_name(name) and _without(name, "-_").isalnum()


def as_stage(name: str) -> str:
    """The stage whose model is named: ``ta`` of ``ta`` and of ``ta@checkpoint-200``; any other name itself."""
    found = _CHECKPOINT.fullmatch(name)
    return name if found is None else found[1]


def checkpoint_step(name: str) -> int | None:
    """The step of a checkpoint of a stage: 200 of ``ta@checkpoint-200``; None of any other name."""
    found = _CHECKPOINT.fullmatch(name)
    return None if found is None else int(found[2])


def model_of_task(stage: str, task: str) -> str:
    """What the model of one of several tasks of a stage is called, and its folder."""
    return f"{stage}-{task}"


def models_of_stages(stages: object) -> dict[str, tuple[str, str]]:
    """The models that the stages of a recipe leave, by name: the stage of each and, of one of several tasks, the task.

    Args:
        stages: as they stand in a resolved recipe, whatever that holds.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, spec in stages.items() if isinstance(stages, Mapping) else ():
        data = spec.get("data") if isinstance(spec, Mapping) else None
        tasks = data.get("tasks") if isinstance(data, Mapping) else None
        several = {model_of_task(name, task): (name, task) for task in tasks} if isinstance(tasks, Mapping) else {}
        found |= several or {name: (name, "")}
    return found


def as_run_name(text: str) -> str:
    """The name of a run made of a file's or a data set's: itself where it can be one."""
    if is_run_name(text):
        return text
    kept = "".join("-" if _never(character) else character for character in text)[:MOST_CHARACTERS]
    kept = kept.encode("utf-8", "ignore")[:_MOST_BYTES].decode("utf-8", "ignore").lstrip(" .~").rstrip(" .")
    return kept if kept and is_run_name(kept) else f"run-{kept}"[:MOST_CHARACTERS].rstrip(" .")


def _fits(name: str) -> bool:
    return 0 < len(name) <= MOST_CHARACTERS and len(name.encode("utf-8", "surrogatepass")) <= _MOST_BYTES


def _never(character: str) -> bool:
    # Cc, Cf, Cs, Co, Cn: control, direction, half of a pair, private, unknown; Zl, Zp: line breaks
    return character in _NEVER or unicodedata.category(character)[0] == "C" or character in "\u2028\u2029"


def _without(name: str, characters: str) -> str:
    return name.translate(dict.fromkeys(map(ord, characters)))
