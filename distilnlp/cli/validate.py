"""``distilnlp validate``"""

from typing import Annotated

import typer

from distilnlp.cli import _complete

__all__ = ["command"]


def command(
    recipes: Annotated[
        list[str],
        typer.Argument(metavar="RECIPE", help="YAML files, or shipped recipes.", autocompletion=_complete.recipes),
    ],
) -> None:
    """Check recipes without running them.

    Keys, types, losses and their settings, training arguments.
    """
    from distilnlp.recipe import load_recipe

    loaded = [(name, load_recipe(name)) for name in recipes]  # all of it before the slow import below
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.plan import make_plan

    for name, recipe in loaded:
        make_plan(recipe)
        typer.echo(f"{name}: fine; task {recipe.data.task}, stages {', '.join(recipe.stages)}")
