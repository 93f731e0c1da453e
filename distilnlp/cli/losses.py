"""``distilnlp losses``"""

import inspect
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show all of one loss.")] = None,
) -> None:
    """List the losses, or describe one."""
    from distilnlp.losses import list_losses, loss_class

    if name is not None:
        loss = loss_class(name)
        signature = str(inspect.signature(loss)).partition(" -> ")[0]
        typer.echo(f"{name}{signature}\n\n{inspect.getdoc(loss)}")
        return
    names = list_losses()
    width = max(map(len, names))
    for each in names:
        summary = (inspect.getdoc(loss_class(each)) or "").partition("\n")[0]
        typer.echo(f"{each.ljust(width)}  {summary}")
