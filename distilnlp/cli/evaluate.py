"""``distilnlp evaluate``"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from distilnlp.cli import _complete
from distilnlp.cli._options import ExitThreshold, HeldOut, TaskName, split_thresholds, with_options
from distilnlp.cli._output import make_way
from distilnlp.errors import RequestError

__all__ = ["command"]


@with_options(HeldOut)
def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder of a fine-tuned model (RUN/student), or a Hub id.")
    ],
    task: TaskName,
    options: HeldOut,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples at a time.")] = 64,
    exit_threshold: ExitThreshold = None,
    exit_thresholds: Annotated[
        str | None,
        typer.Option(
            metavar="T,T,...",
            help="Of a model with exits: a table of score, layers and speed at each of these thresholds, as 0,0.3,1.",
            autocompletion=_complete.thresholds,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --exit-thresholds: draw score against speed (svg, png or pdf)."),
    ] = None,
    attack: Annotated[
        str | None, typer.Option(help="word-swaps: also measure on texts of which a few words are changed to mislead.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the attack's changes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure a model on the held-out examples of TASK.

    A sentence encoder is measured on pairs of texts with a score (stsb, or a file of two texts and a number a row), on
    queries with their texts (a file with a column query, or --problem-type retrieval), or, with --translation, on how
    often it finds the translation of a text, and the reverse.
    """
    several_thresholds = None if exit_thresholds is None else split_thresholds(exit_thresholds)
    if several_thresholds is not None and exit_threshold is not None:
        raise RequestError("--exit-thresholds measures at several and --exit-threshold at one: give one of the two")
    if attack is not None and (exit_threshold is not None or exit_thresholds is not None):
        raise RequestError("an attack is on the whole model: leave --exit-threshold and --exit-thresholds out")
    if plot is not None and several_thresholds is None:
        raise RequestError("--plot draws what several thresholds cost: give --exit-thresholds 0,0.3,1 with it")
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run import evaluate_model
    from distilnlp.run.attack import attacked_scores
    from distilnlp.run.exit_table import check_plot, draw_rows, exit_rows, show_rows

    if plot is not None:
        check_plot(plot)
        make_way(plot)
    loaded, max_length = options.load(model, task), options.max_length
    if several_thresholds is not None:
        rows = exit_rows(model, loaded, several_thresholds, max_length=max_length, batch_size=batch_size)
        if plot is not None:
            draw_rows(rows, loaded.main_metric, plot)
        if as_json:
            shown = {"model": model, "task": loaded.name, "metric": loaded.main_metric}
            typer.echo(json.dumps({**shown, "exits": [row.to_dict() for row in rows]}, indent=2))
        else:
            typer.echo(f"{model} on {loaded.name} (validation)\n{show_rows(rows, loaded.main_metric)}")
        return
    results = evaluate_model(
        model, loaded, max_length=max_length, batch_size=batch_size, exit_threshold=exit_threshold
    )
    if attack is not None:
        settings: dict[str, Any] = {"seed": seed, "max_length": max_length, "batch_size": batch_size}
        results["attacked"] = attacked_scores(model, loaded, attack, **settings)
    if as_json:
        typer.echo(json.dumps({"model": model, "task": loaded.name, "metrics": results}, indent=2))
        return
    width = max(len(metric) for metrics in results.values() for metric in metrics)
    for name, metrics in results.items():
        typer.echo(f"{model} on {loaded.name} ({name})")
        for metric, value in metrics.items():
            marker = "  <- main" if metric == loaded.main_metric else ""
            typer.echo(f"  {metric.ljust(width)}  {value:.4f}{marker}")
