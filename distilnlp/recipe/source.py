"""Recipes as text: YAML in which every value knows its line, `extends`, deep merge, `--set`.

Nothing here knows what a recipe means; that is `schema.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from distilnlp.errors import RequestError, nearest

__all__ = ["Document", "Path_", "find_recipe", "merge", "read_document", "set_value", "shipped_recipes"]

Path_ = tuple[str | int, ...]

_MOST_NODES = 10_000  # a recipe has about a hundred; aliases of aliases can multiply to any number


class _Loader(yaml.SafeLoader):
    """Safe, and with the scalars of YAML 1.2: `no` is a word (a save_strategy), `5e-5` a number, a date is text."""


_REMOVED = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
_STR, _MERGE, _MAP, _SEQ = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "merge", "map", "seq"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REMOVED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tfTF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass
class Document:
    """A recipe's values, and for each path in them the place it was written at (``mrpc.yaml line 7``)."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Path_, str] = field(default_factory=dict)
    copies: set[str] = field(default_factory=set)  # stages that were `like` another one

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
        base = beside if beside.is_file() else find_recipe(parent)
    except RequestError as error:
        raise document.error(("extends",), f"extends: {error}") from error
    return merge(read_document(base, _seen=(*_seen, path.resolve())), document)


def parse_document(text: str, name: str) -> Document:
    """Read YAML text that holds one mapping; ``name`` is what its lines are cited as."""
    document = Document(places={(): name})
    node = _compose(text, name)
    if node is None:
        raise RequestError(f"{name}: empty; a recipe needs 'data' and 'stages'")
    if not isinstance(node, yaml.MappingNode):
        raise RequestError(f"{name} line {node.start_mark.line + 1}: should be keys and values (data, stages, ...)")
    document.values = _Reader(name, document.places).read(node, ())
    return document


def _compose(text: str, name: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
        line = f" line {mark.line + 1}" if mark else ""
        raise RequestError(f"{name}{line}: not valid YAML: {' '.join(str(problem).split())}") from error
    finally:
        loader.dispose()


class _Reader:
    """Turns YAML nodes into plain values and notes the line of each."""

    def __init__(self, name: str, places: dict[Path_, str]) -> None:
        self.name = name
        self.places = places
        self.scalars = _Loader("")
        self.count = 0
        self.flat: set[int] = set()

    def read(self, node: yaml.Node, path: Path_) -> Any:
        self.count += 1
        line = self._line(node)
        if self.count > _MOST_NODES or len(path) > 50:
            raise RequestError(f"{line}: more than {_MOST_NODES} values, or an alias that holds itself")
        self.places.setdefault(path, line)
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.read(item, (*path, i)) for i, item in enumerate(node.value)]
        try:
            if isinstance(node, yaml.ScalarNode):
                return self.scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):
            pass
        raise RequestError(f"{line}: only text, numbers, true, false, null, lists and keys can stand in a recipe")

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        if id(node) not in self.flat:  # an alias comes here a second time, with its '<<' already written out
            self._refuse_twice(node)
            self.scalars.flatten_mapping(node)
            self.flat.add(id(node))
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            self.places[(*path, key)] = self._line(key_node)
            values[key] = self.read(value_node, (*path, key))
        return values

    def _refuse_twice(self, node: yaml.MappingNode) -> None:
        first: dict[str, str] = {}
        for key_node, _ in node.value:
            key = self._key(key_node)
            if key in first:
                raise RequestError(f"{self._line(key_node)}: key '{key}' stands twice; the first is at {first[key]}")
            first[key] = self._line(key_node)

    def _key(self, node: yaml.Node) -> str:
        key = node.value if isinstance(node, yaml.ScalarNode) else None
        if key is None or node.tag not in (_STR, _MERGE):
            raise RequestError(f"{self._line(node)}: a key should be a word; put quotes around it")
        return str(key)

    def _line(self, node: yaml.Node) -> str:
        return f"{self.name} line {node.start_mark.line + 1}"


def merge(base: Document, top: Document) -> Document:
    """``top`` over ``base``: mappings key by key, anything else replaced; null removes a key that ``base`` has.

    A null for a key that ``base`` does not have stays, so that `schema.py` can tell a misspelt one.
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
        if value is None and key in values:
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
    name = f"--set {setting}"
    dotted, equals, text = setting.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
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
    node = _compose(text, name)
    top = Document(places={path[:i]: name for i in range(1, len(path) + 1)})
    value = None if node is None else _Reader(name, top.places).read(node, path)
    top.places = dict.fromkeys(top.places, name)
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
    if path.is_file():
        return path
    shipped = shipped_recipes()
    root = Path(str(files("distilnlp.tasks")))
    plain = name.removesuffix(".yaml")
    if ".." not in path.parts and not path.is_absolute() and (root / f"{plain}.yaml").is_file():
        return root / f"{plain}.yaml"
    short = {key.rpartition("/")[2]: file for key, file in shipped.items()}
    if plain in short:
        return short[plain]
    close = nearest(Path(plain).name, [*shipped, *short])
    hint = f"did you mean '{close}'? " if close else ""
    raise RequestError(f"no recipe '{name}': {hint}give a YAML file or one of: {', '.join(shipped)}")
