"""``distilnlp schema``"""

import json
from pathlib import Path
from typing import Annotated

import typer

from distilnlp.cli._output import make_way

__all__ = ["command"]


def command(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a file instead.")] = None,
) -> None:
    """Print the JSON schema of recipes, for editors.

    In VS Code: "yaml.schemas": {"recipe.schema.json": "tasks/**/*.yaml"}
    """
    if output is not None:
        make_way(output)
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.json_schema import full_schema
    from distilnlp.whole_files import write_text

    text = json.dumps(full_schema(), indent=2)
    if output is None:
        typer.echo(text)
    else:
        write_text(output, text + "\n")
        typer.echo(f"the schema is in {output}")
