"""``distilnlp analyse``"""

from pathlib import Path
from typing import Annotated

import typer

from distilnlp.cli._output import make_way

__all__ = ["command"]


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    what: Annotated[
        str,
        typer.Option(
            metavar="KIND,...",
            help="Of calibration, fidelity, dark-knowledge, cka, gap [default: all that have a meaning], and, only"
            " where named, attention, rank, geometry, attribution, learning-curve.",
        ),
    ] = "",
    train_rows: Annotated[
        int, typer.Option(min=0, help="Training texts that fidelity asks the models about; 0 for none.")
    ] = 200,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write it as JSON.")] = None,
) -> None:
    """Look closer at what finished runs have learned.

    Is a model as sure as it is right? How does the student differ from its teacher, and which of its layers is like
    which? Nothing is trained. What a run has kept is read; models are loaded for cka, and for fidelity on training
    texts.
    """
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.analyse import analyse_runs, findings_to_json, render_findings
    from distilnlp.whole_files import write_text

    if json_file is not None:
        make_way(json_file)
    kinds = [each.strip() for each in what.split(",") if each.strip()]
    found = analyse_runs(runs, kinds, train_rows)
    if json_file is not None:
        write_text(json_file, findings_to_json(found))
    typer.echo(render_findings(found))
