"""``distilnlp losses``"""

import math
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show all of one loss, and a snippet for a recipe.")
    ] = None,
) -> None:
    """List the losses, or describe one."""
    import yaml

    from distilnlp.cli._catalogue import shipped_losses
    from distilnlp.errors import unknown

    losses = shipped_losses()
    if name is not None:
        if name not in losses:
            raise unknown("loss", name, losses)
        objective = {"objective": {name: {"weight": 1.0, **losses[name].defaults}}}
        snippet = yaml.safe_dump(objective, default_flow_style=None, sort_keys=False, width=math.inf)
        typer.echo(f"{name}{losses[name].signature}\n\n{losses[name].doc}\n\nIn a recipe:\n\n{snippet}", nl=False)
        return
    width = max(map(len, losses))
    for each, entry in losses.items():
        summary = entry.doc.partition("\n")[0]
        typer.echo(f"{each.ljust(width)}  {summary}")
