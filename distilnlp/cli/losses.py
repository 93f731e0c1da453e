"""``distilnlp losses``"""

from typing import TYPE_CHECKING, Annotated

import typer

from distilnlp.cli import _complete

if TYPE_CHECKING:
    from distilnlp.cli._catalogue import LossEntry

__all__ = ["command", "snippet"]


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show all of one loss.", autocompletion=_complete.losses),
    ] = None,
) -> None:
    """List the losses, or describe one and show it in a recipe."""
    from distilnlp.cli._catalogue import shipped_losses
    from distilnlp.errors import unknown

    losses = shipped_losses()
    if name is not None:
        if name not in losses:
            raise unknown("loss", name, losses)
        entry = losses[name]
        typer.echo(f"{name}{entry.signature}\n\n{entry.doc}\n\n{snippet(name, entry)}")
        return
    width = max(map(len, losses))
    for each, entry in losses.items():
        summary = entry.doc.partition("\n")[0]
        typer.echo(f"{each.ljust(width)}  {summary}")


def snippet(name: str, entry: "LossEntry") -> str:
    """The loss as a recipe has it, in YAML, with its defaults; those that are None are left out."""
    import yaml

    settings = {key: value for key, value in entry.defaults.items() if value is not None}
    stage = {"stages": {"student": {"objective": {name: {"weight": 1.0, **settings}}}}}
    text: str = yaml.safe_dump(stage, sort_keys=False, default_flow_style=None, width=119)
    return text.rstrip()
