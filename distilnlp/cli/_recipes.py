"""A recipe of a file with what a command's options say over it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distilnlp.cli._options import split_seeds

if TYPE_CHECKING:
    from distilnlp.recipe import Recipe

__all__ = ["recipe_with_seeds"]


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
