"""``distilnlp convert``"""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or Hub id of a model, or of adapters.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The new folder.")],
) -> None:
    """Make safetensors of a model that is only there as a pickle.

    Reads tensors alone: a pytorch_model.bin or adapter_model.bin with anything else in it is refused.
    """
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.convert import convert

    typer.echo(f"{model} is in {convert(model, output)}, as safetensors")
