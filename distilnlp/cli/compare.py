"""``distilnlp compare``"""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of finished runs.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table in markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page instead, with runs averaged over seeds."),
    ] = None,
) -> None:
    """Show the models of runs side by side.

    Score, size, speed, and agreement with the teacher.
    """
    from distilnlp.report.compare import compare_runs, markdown_table, read_reports, render_table

    if html is not None:
        from distilnlp.html import render_comparison, write_page_file

        typer.echo(write_page_file(html, render_comparison(read_reports(runs))))
        return
    rows = compare_runs(runs)
    if as_json:
        typer.echo(json.dumps([row.model_dump(exclude_none=True) for row in rows], indent=2))
    else:
        typer.echo(markdown_table(rows) if markdown else render_table(rows))
