"""``distilnlp tasks``"""

import typer

__all__ = ["command"]


def command() -> None:
    """List the tasks known by name."""
    from distilnlp.data.glue_table import GLUE, task_names

    typer.echo(f"{'task':<12}  {'train':>7}  {'held out':>8}  {'texts':<22}  {'labels':<40}  metrics")
    for info in GLUE.values():
        train, held_out = list(info.splits.values())[:2]
        labels = ", ".join(info.label_names) if info.label_names else "a number"
        texts = ", ".join(info.text_columns)
        metrics = ", ".join(info.metrics)
        typer.echo(f"{info.name:<12}  {train:>7}  {held_out:>8}  {texts:<22}  {labels:<40}  {metrics}")
    for name in task_names():
        if name not in GLUE:
            typer.echo(f"{name:<12}  an excerpt that comes with the package, for 'quickstart'")
    typer.echo(
        "A csv, tsv, json, jsonl, parquet or txt file, or a data set of the Hub, can stand wherever a task can."
    )
