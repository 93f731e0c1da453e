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
    max_length: options.ReadLength = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at a time.")] = 32,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that answer at once; each loads the models. The file is the same.")
    ] = 1,
    budget: Annotated[
        int | None,
        typer.Option(min=1, help="Ask until the file holds so many answers; none that it holds is asked for again."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="With --budget, which texts: random, margin, entropy or disagreement.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The student whose doubts choose the texts, with --by margin, say.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(help="With --by disagreement: a second model, to differ from --model."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the choice at random. [default: 0]")] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="TEACHER is for entailment: the labels that each text is asked about."),
    ] = None,
    hypotheses: Annotated[
        str | None,
        typer.Option(help="What is true of a text with a label, {} for it. [default: 'This text is about {}.']"),
    ] = None,
) -> None:
    """Write models' answers into a file to distil from.

    The answers of one model, or the mean of several. With --labels a model for entailment (NLI) answers without having
    been trained on the task: each text is asked about once for each label.

    Learn from them with 'distill FILE --teacher-column probs'. After a break the same command goes on.
    """
    if output.suffix not in (".jsonl", ".csv", ".parquet"):
        raise unknown("kind of output file", output.suffix or output.name, (".jsonl", ".csv", ".parquet"))
    if len(set(teacher)) < len(teacher):
        raise RequestError("a teacher is given twice, which would count it twice in the mean: give each once")
    if budget is None and any(each is not None for each in (by, model, control, seed)):
        raise RequestError(
            "--by, --model, --control and --seed choose the texts of a --budget: give one, or none of them"
        )
    if seed is not None and by not in (None, "random"):
        raise RequestError(f"--seed is of a choice at random, and --by {by} has no chance in it: leave it out")
    make_way(output, Path(data))
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.choosing import Choice
    from distilnlp.run.label import label_data, stderr_line
    from distilnlp.run.zero_shot import HYPOTHESIS, Hypotheses

    asked = None
    if labels is not None:
        asked = Hypotheses(tuple(each.strip() for each in labels.split(",")), hypotheses or HYPOTHESIS)
    elif hypotheses is not None:
        raise RequestError("--hypotheses is about labels, and there are none: give them with --labels a,b,c")

    choice = None if budget is None else Choice(budget, by or "random", model, control, seed or 0)
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
        choice=choice,
        hypotheses=asked,
        say=stderr_line,
    )
    new = "texts" if choice is None else "more texts"
    typer.echo(f"{count} {new} with the answers of {', '.join(teacher)} in {output}")
