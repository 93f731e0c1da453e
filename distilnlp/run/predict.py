"""Labels for new texts."""

import csv
import io
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distilnlp.data.columns import PAIRS, SINGLES, Columns
from distilnlp.data.files import read_files
from distilnlp.data.ranked import query_columns, refuse_written_lists
from distilnlp.data.written_lists import are_written_lists
from distilnlp.errors import RequestError, listed, unknown
from distilnlp.models.predictor import Predictor
from distilnlp.models.trained_columns import check_parts, remembered_columns
from distilnlp.problems import Answer, Problem
from distilnlp.problems.ranking import rank_order
from distilnlp.whole_files import write_text

logger = logging.getLogger(__name__)

__all__ = ["Prediction", "predict", "read_query_texts", "read_texts", "write_predictions"]


@dataclass(frozen=True)
class Prediction(Answer):
    """A model's answer to one text or pair.

    Args:
        texts: the text, or both of a pair; a text may be a list of words.
        rank: of a text among those of its query, from 1, where the model ranks; then ``label`` is its score.
    """

    texts: tuple[Any, ...] = ()
    rank: int | None = None


def predict(
    model: str,
    texts: Sequence[tuple[Any, ...]],
    *,
    max_length: int | None = None,
    batch_size: int = 32,
    problem: Problem | None = None,
    exit_threshold: float | None = None,
) -> list[Prediction]:
    """Classify texts with a fine-tuned model.

    Args:
        model: a folder or Hub id.
        texts: ``(text,)`` or ``(text, pair)``, all of one kind; for a model that tags words a text may be their list;
            for one that ranks ``(query, text)`` or ``(query, texts)``, of which those of a query are put in order,
            the best first.
        max_length: tokens that texts are cut to; default: what the model takes, at most 512.
        batch_size: texts at a time.
        problem: the kind of task that it is asked about (`kind_that_ranks`); None: that of the model.
        exit_threshold: as for `Predictor.load`.
    Raises:
        RequestError: no such model, or one without a head; single texts for a model that was trained on pairs.
    """
    predictor = Predictor.load(
        model, max_length=max_length, batch_size=batch_size, problem=problem, exit_threshold=exit_threshold
    )
    if not texts:
        return []
    check_parts(remembered_columns(predictor.backend.config), len(texts[0]), model)
    if predictor.problem.rows == "list":
        return _ranked(predictor, texts)
    if predictor.problem.rows == "token" and _are_written_words(texts):
        raise RequestError(
            f"every text is a list that is written as text, as {texts[0][0]!r:.60}: words are read from json, jsonl,"
            " parquet and conll files"
        )
    answers = predictor.answers(texts)
    return [Prediction(**vars(answer), texts=text) for text, answer in zip(texts, answers, strict=True)]


def _are_written_words(texts: Sequence[tuple[Any, ...]]) -> bool:
    """Lists of words as a csv holds them, in which a tagger would look for entities as in any text."""
    return all(isinstance(text, str) for text, *_ in texts) and are_written_lists(text for text, *_ in texts)


def _ranked(predictor: Predictor, texts: Sequence[tuple[Any, ...]]) -> list[Prediction]:
    """The texts of each query in their order, the queries in theirs."""
    queries: dict[str, list[str]] = {}
    for query, own in predictor.checked(texts):
        queries.setdefault(query, []).extend([own] if isinstance(own, str) else own)
    found = []
    for (query, own), answer in zip(queries.items(), predictor.answers(list(queries.items())), strict=True):
        scores = np.asarray(answer.scores)
        found += [
            Prediction(f"{scores[place]:.4f}", None, {}, texts=(query, own[place]), rank=rank)
            for rank, place in enumerate(rank_order(scores), start=1)
        ]
    return found


def read_texts(
    path: Path, text: str | None = None, text_pair: str | None = None, *, trained: Columns | None = None
) -> list[tuple[Any, ...]]:
    """The texts of a file: of the columns named, else of those that the model was trained on, else as names tell.

    Args:
        path: the file.
        text, text_pair: its columns, as the user names them.
        trained: the columns that the model was trained on (`columns_of`).
    Raises:
        RequestError: no such file or column, a file that cannot be read, a text that is missing.
    """
    data = read_files([path], lambda names: _columns(names, path, text, text_pair, trained))
    columns = data.column_names
    rows = list(zip(*(data[name] for name in columns), strict=True))
    for number, row in enumerate(rows, start=1):
        if not all(isinstance(value, str) or _is_words(value) for value in row):
            raise RequestError(f"{path}: row {number} has no text in column '{columns[0]}': fill it or take it out")
    return rows


def read_query_texts(
    path: Path, text: str | None = None, text_pair: str | None = None, *, trained: Columns | None = None
) -> list[tuple[str, list[str]]]:
    """The queries of a file with their texts, in any form that a ranking is learned from; no relevance is read.

    Args, Raises: as for `read_texts`.
    """

    def columns(found: Sequence[str]) -> list[str]:
        named = (text, text_pair)
        if text is None and trained is not None and {trained.text, trained.text_pair} <= {*found}:
            named = (trained.text, trained.text_pair)
        query, texts, others = query_columns(found, str(path), text=named[0], text_pair=named[1])
        missing = next((name for name in (query, texts) if name not in found), None)
        if missing is not None:
            raise unknown(f"column in {path}:", missing, found)
        return [query, texts, *([others] if others else [])]

    data = read_files([path], columns)
    refuse_written_lists(data, data.column_names[1:], str(path))
    rows = []
    for number, (query, *parts) in enumerate(zip(*(data[name] for name in data.column_names), strict=True), start=1):
        texts = [one for part in parts for one in (part if isinstance(part, list) else [part])]
        if not texts or not all(isinstance(one, str) for one in (query, *texts)):
            raise RequestError(f"{path}: row {number} lacks a query or a text of it: fill it in or take it out")
        rows.append((query, texts))
    return rows


def _is_words(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def _columns(
    found: Sequence[str], path: Path, text: str | None, text_pair: str | None, trained: Columns | None
) -> list[str]:
    if text_pair is not None and text is None:
        raise RequestError(f"--text-pair '{text_pair}' without --text: name both columns of the pair")
    if text is not None:
        for name in (text, text_pair):
            if name is not None and name not in found:
                raise unknown(f"column in {path}:", name, found)
        return [text] if text_pair is None else [text, text_pair]
    if trained is not None and not (len(found) == 1 and trained.text_pair is None):
        wanted = [trained.text] if trained.text_pair is None else [trained.text, trained.text_pair]
        missing = next((name for name in wanted if name not in found), None)
        if missing is not None:
            options = "--text" if trained.text_pair is None else "--text and --text-pair"
            raise RequestError(
                f"{path}: no column '{missing}', which the model was trained on: give {options}; columns:"
                f" {', '.join(found)}"
            )
        return wanted
    lowered = {name.lower(): name for name in found}
    for first, second in PAIRS:
        if first in lowered and second in lowered:
            return [lowered[first], lowered[second]]
    single = [lowered[name] for name in SINGLES if name in lowered] or (list(found) if len(found) == 1 else [])
    if not single:
        raise RequestError(f"{path}: which column is the text? give --text, one of: {listed(found)}")
    return single[:1]


def write_predictions(path: Path, predictions: Sequence[Prediction], *, all_scores: bool = False) -> None:
    """Write a ``.csv`` (text, label, probability) or ``.jsonl`` file (the probability of every class too).

    With ``all_scores`` it is a file to distil from: the probability of every class in ``probabilities`` of a
    ``.jsonl`` file, in a column ``prob_<label>`` each of a ``.csv`` file; and what the model decided is a
    ``predicted``, as a ``label`` would be learned from as if somebody had labelled the texts.

    Texts that were put in order have a ``rank``, and the score as their ``label``.

    A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and computes what somebody
    has written there. In a ``.csv`` file such texts get an apostrophe in front, and a warning counts them;
    a ``.jsonl`` file holds every text as it is.
    """
    pair = len(predictions[0].texts) == 2
    names = ["text", "text_pair"] if pair else ["text"]
    decided = "predicted" if all_scores else "label"
    if path.suffix == ".jsonl":
        rows = [
            {
                **dict(zip(names, each.texts, strict=True)),
                decided: each.label,
                "probability": each.probability,
                "probabilities": each.probabilities,
                **({} if each.place is None else dict(zip(("start", "end"), each.place, strict=True))),
                **({} if each.entities is None else {"entities": [vars(entity) for entity in each.entities]}),
                **({} if each.rank is None else {"rank": each.rank}),
                **({} if each.blanks is None else {"blanks": list(each.blanks)}),
            }
            for each in predictions
        ]
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    ranks = predictions[0].rank is not None
    places = any(each.place is not None for each in predictions)
    labels = list(predictions[0].probabilities) if all_scores else []
    columns = [*names, decided, "probability", *(f"prob_{name}" for name in labels)]
    writer.writerow([*columns, *(["rank"] if ranks else []), *(["start", "end"] if places else [])])
    quoted = 0
    predictions = [_one_line_of_words(each) for each in predictions]
    for each in predictions:
        cells = [_no_formula(cell) for cell in (*each.texts, each.label)]
        quoted += sum(cell != given for cell, given in zip(cells, (*each.texts, each.label), strict=True))
        numbers = [each.probability, *(each.probabilities[name] for name in labels)]
        writer.writerow([*cells, *numbers, *([each.rank] if ranks else []), *(each.place or ())])
    if quoted:
        logger.warning(
            "%d cell%s of %s would be taken for a formula by a spreadsheet: an apostrophe stands in front; a .jsonl "
            "file has the texts as they are",
            quoted,
            "" if quoted == 1 else "s",
            path,
        )
    write_text(path, buffer.getvalue())


def _one_line_of_words(prediction: Prediction) -> Prediction:
    """Words as one text, and entities as ``type: text`` in place of the label, as a cell can hold them."""
    texts = tuple(text if isinstance(text, str) else " ".join(text) for text in prediction.texts)
    if prediction.entities is None:
        return replace(prediction, texts=texts)
    found = [f"{each.type}: {texts[0][each.start : each.end]}" for each in prediction.entities]
    return replace(prediction, texts=texts, label="; ".join(found))


# Tab and return are skipped, and some languages' spreadsheets take the wide forms too. A sign alone is text.
_FORMULA = re.compile(r"[=+\-@\t\r\uff1d\uff0b\uff0d\uff20].", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")


def _no_formula(cell: str) -> str:
    """The cell of a csv file, with an apostrophe in front where a spreadsheet would compute it."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell
