"""``distilnlp recipes``"""

from typing import Annotated

import typer

from distilnlp.cli import _complete

__all__ = ["command"]


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Print this one, to copy.", autocompletion=_complete.recipes),
    ] = None,
) -> None:
    """List the recipes that come with the package, or print one."""
    from distilnlp.recipe.source import shipped_recipes

    if name is not None:
        from distilnlp.recipe.starter import text_of_recipe

        typer.echo(text_of_recipe(name), nl=False)
        return
    shipped = shipped_recipes()
    width = max(map(len, shipped))
    for each, path in shipped.items():
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        typer.echo(f"{each.ljust(width)}  {first.removeprefix('#').strip()}")
