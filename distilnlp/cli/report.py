"""``distilnlp report``"""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; default: report.html in the run's folder."),
    ] = None,
    texts: Annotated[
        bool | None,
        typer.Option(
            "--texts/--no-texts",
            help="Show held-out texts on which student and teacher differ; default: as the recipe",
        ),
    ] = None,
) -> None:
    """Write the page of a finished run: one HTML file that fetches nothing.

    Verdict, scores with intervals, losses, calibration, the texts on which student and teacher differ. A run writes it
    at its end by itself. Needs matplotlib: pip install 'distilnlp[report]'.
    """
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.page import write_page

    typer.echo(write_page(run, output, texts=texts))
