"""``distilnlp generate``"""

from pathlib import Path
from typing import Annotated

import typer

from distilnlp.cli._output import make_way
from distilnlp.errors import RequestError, unknown

__all__ = ["command"]

KINDS = {"random-words": "random_words", "unigram": "unigram", "masked-words": "masked_words"}


def command(
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="A .txt, .jsonl, .csv or .parquet file to write the texts into.")
    ],
    kind: Annotated[str, typer.Option(help="random-words, unigram or masked-words.")] = "random-words",
    teacher: Annotated[
        str | None, typer.Option(help="Folder or Hub id of the model that will teach: its answers are counted.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or Hub id whose vocabulary is drawn from. [default: the teacher]")
    ] = None,
    model: Annotated[str | None, typer.Option(help="masked-words: folder or Hub id of the model that writes.")] = None,
    count: Annotated[int, typer.Option(min=2, help="How many texts.")] = 2000,
    words: Annotated[str, typer.Option(metavar="A,B", help="Words of a text, the fewest and the most.")] = "5,30",
    counts: Annotated[
        str | None,
        typer.Option(help="unigram: a file of texts whose words are counted. [default: by vocabulary rank]"),
    ] = None,
    temperature: Annotated[float, typer.Option(help="masked-words: of what is drawn.")] = 1.0,
    passes: Annotated[int, typer.Option(min=1, help="masked-words: in how many passes a text is filled.")] = 8,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Two texts a row. [default: as the teacher reads them]")
    ] = False,
    balance: Annotated[
        bool, typer.Option("--balance", help="As many texts of each class as the teacher answers.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal texts.")] = 0,
) -> None:
    """Make texts to distil from where there are none.

    No training example is read. Learn from them with 'distill OUTPUT --teacher TEACHER', as from any texts without
    labels. The same command writes the same texts. A recipe makes them itself with data.generate.
    """
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from pydantic import ValidationError

    from distilnlp.recipe import GenerateSpec
    from distilnlp.run.generate import generate_file

    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    try:
        fewest, most = (int(part) for part in words.split(","))
    except ValueError:
        raise RequestError(f"--words is {words!r}: give two whole numbers, as 5,30") from None
    try:
        spec = GenerateSpec.model_validate(
            {
                "kind": KINDS[kind],
                "count": count,
                "words": [fewest, most],
                "seed": seed,
                "counts": counts,
                "model": model,
                "temperature": temperature,
                "passes": passes,
                "balance": balance,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{' '.join(f'--{part}' for part in first['loc'][:1])} {first['msg']}".strip()) from None
    make_way(output)
    rows = generate_file(output, spec, tokenizer=tokenizer, pairs=pairs, teacher=teacher, say=typer.echo)
    typer.echo(f"{rows} texts in {output}")
