"""Recipes: YAML in, a checked and complete `Recipe` out.

A recipe file may name another one under `extends` (a file beside it, or a shipped recipe), and changes it key by key;
null removes a key. A stage may in the same way be `like` another stage. Messages name the file and the line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distilnlp.errors import RequestError, unknown
from distilnlp.recipe.names import as_run_name
from distilnlp.recipe.schema import (
    LARGEST_SEED,
    DataSpec,
    GenerateSpec,
    LoraSpec,
    Recipe,
    Stage,
    StudentSpec,
    recipe_schema,
    unknown_key,
)
from distilnlp.recipe.smoothing import smooth_labels
from distilnlp.recipe.source import Document, find_recipe, merge, read_document, set_value, shipped_recipes
from distilnlp.yaml_text import Path_

__all__ = [
    "LARGEST_SEED",
    "DataSpec",
    "GenerateSpec",
    "LoraSpec",
    "Recipe",
    "Stage",
    "StudentSpec",
    "find_recipe",
    "load_recipe",
    "make_recipe",
    "recipe_schema",
    "shipped_recipes",
    "unknown_key",
]


def load_recipe(source: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        source: a YAML file, or the name of a shipped recipe (``glue/mrpc``).
        settings: changes, each ``path.to.key=value`` with the value in YAML.
    Raises:
        RequestError: anything wrong in it, in one line with file and line number.
    """
    path = find_recipe(str(source))
    return _finish(read_document(path), path.stem, settings)


def make_recipe(
    values: Mapping[str, Any],
    *,
    name: str,
    extends: str | None = None,
    settings: Sequence[str] = (),
    origin: str = "",
    places: Mapping[Path_, str] | None = None,
) -> Recipe:
    """A recipe from values instead of a file.

    Args:
        values: what a file would hold.
        name: the recipe's name, which the run's folder gets.
        extends: a recipe that the values change.
        settings: as in `load_recipe`, applied last.
        origin: what messages call the values.
        places: what they call some of them instead, by their paths.
    Raises:
        RequestError: anything wrong in it.
    """
    document = Document(dict(values), {(): origin or name})
    _note_places(document.values, (), origin or name, document)
    document.places.update(places or {})
    if extends is not None:
        document = merge(read_document(find_recipe(extends)), document)
    return _finish(document, name, settings)


def _note_places(values: Mapping[str, Any], path: tuple[str | int, ...], origin: str, document: Document) -> None:
    for key, value in values.items():
        document.places[(*path, key)] = origin
        if isinstance(value, Mapping):
            _note_places(value, (*path, key), origin, document)


def _finish(document: Document, name: str, settings: Sequence[str]) -> Recipe:
    for setting in settings:
        document = set_value(document, setting)
    document = _expand_likes(document)
    document.values.setdefault("name", as_run_name(name))
    document.check()
    document.notes = smooth_labels(document)
    return Recipe.from_document(document)


def _expand_likes(document: Document) -> Document:
    """Replace each stage that is `like` another by that stage with its own keys merged over it."""
    stages = document.values.get("stages")
    if not isinstance(stages, Mapping):
        return document
    for name, stage in stages.items():
        if not isinstance(stage, Mapping) or "like" not in stage:
            continue
        path = ("stages", name, "like")
        model = stage["like"]
        others = [other for other, body in stages.items() if isinstance(body, Mapping) and "like" not in body]
        if model not in others:
            problem = unknown("stage", str(model), others) if others else RequestError("there is no other stage")
            raise document.error(path, f"stages.{name}.like: {problem}")
        document = _expand(document, name, str(model))
    return document


def _expand(document: Document, name: str, model: str) -> Document:
    old, new = ("stages", model), ("stages", name)
    places = {p: place for p, place in document.places.items() if p[:2] != new}
    places.update({(*new, *p[2:]): place for p, place in document.places.items() if p[:2] == old})
    stages = document.values["stages"]
    base = Document({**document.values, "stages": {**stages, name: stages[model]}}, places)
    own = {key: value for key, value in stages[name].items() if key != "like"}
    top_places = {p: place for p, place in document.places.items() if p[:2] == new}
    merged = merge(base, Document({"stages": {name: own}}, {(): document.place(()), **top_places}))
    merged.copies = {*document.copies, name}
    return merged
