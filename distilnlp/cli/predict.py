"""``distilnlp predict``"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distilnlp.cli import _options as options
from distilnlp.cli._output import make_way
from distilnlp.errors import RequestError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distilnlp.problems import Problem
    from distilnlp.run.predict import Prediction

__all__ = ["command"]

KINDS = (".csv", ".jsonl", ".npy", ".parquet")
LABELS = KINDS[:2]  # what a model's labels go into; vectors go into all others and .jsonl


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
    query: Annotated[
        str | None,
        typer.Option(help="Put the texts in order for this query, with a model that ranks or a sentence encoder."),
    ] = None,
    question: Annotated[
        list[str] | None,
        typer.Option(help="A question to answer, repeatable; with --input: the column of the questions."),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            help="What its answer stands in, one for each question or one for all; with --input: its column."
        ),
    ] = None,
    input_file: Annotated[Path | None, typer.Option("--input", help="A csv/tsv/json/jsonl/parquet file.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write a .csv or .jsonl file, of vectors a .jsonl, .npy or .parquet file."
        ),
    ] = None,
    max_length: options.ReadLength = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at a time.")] = 32,
    exit_threshold: options.ExitThreshold = None,
    all_scores: Annotated[
        bool,
        typer.Option(
            "--all-scores", help="The probability of every label; a file of them is one to distil from, unlabelled."
        ),
    ] = False,
) -> None:
    """Classify texts with a model.

    A file's texts are read from the columns that the model was trained on, unless others are named.

    Prints label, probability and text; of a model that tags words the text, then a line for each entity: type,
    probability, place in characters, words; of a model that ranks the query, then rank, score and text, the best
    first; of a sentence encoder the vector and the text, or the cosine of a pair; of one that answers questions the
    answer, its probability, its place in the context in characters, and the question.
    """
    text, text_pair = _pairs(text, text_pair, question, context, named=input_file is not None)
    if output is not None and output.suffix not in KINDS:
        raise unknown("kind of output file", output.suffix or output.name, KINDS)
    if query is not None and input_file is None and not text:
        raise RequestError("there is nothing to put in order: give --text for each of the query's texts")
    if input_file is None and not text:
        raise RequestError(
            "nothing to classify: give --text 'some text', or --question and --context, or --input FILE"
        )
    if output is not None:
        make_way(output, input_file)
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.evaluation import columns_of, kind_that_ranks, kind_to_order
    from distilnlp.run.predict import predict, read_query_texts, read_texts, write_predictions
    from distilnlp.run.vectors import gives_vectors

    problem: Problem | None = None
    texts: list[tuple[Any, ...]]
    if input_file is not None:
        if query is not None:
            raise RequestError("with --input the queries are a column: name it with --text, or leave out --query")
        if len(text or ()) > 1 or len(text_pair or ()) > 1:
            raise RequestError("with --input, --text and --text-pair name one column each")
        named = (text[0] if text else None, text_pair[0] if text_pair else None)
        problem = kind_to_order(model, input_file, named[0])
        if problem is not None:
            texts = [*read_query_texts(input_file, *named, trained=columns_of(model))]
        else:  # an encoder gives vectors of whatever texts, those of queries or others
            texts = read_texts(input_file, *named, trained=None if gives_vectors(model) else columns_of(model))
    elif query is not None:
        if text_pair:
            raise RequestError("--query is the first text of every pair: leave out --text-pair")
        problem = kind_that_ranks(model)
        texts = [(query, one) for one in text or ()]
    else:
        pairs = text_pair or []
        if pairs and len(pairs) != len(text or ()):
            raise RequestError(f"{len(text or ())} --text and {len(pairs)} --text-pair: give as many of each")
        texts = list(zip(text or (), pairs, strict=True)) if pairs else [(one,) for one in text or ()]
    if texts and len(texts[0]) == 1 and gives_vectors(model):
        if exit_threshold is not None:
            raise RequestError(f"{model} gives vectors, and a vector has no exits: leave out --exit-threshold")
        if all_scores:
            raise RequestError(f"{model} gives vectors, and they have no labels: leave out --all-scores")
        _vectors(model, [text for text, *_ in texts], output, max_length, batch_size)
        return
    if output is not None and output.suffix not in LABELS:
        raise RequestError(f"{output}: {output.suffix} is for vectors, and the answers are none: give .csv or .jsonl")
    predictions = predict(
        model,
        texts,
        max_length=max_length,
        batch_size=batch_size,
        problem=problem,
        exit_threshold=exit_threshold,
    )
    if question and predictions and predictions[0].place is None:
        raise RequestError(
            f"{model} finds no answers in a text: take a model for questions, or give --text and --text-pair"
        )
    if all_scores and any(not each.probabilities or each.entities is not None for each in predictions):
        raise RequestError(
            f"--all-scores: {model} gives no probability of each label of a text: leave it out; answers of all"
            " kinds to distil from are written by 'distilnlp label'"
        )
    if output is not None:
        write_predictions(output, predictions, all_scores=all_scores)
        typer.echo(f"{len(predictions)} predictions in {output}")
        return
    before = None
    for prediction in predictions:
        if prediction.rank is not None and prediction.texts[0] != before:
            before = prediction.texts[0]
            typer.echo(f"# {_shown((before,))}")
        typer.echo(_line_of_all(prediction) if all_scores else _line(prediction))


def _vectors(model: str, texts: list[str], output: Path | None, max_length: int | None, batch_size: int) -> None:
    """Print the vectors of a sentence encoder, all numbers, or write them."""
    from distilnlp.run.vectors import SUFFIXES, make_vectors, write_vectors

    if output is not None and output.suffix not in SUFFIXES:
        raise unknown("kind of file for vectors:", output.suffix, SUFFIXES)
    found = make_vectors(model, texts, max_length=max_length, batch_size=batch_size)
    if output is not None:
        write_vectors(output, texts, found)
        typer.echo(f"{len(found)} vectors of {found.shape[1]} numbers in {output}")
        return
    for text, vector in zip(texts, found, strict=True):
        typer.echo(f"{' '.join(f'{number:.6g}' for number in vector)}\t{_shown((text,))}")


def _pairs(
    text: list[str] | None,
    text_pair: list[str] | None,
    question: list[str] | None,
    context: list[str] | None,
    *,
    named: bool,
) -> tuple[list[str] | None, list[str] | None]:
    """A question and its context are a text and its pair; one context may be for all questions."""
    if not question and not context:
        return text, text_pair
    if text or text_pair:
        raise RequestError("--question and --context are a text and its pair: leave out --text and --text-pair")
    if not question or not context:
        missing = "--context" if question else "--question"
        raise RequestError(f"{missing} is missing: give a question and the context that its answer stands in")
    if not named and len(context) not in (1, len(question)):
        raise RequestError(f"{len(question)} --question and {len(context)} --context: give one, or as many of each")
    return question, context * len(question) if len(context) == 1 else context


def _line(prediction: "Prediction") -> str:
    if prediction.rank is not None:
        return f"{prediction.rank}\t{prediction.label}\t{_shown(prediction.texts[1:])}"
    shown = _shown(prediction.texts)
    if prediction.entities is not None:
        text = _plain(prediction.texts[0])
        found = [
            f"{each.type}\t{each.probability:.3f}\t{each.start}:{each.end}\t{text[each.start : each.end]}"
            for each in prediction.entities
        ]
        return "\n".join([f"# {shown}", *found])
    if prediction.blanks is not None:
        rows = [
            "  ".join(f"{token} {probability:.3f}" for token, probability in blank.items())
            for blank in prediction.blanks
        ]
        return "\n".join([f"# {shown}", *rows])
    if prediction.place is not None:
        asked = " ".join(prediction.texts[0].split())
        answer = " ".join(prediction.label.split()) or "(no answer)"
        start, end = prediction.place
        return f"{answer}\t{prediction.probability:.3f}\t{start}:{end}\t{asked}"
    if prediction.probability is None:
        return f"{prediction.label}\t{shown}"
    return f"{prediction.label}\t{prediction.probability:.3f}\t{shown}"


def _line_of_all(prediction: "Prediction") -> str:
    """Every label with its probability, the likeliest first."""
    ordered = sorted(prediction.probabilities.items(), key=lambda each: -each[1])
    numbers = "  ".join(f"{' '.join(label.split())} {probability:.3f}" for label, probability in ordered)
    return f"{numbers}\t{_shown(prediction.texts)}"


def _plain(text: "str | list[str]") -> str:
    return text if isinstance(text, str) else " ".join(text)


def _shown(texts: "Sequence[Any]") -> str:
    text = " | ".join(" ".join(_plain(part).split()) for part in texts)
    return text if len(text) <= 80 else f"{text[:77]}..."
