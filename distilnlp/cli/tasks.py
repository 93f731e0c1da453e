"""``distilnlp tasks``"""

import typer

__all__ = ["command"]


def command() -> None:
    """List the tasks known by name."""
    from distilnlp.data.glue_table import GLUE, PACKAGED

    typer.echo(f"{'task':<16}  {'train':>7}  {'held out':>8}  {'texts':<22}  {'labels':<40}  metrics")
    for info in (*GLUE.values(), *PACKAGED.values()):
        train, held_out = list(info.splits.values())[:2]
        labels = ", ".join(info.label_names) if info.label_names else "a number"
        texts = ", ".join(info.text_columns)
        metrics = ", ".join(info.metrics)
        typer.echo(f"{info.name:<16}  {train:>7}  {held_out:>8}  {texts:<22}  {labels:<40}  {metrics}")
    typer.echo(f"{' and '.join(PACKAGED)} come with the package, the others from the Hub or from a folder.")
    typer.echo(
        "A csv, tsv, json, jsonl, parquet or txt file, or a data set of the Hub, can stand wherever a task can."
    )
