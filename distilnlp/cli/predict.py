"""``distilnlp predict``"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distilnlp.cli._output import make_way
from distilnlp.errors import RequestError, unknown

if TYPE_CHECKING:
    from distilnlp.run.predict import Prediction

__all__ = ["command"]


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder of a fine-tuned model (RUN/student), or a Hub id.")
    ],
    text: Annotated[
        list[str] | None, typer.Option(help="A text to classify, repeatable; with --input: the column of the texts.")
    ] = None,
    text_pair: Annotated[
        list[str] | None, typer.Option(help="Its second text; with --input: the column of the second texts.")
    ] = None,
    input_file: Annotated[Path | None, typer.Option("--input", help="A csv/tsv/json/jsonl/parquet file.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a .csv or .jsonl file, in place of one that is there.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=3, help="Cut texts to so many tokens. [default: what the model takes, up to 512]")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at a time.")] = 32,
) -> None:
    """Classify texts with a model.

    A file's texts are read from the columns that the model was trained on, unless others are named.

    Prints label, probability and text; of a model that tags words the text, then a line for each entity: type,
    probability, place in characters, words.
    """
    if output is not None and output.suffix not in (".csv", ".jsonl"):
        raise unknown("kind of output file", output.suffix or output.name, (".csv", ".jsonl"))
    if input_file is None and not text:
        raise RequestError("nothing to classify: give --text 'some text' or --input FILE")
    if output is not None:
        make_way(output, input_file)
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.evaluation import columns_of
    from distilnlp.run.predict import predict, read_texts, write_predictions

    if input_file is not None:
        if len(text or ()) > 1 or len(text_pair or ()) > 1:
            raise RequestError("with --input, --text and --text-pair name one column each")
        named = (text[0] if text else None, text_pair[0] if text_pair else None)
        texts = read_texts(input_file, *named, trained=columns_of(model))
    else:
        pairs = text_pair or []
        if pairs and len(pairs) != len(text or ()):
            raise RequestError(f"{len(text or ())} --text and {len(pairs)} --text-pair: give as many of each")
        texts = list(zip(text or (), pairs, strict=True)) if pairs else [(one,) for one in text or ()]
    predictions = predict(model, texts, max_length=max_length, batch_size=batch_size)
    if output is not None:
        write_predictions(output, predictions)
        typer.echo(f"{len(predictions)} predictions in {output}")
        return
    for prediction in predictions:
        typer.echo(_line(prediction))


def _line(prediction: "Prediction") -> str:
    parts = [part if isinstance(part, str) else " ".join(part) for part in prediction.texts]
    text = " | ".join(" ".join(part.split()) for part in parts)
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    if prediction.entities is not None:
        found = [
            f"{each.type}\t{each.probability:.3f}\t{each.start}:{each.end}\t{parts[0][each.start : each.end]}"
            for each in prediction.entities
        ]
        return "\n".join([f"# {shown}", *found])
    if prediction.probability is None:
        return f"{prediction.label}\t{shown}"
    return f"{prediction.label}\t{prediction.probability:.3f}\t{shown}"
