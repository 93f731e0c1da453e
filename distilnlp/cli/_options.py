"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BatchSize",
    "DataDir",
    "DryRun",
    "Epochs",
    "Fresh",
    "Label",
    "LearningRate",
    "MaxLength",
    "Output",
    "Precision",
    "ProblemType",
    "Seed",
    "Set",
    "TaskName",
    "Text",
    "TextPair",
    "Validation",
]

TaskName = Annotated[
    str, typer.Argument(metavar="TASK", help="A GLUE task (see 'tasks'), a csv/json/parquet file, or a Hub data set.")
]
Text = Annotated[str | None, typer.Option(help="Column of the text, where its name does not tell.")]
TextPair = Annotated[str | None, typer.Option(help="Column of the second text, for pairs.")]
Label = Annotated[str | None, typer.Option(help="Column of the label, where its name does not tell.")]
ProblemType = Annotated[
    str | None,
    typer.Option(
        help="regression, single_label_classification or multi_label_classification. [default: as the labels look]"
    ),
]
Validation = Annotated[str | None, typer.Option(help="File of the held-out examples. [default: hold out a part]")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with <task>/train.parquet and validation.parquet, instead of the Hub.")
]
MaxLength = Annotated[int | None, typer.Option(help="Cut texts to so many tokens. [default: 128]")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the training examples. [default: as in glue/_base]")]
BatchSize = Annotated[int | None, typer.Option(help="Examples a step. [default: 32]")]
LearningRate = Annotated[float | None, typer.Option(help="Peak learning rate. [default: as in glue/_base]")]
Precision = Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16. [default: auto]")]
Seed = Annotated[int | None, typer.Option(help="Seed of every stage. [default: 42]")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run. [default: runs/<name>]")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. stages.student.training.seed=1. Repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete what an earlier run left in the folder, and start anew.")]
