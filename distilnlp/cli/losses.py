"""``distilnlp losses``"""

from typing import Annotated

import typer

__all__ = ["command"]


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show all of one loss.")] = None,
) -> None:
    """List the losses, or describe one."""
    from distilnlp.cli._catalogue import shipped_losses
    from distilnlp.errors import unknown

    losses = shipped_losses()
    if name is not None:
        if name not in losses:
            raise unknown("loss", name, losses)
        typer.echo(f"{name}{losses[name].signature}\n\n{losses[name].doc}")
        return
    width = max(map(len, losses))
    for each, entry in losses.items():
        summary = entry.doc.partition("\n")[0]
        typer.echo(f"{each.ljust(width)}  {summary}")
