"""``distilnlp push``"""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, or of one model.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="owner/name on the Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make the new repository private.")] = False,
    stage: Annotated[str | None, typer.Option(help="Which stage of the run. [default: the last]")] = None,
) -> None:
    """Publish a run's model on the Hub.

    With tokenizer, recipe and model card. The token is that of `hf auth login` or of HF_TOKEN; it is written nowhere.
    """
    from distilnlp.hub.push import push

    typer.echo(push(run, repo_id, private=private, stage=stage))
