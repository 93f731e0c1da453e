"""``distilnlp label``"""

from pathlib import Path
from typing import Annotated

import typer

from distilnlp.cli import _options as options
from distilnlp.cli._output import make_way
from distilnlp.errors import RequestError, unknown

__all__ = ["command"]


def command(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A txt/csv/tsv/json/jsonl/parquet file, a GLUE task, or a Hub data set."),
    ],
    teacher: Annotated[
        list[str], typer.Option(help="Folder or Hub id of a fine-tuned model; repeated: the mean of all of them.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .jsonl, .csv or .parquet file to write.")],
    values: Annotated[str, typer.Option(help="probabilities or logits.")] = "probabilities",
    text: options.Text = None,
    text_pair: options.TextPair = None,
    label: Annotated[str | None, typer.Option(help="Column of the labels, which are kept beside the answers.")] = None,
    data_dir: options.DataDir = None,
    split: Annotated[str, typer.Option(help="train or validation, of what is no file.")] = "train",
    max_length: Annotated[
        int | None, typer.Option(min=3, help="Cut texts to so many tokens. [default: what the model takes, up to 512]")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at a time.")] = 32,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that answer at once; each loads the models. The file is the same.")
    ] = 1,
) -> None:
    """Write models' answers into a file to distil from.

    The answers of one model, or the mean of several.

    Learn from them with 'distill FILE --teacher-column probs'. After a break the same command goes on.
    """
    if output.suffix not in (".jsonl", ".csv", ".parquet"):
        raise unknown("kind of output file", output.suffix or output.name, (".jsonl", ".csv", ".parquet"))
    if len(set(teacher)) < len(teacher):
        raise RequestError("a teacher is given twice, which would count it twice in the mean: give each once")
    make_way(output, Path(data))
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.label import label_data, stderr_line

    count = label_data(
        data,
        teacher,
        output,
        text=text,
        text_pair=text_pair,
        label=label,
        data_dir=str(data_dir) if data_dir else None,
        split=split,
        values=values,
        max_length=max_length,
        batch_size=batch_size,
        processes=processes,
        say=stderr_line,
    )
    typer.echo(f"{count} texts with the answers of {', '.join(teacher)} in {output}")
