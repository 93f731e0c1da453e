"""Recipes as text: YAML in which every value knows its line, `extends`, deep merge, `--set`.

Nothing here knows what a recipe means; that is `schema.py`.
"""

import math
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from distilnlp.errors import RequestError, nearest
from distilnlp.hub_token import is_secret_key, without_tokens
from distilnlp.yaml_text import MOST_LEVELS, Path_, read_yaml

__all__ = ["Document", "find_recipe", "merge", "read_document", "set_value", "shipped_recipes"]


@dataclass
class Document:
    """A recipe's values, and for each path in them the place it was written at (``mrpc.yaml line 7``)."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Path_, str] = field(default_factory=dict)
    copies: set[str] = field(default_factory=set)  # stages that were `like` another one
    notes: list[str] = field(default_factory=list)  # what was understood otherwise than it was written

    def place(self, path: Path_) -> str:
        """Where ``path``, or else the nearest thing around it, was written."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, "recipe")

    def latest(self, *paths: Path_) -> Path_:
        """Which of ``paths``, that together are a mistake, was written last; the first where none was."""
        # A value that is replaced leaves the dict and comes in again at its end: the dict is in the order of writing.
        written = [path for path in self.places if path in paths]
        return written[-1] if written else paths[0]

    def error(self, path: Path_, message: str) -> RequestError:
        """A `RequestError` that starts with the place of ``path``."""
        return RequestError(f"{self.place(path)}: {message}")

    def check(self) -> None:
        """Refuse what no recipe may hold, wherever it stands.

        Raises:
            RequestError: a secret, which would stand in the run's files; a number that is not finite or has more than
                64 bits, a character that no file or terminal can show; more than 50 levels.
        """
        self._check(self.values, ())

    def _check(self, value: object, path: Path_) -> None:
        if len(path) > MOST_LEVELS:
            raise self.error(path, f"more than {MOST_LEVELS} levels")
        if isinstance(value, Mapping):
            for key, each in value.items():
                self._check_text(str(key), path)
                self._check(each, (*path, key))
        elif isinstance(value, list | tuple):
            for i, each in enumerate(value):
                self._check(each, (*path, i))
        elif isinstance(value, str):
            self._check_text(value, path)
        elif isinstance(value, float) and not math.isfinite(value):
            raise self.error(path, f"{_dotted(path)} is {value}: should be a number that is finite")
        elif isinstance(value, int) and value.bit_length() > 63:
            raise self.error(path, f"{_dotted(path)} is a number of more than 63 bits: write a smaller one")

    def _check_text(self, text: str, path: Path_) -> None:
        name = next((part for part in reversed(path) if isinstance(part, str)), "")
        if text and (is_secret_key(name) or without_tokens(text) != text):
            raise self.error(
                path,
                f"{_dotted(path)} is a secret, and a recipe is kept in the run's files: take it out; a token of the "
                "Hub is read from HF_TOKEN or `hf auth login`",
            )
        for each in text:
            if unicodedata.category(each) in ("Cc", "Cs") and each not in "\t\n\r":
                raise self.error(path, f"{_dotted(path)} holds the character {ord(each):#x}: take it out")


def _dotted(path: Path_) -> str:
    return ".".join(str(part).encode("utf-8", "replace").decode() for part in path) or "the recipe"


def read_document(path: Path, name: str | None = None, *, _seen: tuple[Path, ...] = ()) -> Document:
    """Read a recipe and all that it extends; a key set to null removes what it extends.

    Args:
        path: the file.
        name: what to call it in messages; the file's name when None.
    Raises:
        RequestError: not readable, not YAML, a key given twice, a circle of `extends`.
    """
    name = name or path.name
    if path.resolve() in _seen:
        raise RequestError(f"{name}: 'extends' goes round in a circle: it extends itself")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{name}: not UTF-8 text (byte {error.start}); a recipe is a YAML file") from error
    except OSError as error:
        raise RequestError(f"cannot read the recipe {path}: {error.strerror}") from error
    document = parse_document(text, name)
    if "extends" not in document.values:
        return document
    parent = document.values.pop("extends")
    if not isinstance(parent, str):
        raise document.error(("extends",), f"extends is {parent!r}: should be the name of one recipe")
    beside = path.parent / parent
    try:
        base = beside if os.path.isfile(beside) else find_recipe(parent)
    except RequestError as error:
        raise document.error(("extends",), f"extends: {error}") from error
    return merge(read_document(base, _seen=(*_seen, path.resolve())), document)


def parse_document(text: str, name: str) -> Document:
    """Read YAML text that holds one mapping; ``name`` is what its lines are cited as."""
    values, places = read_yaml(text, name)
    if values is None:
        raise RequestError(f"{name}: empty; a recipe needs 'data' and 'stages'")
    if not isinstance(values, dict):
        raise RequestError(f"{places[()]}: should be keys and values (data, stages, ...)")
    return Document(values, {**places, (): name})


def merge(base: Document, top: Document) -> Document:
    """``top`` over ``base``: mappings key by key, anything else replaced; null removes a key that ``base`` has.

    A null for a key that ``base`` does not have stays, so that `schema.py` can tell a misspelt one; so does a null
    over a null, which takes the key out of the stage that this one is `like`.
    """
    places = dict(base.places)
    values = _merge(base.values, top.values, (), places, top.places)
    places[()] = top.places.get((), places.get((), "recipe"))
    return Document(values, places)


def _merge(
    base: Mapping[str, Any], top: Mapping[str, Any], path: Path_, places: dict[Path_, str], new: dict[Path_, str]
) -> dict[str, Any]:
    values = dict(base)
    for key, value in top.items():
        here = (*path, key)
        if isinstance(value, Mapping) and isinstance(values.get(key), Mapping):
            values[key] = _merge(values[key], value, here, places, new)
            continue
        for old in [p for p in places if p[: len(here)] == here]:
            del places[old]
        if value is None and values.get(key) is not None:
            del values[key]
            places[here] = new[here]  # what then is missing was taken out there
            continue
        values[key] = value
        places.update({p: place for p, place in new.items() if p[: len(here)] == here})
    return values


def set_value(document: Document, setting: str) -> Document:
    """Apply ``a.b.c=value``; the value is read as YAML.

    Raises:
        RequestError: no ``=``, a stage that is not there, a path that goes through something that has no keys.
    """
    dotted, equals, text = setting.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    name = f"--set {f'{dotted}=...' if is_secret_key(path[-1]) else setting}"
    if not equals or not all(path):
        raise RequestError(f"{name}: should be a path, '=' and a value, like stages.student.training.seed=1")
    holder: Any = document.values
    for i, part in enumerate(path[:-1]):
        if i == 1 and path[0] == "stages" and part not in holder:
            match = nearest(part, holder)
            raise RequestError(
                f"{name}: unknown stage '{part}': {f'did you mean {match!r}? ' if match else ''}"
                f"stages: {', '.join(holder)}"
            )
        holder = holder.get(part, {})
        if not isinstance(holder, Mapping):
            raise RequestError(f"{name}: {'.'.join(path[: i + 1])} is {holder!r} and has no keys under it")
    value, places = read_yaml(text, name, path)
    top = Document(places=dict.fromkeys([*(path[:i] for i in range(1, len(path) + 1)), *places], name))
    top.values = {path[-1]: value}
    for part in reversed(path[:-1]):
        top.values = {part: top.values}
    merged = merge(document, top)
    merged.places[()] = document.place(())
    return merged


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name: ``glue/mrpc``, ``quickstart``."""
    root = Path(str(files("distilnlp.tasks")))
    found = {str(path.relative_to(root).with_suffix("").as_posix()): path for path in root.rglob("*.yaml")}
    return {name: found[name] for name in sorted(found) if not Path(name).name.startswith("_")}


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of a shipped one (``glue/mrpc``, ``mrpc``, ``glue/_base.yaml``).

    Raises:
        RequestError: neither; names the nearest shipped recipe.
    """
    path = Path(name)
    if os.path.isfile(path):  # a Path's own raises for a name that is too long
        return path
    shipped = shipped_recipes()
    root = Path(str(files("distilnlp.tasks")))
    plain = name.removesuffix(".yaml")
    if ".." not in path.parts and not path.is_absolute() and os.path.isfile(root / f"{plain}.yaml"):
        return root / f"{plain}.yaml"
    short = {key.rpartition("/")[2]: file for key, file in shipped.items()}
    if plain in short:
        return short[plain]
    close = nearest(Path(plain).name, [*shipped, *short])
    hint = f"did you mean '{close}'? " if close else ""
    raise RequestError(f"no recipe '{name}': {hint}give a YAML file or one of: {', '.join(shipped)}")
