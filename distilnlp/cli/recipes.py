"""``distilnlp recipes``"""

import typer

__all__ = ["command"]


def command() -> None:
    """List the recipes that come with the package."""
    from distilnlp.recipe.source import shipped_recipes

    shipped = shipped_recipes()
    width = max(map(len, shipped))
    for name, path in shipped.items():
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        typer.echo(f"{name.ljust(width)}  {first.removeprefix('#').strip()}")
