"""Recipes as text: a shipped one to copy, and a new one for somebody's data, with what its keys mean beside them."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from distilnlp.recipe.schema import DataSpec, Recipe, Stage, StudentSpec
from distilnlp.recipe.source import find_recipe, merge, parse_document, read_document, shipped_recipes
from distilnlp.yaml_text import write_yaml

__all__ = ["starting_recipe", "text_of_recipe"]

_WIDTH = 119
_STAGES = {
    "teacher": "Learns the labels, and teaches then.",
    "control": "What the student is compared with: its start without the teacher. 'like' repeats a stage.",
    "student": "Learns from the teacher.",
}
_TRAINING = {
    "num_train_epochs": "passes over the training examples",
    "learning_rate": "its peak",
    "per_device_train_batch_size": "examples a step, in each process",
    "per_device_eval_batch_size": "examples at a time where it is measured",
    "lr_scheduler_type": "how the learning rate changes: linear, cosine, constant, ...",
    "warmup_steps": "share of the steps, or how many, over which it rises",
    "logging_steps": "how often the loss is told",
    "eval_strategy": "epoch, steps or no: how often it is measured while it is trained",
    "save_strategy": "how often there is a checkpoint to go on from",
    "report_to": "tensorboard, trackio, wandb or none",
}
_COMMON = ("validation", "text", "text_pair", "label", "max_train")  # of the data: worth a line though nothing is said


def text_of_recipe(name: str) -> str:
    """A shipped recipe as it is written; what it extends is named so that a copy of it, anywhere, is the same recipe.

    Raises:
        RequestError: there is none of this name; names the nearest.
    """
    path = find_recipe(name)
    text = path.read_text(encoding="utf-8")
    extended = re.search(r"^extends: *(\S+)$", text, re.MULTILINE)
    if extended is None or not (base := path.parent / extended[1]).is_file():
        return text
    root = next(iter(shipped_recipes().items()))
    folder = root[1].parents[root[0].count("/")]
    return text.replace(extended[0], f"extends: {base.resolve().relative_to(folder.resolve()).as_posix()}", 1)


def starting_recipe(base: str, data: Mapping[str, Any], losses: Mapping[str, str], about: Sequence[str]) -> str:
    """A recipe for somebody's data, whole, with a comment at each key.

    Args:
        base: the shipped recipe that it begins as.
        data: what its ``data`` says, over what the base says.
        losses: what each loss is, in a sentence.
        about: the lines at the top.
    """
    said = {"data": {key: value for key, value in data.items() if value is not None}}
    values = merge(read_document(find_recipe(base)), parse_document(write_yaml(said), base)).values
    of_data = {**said["data"], **values.pop("data")}
    unsaid = [name for name in _COMMON if name not in of_data]
    lines = [f"# {line}" for line in about]
    lines += ["data:", *_keys(of_data, DataSpec, 1)]
    lines += _table([(f"  # {name}:", DataSpec.model_fields[name].description) for name in unsaid])
    for key, value in values.items():
        lines += ["stages:", *_stages(value, losses)] if key == "stages" else _keys({key: value}, Recipe, 0)
    return "\n".join(_each_comment_once(lines)) + "\n"


def _each_comment_once(lines: Sequence[str]) -> Iterator[str]:
    """Without what is said already: stages have the same keys."""
    said: set[str] = set()
    for line in lines:
        before, sign, comment = line.partition("# ")
        if comment not in said:
            yield line
        elif before.strip():
            yield before.rstrip()
        if sign:
            said.add(comment)


def _stages(stages: Mapping[str, Any], losses: Mapping[str, str]) -> Iterator[str]:
    for name, stage in stages.items():
        if name in _STAGES:
            yield f"  # {_STAGES[name]}"
        yield f"  {name}:"
        for key, value in stage.items():
            if key == "training" and value:
                yield f"    training:  # {Stage.model_fields['training'].description}"
                yield from _table([(f"      {_one(each, of)}", _TRAINING.get(each)) for each, of in value.items()])
            elif key == "objective" and value:
                yield f"    objective:  # {Stage.model_fields['objective'].description}"
                yield from _table([(f"      {_one(each, of)}", losses.get(each)) for each, of in value.items()])
            elif key == "student" and isinstance(value, Mapping):
                yield "    student:"
                yield from _keys(value, StudentSpec, 3)
            else:
                yield from _keys({key: value}, Stage, 2)


def _keys(values: Mapping[str, Any], model: type[BaseModel], level: int) -> list[str]:
    """A line for each key, with what the schema says of it."""
    described = {field.alias or name: field.description for name, field in model.model_fields.items()}
    return _table(
        [
            (f"{'  ' * level}{_one(key, value)}", None if value is None else described.get(key))
            for key, value in values.items()
        ]
    )


def _one(key: str, value: Any) -> str:
    """A key and its value on one line."""
    if isinstance(value, Mapping):
        return f"{key}: {{{', '.join(_one(each, of) for each, of in value.items())}}}"
    text = write_yaml([value], width=10**6).strip().removeprefix("- ")
    if isinstance(value, list):
        text = f"[{', '.join(write_yaml([each], width=10**6).strip().removeprefix('- ') for each in value)}]"
    return f"{key}: {text}"


def _table(rows: Sequence[tuple[str, str | None]]) -> list[str]:
    """Lines with what is said of each behind it; above it where that is too long."""
    lines: list[str] = []
    for line, said in rows:
        indent = line[: len(line) - len(line.lstrip())]
        if said and len(line) + len(said) + 4 > _WIDTH:
            lines += [f"{indent}# {part}" for part in _wrapped(said, _WIDTH - len(indent) - 2)] + [line]
        else:
            lines.append(f"{line}  # {said}" if said else line)
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
