"""Writes the answers of a model, or the mean of several, into a file from which a student can be distilled."""

import csv
import hashlib
import io
import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, List

from distilnlp.checksums import file_checksum
from distilnlp.data import load_task
from distilnlp.data.files import SUFFIXES
from distilnlp.data.glue_table import known_name
from distilnlp.data.label_sets import is_missing
from distilnlp.data.ranked import RankingColumns, read_queries
from distilnlp.data.request import Request
from distilnlp.errors import RequestError, unknown
from distilnlp.label_names import match_names
from distilnlp.models.loading import load_config, model_files
from distilnlp.models.trained_columns import check_parts, remembered_columns
from distilnlp.problems import Problem, get_problem, problem_of_config
from distilnlp.run.answering import PART_ROWS, Answerer, Answering, Models, load_models
from distilnlp.run.choosing import Choice
from distilnlp.run.inputs import data_digest
from distilnlp.run.zero_shot import Hypotheses
from distilnlp.whole_files import whole_file, write_text

__all__ = ["WRITTEN", "label_data"]

RANKING = get_problem("ranking")

WRITTEN = (".jsonl", ".csv", ".parquet")

_NAMES_OF_WORDS = {"text": "tokens", "label": "tags"}  # the columns of texts that are lists of words
_NAMES_OF_QUERIES = {"text": "query", "text_pair": "texts"}


def label_data(
    source: str,
    teachers: Sequence[str],
    output: Path,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    data_dir: str | None = None,
    split: str = "train",
    values: str = "probabilities",
    max_length: int | None = None,
    batch_size: int = 32,
    processes: int = 1,
    choice: Choice | None = None,
    hypotheses: Hypotheses | None = None,
    say: Callable[[str], object],
) -> int:
    """Let a model, or several, answer the texts of a data set, and write the answers.

    What a part of the texts got is kept beside the output at once, so that the same call goes on after a break; the
    output itself is complete or absent. Of several models the mean is written: of their probabilities, or of their
    logits.

    Args:
        source: a file (each text is answered, in its order), or a task or data set of the Hub, of which ``split``.
        teachers: folders or Hub ids; all for the same labels, in whatever order.
        output: a ``.jsonl``, ``.csv`` or ``.parquet`` file with the columns ``text``, ``text_pair`` and ``label`` as
            far as the data have them, and ``probs`` or ``logits``, a mapping label -> number (JSON in a csv), or
            ``score``, the number of a regression. Of a model that tags words: ``tokens``, ``tags`` and a list with a
            mapping for each word, and no csv. Of one that ranks a row a query: ``query``, ``texts``, the ``label`` of
            each where there are any, and ``scores``, and no csv.
        text, text_pair, label: columns of a file.
        data_dir: as for `load_task`.
        split: ``train`` or ``validation``, of what is no file.
        values: ``probabilities`` or ``logits``.
        max_length: tokens that texts are cut to; default: what each model takes, at most 512.
        batch_size: texts at a time.
        processes: that answer at once, each with its own models and its share of the threads; the file is the same.
        choice: which texts are asked about, where not all are. The answers are then added to those that the output
            holds already, of which none is asked for again.
        hypotheses: the labels, where the teachers are for entailment and are asked about each label of each text.
        say: shows one line to the user.
    Returns:
        How many texts were answered; those that were before are not counted.
    Raises:
        RequestError: no such data or model; models of several kinds of task or for other labels; ``processes`` below
            1; an output to be added to that holds other columns or labels; as `Choice.of`.
        RunError: logits that are not finite; a process was ended.
    """
    if output.suffix not in WRITTEN:
        raise unknown("kind of output file", output.suffix or output.name, WRITTEN)
    if values not in ("probabilities", "logits"):
        raise unknown("kind of values:", values, ("probabilities", "logits"))
    ranks = problem_of_config(load_config(teachers[0])).rows == "list"
    data = _read(source, text, text_pair, label, data_dir, split, ranks)
    before = [] if choice is None else _answers_before(output)
    if choice is not None:
        if _has_queries(data):
            raise RequestError(f"{source}: which texts of a query to ask about cannot be chosen: leave out --budget")
        known = frozenset(_key(record) for record in before)
        data = data.select(choice.of(data, known, max_length=max_length, batch_size=batch_size))
        if not len(data):
            return 0
    if processes < 1:
        raise RequestError(f"processes is {processes}: give 1 or more")
    asked = None
    if _has_queries(data):
        asked, values = RANKING, "logits"  # a score is no probability
        for name in teachers:
            _check_ranks(name)
    if hypotheses is not None and "text_pair" in data.column_names:
        raise RequestError(
            f"{source} has pairs of texts, and a hypothesis about a label takes the place of the second"
        )
    predictors = load_models(teachers, max_length, batch_size, asked, hypotheses)
    problem, names, orders = _one_head(teachers, predictors)
    _check_kind(data, problem, teachers[0], output)
    for name, predictor in zip(teachers, predictors, strict=True) if hypotheses is None else ():
        check_parts(remembered_columns(predictor.backend.config), 1 + ("text_pair" in data.column_names), name)
    _check_fits(before, output, data, _column(problem, values), names)
    folder = _parts_folder(output, _identity(data, teachers, values, max_length, hypotheses))
    how = (values, max_length, batch_size, asked, hypotheses)
    models = Models(tuple(teachers), problem.name, tuple(map(tuple, orders)), *how)
    answering = Answering(data, models, folder, PART_ROWS, "texts" if asked is None else "queries")
    answering.run(predictors, processes, say)
    _write(output, answering, _column(problem, values), names, before)
    shutil.rmtree(folder)
    return len(data) if asked is None else sum(map(len, data["text_pair"]))


def _read(
    source: str,
    text: str | None,
    text_pair: str | None,
    label: str | None,
    data_dir: str | None,
    split: str,
    ranks: bool,
) -> Dataset:
    """The texts and, where there are any, labels as they are written; of queries as `read_queries` gives them.

    Args:
        source, text, text_pair, label, data_dir, split: as for `label_data`.
        ranks: whether the model puts the texts of queries in order, whatever the columns tell.
    """
    path = Path(source)
    if path.suffix.lower() in SUFFIXES:
        kind = RANKING.name if ranks else None
        request = Request(text=text, text_pair=text_pair, label=label, problem=kind, optional=True)
        data, found = request.read([path])
        if isinstance(found, RankingColumns):
            return read_queries(data, source, found, optional=True, ordered=False)[0]
        texts = {found.text: "text", **({} if found.text_pair is None else {found.text_pair: "text_pair"})}
        for name in texts:
            for row, value in enumerate(data[name], start=1):
                if not _is_text(value):
                    raise RequestError(f"{source}: row {row} has no text in column '{name}': fill it or take it out")
        labels = {found.label: "label"} if isinstance(found.label, str) else {}
        return data.select_columns([*texts, *labels]).rename_columns({**texts, **labels})
    kind = RANKING.name if ranks and not known_name(source) else None
    task = load_task(source, text=text, text_pair=text_pair, label=label, data_dir=data_dir, problem_type=kind)
    if split not in ("train", "validation"):
        raise unknown("split", split, ("train", "validation"))
    chosen = task.train if split == "train" else task.validation
    if chosen is None:
        raise RequestError(f"{source} has no {split} split")
    return chosen


def _has_queries(data: Dataset) -> bool:
    """Whether each row is a query with a list of texts."""
    return isinstance(data.features.get("text_pair"), List)


def _check_ranks(name: str) -> None:
    config = load_config(name)
    own = problem_of_config(config)
    if own.vectors or not RANKING.fits_head(config, None):
        raise RequestError(
            f"{name} is for {own.name}, and the data have queries with their texts: take a model that ranks (a"
            " cross-encoder with one logit)"
        )


def _is_text(value: object) -> bool:
    """A text, or a list of words."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(word, str) for word in value)
    return isinstance(value, str) and bool(value.strip())


def _check_kind(data: Dataset, problem: Problem, name: str, output: Path) -> None:
    """Whether the texts are such as the model answers, and the file can hold its answers.

    Raises:
        RequestError: lists of words for a model of texts, or texts for one of words, of which nobody knows later what
            its words were; lists in a csv.
    """
    if problem.rows == "list" and not _has_queries(data):
        raise RequestError(
            f"{name} puts the texts of queries in order, and the data have none: give queries and texts"
        )
    words = isinstance(data.features["text"], List)
    if words != (problem.rows == "token"):
        raise RequestError(
            f"{name} is for {problem.name} and the texts are {'lists of words' if words else 'whole'}: give"
            f" {'texts' if words else 'lists of words (a column tokens, or a conll file)'}"
        )
    for lists, what in ((words, "words"), (_has_queries(data), "texts")):
        if lists and output.suffix == ".csv":
            raise RequestError(f"{output}: a csv has no lists of {what}: write a .jsonl or .parquet file")


def _one_head(
    teachers: Sequence[str], predictors: Sequence[Answerer]
) -> tuple[Problem, tuple[str, ...], list[list[int]]]:
    """The kind of task and the labels of the first model, and in which order each model has them."""
    first = predictors[0]
    if first.problem.labels_itself:
        raise RequestError(f"{teachers[0]} is for {first.problem.name} and gives texts no label: take a classifier")
    if first.problem.vectors:
        raise RequestError(
            f"{teachers[0]} gives vectors, which are no answers that are recorded: distil from the model itself"
            " (--teacher)"
        )
    if first.problem.rows == "span":
        raise RequestError(
            f"{teachers[0]} is for {first.problem.name}, whose answers are not one row of numbers a text: distil"
            " from the model itself (--teacher)"
        )
    orders = []
    for name, predictor in zip(teachers, predictors, strict=True):
        if type(predictor.problem) is not type(first.problem):
            raise RequestError(
                f"{name} is for {predictor.problem.name} and {teachers[0]} for {first.problem.name}: the mean of"
                " several models needs one kind of task"
            )
        named = first.problem.named_labels
        order = match_names(first.label_names, predictor.label_names) if named else (0,)
        if order is None:
            raise RequestError(
                f"the labels of {name} are {', '.join(predictor.label_names)} and those of {teachers[0]}"
                f" {', '.join(first.label_names)}: the mean of several models needs the same labels"
            )
        orders.append(list(order))
    return get_problem(first.problem.name), tuple(first.label_names), orders


def _column(problem: Problem, values: str) -> str:
    if problem.rows == "list":
        return "scores"
    if not problem.named_labels:
        return "score"
    return "probs" if values == "probabilities" else "logits"


# ---- what a killed call has left ----


def _identity(
    data: Dataset, teachers: Sequence[str], values: str, max_length: int | None, hypotheses: Hypotheses | None
) -> str:
    """A digest of all that the answers follow from."""
    files = {f"{name}/{file}": file_checksum(path) for name in teachers for file, path in model_files(name).items()}
    asked = None if hypotheses is None else [*hypotheses.labels, hypotheses.template]
    said = json.dumps([files, list(teachers), values, max_length, len(data), PART_ROWS, asked], sort_keys=True)
    return hashlib.sha256(said.encode() + data_digest(data)).hexdigest()[:16]


def _parts_folder(output: Path, identity: str) -> Path:
    """Where parts of the answers are kept until all are there; those of another call for this file are removed."""
    folder = output.with_name(f".{output.name}.parts")
    note = folder / "identity"
    if not (note.is_file() and note.read_text(encoding="utf-8") == identity):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_text(note, identity)
    return folder


# ---- the answers that a file holds already ----


def _answers_before(output: Path) -> list[dict[str, Any]]:
    """The rows of a file that answers are added to; none where there is no file."""
    if not output.is_file():
        return []
    try:
        if output.suffix == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_table(output).to_pylist())
        with output.open(encoding="utf-8", newline="") as file:
            if output.suffix == ".csv":
                return [dict(row) for row in csv.DictReader(file)]
            found = [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise RequestError(f"{output} cannot be read, so that no answers can be added to it: {error}") from error
    if not all(isinstance(record, dict) for record in found):
        raise RequestError(f"{output} holds rows that are no records: give the name of a new file")
    return found


def _key(record: Mapping[str, Any]) -> Any:
    """As `row_texts`, of a row of the file."""
    found = [record[name] for name in ("text", _NAMES_OF_WORDS["text"], "text_pair") if record.get(name) is not None]
    return tuple(tuple(each) if isinstance(each, list) else each for each in found)


def _check_fits(
    before: Sequence[Mapping[str, Any]], output: Path, data: Dataset, column: str, names: Sequence[str]
) -> None:
    """Raise RequestError for a file that holds other columns, or answers for other labels."""
    if not before:
        return
    words = isinstance(data.features["text"], List)
    new = [*(_NAMES_OF_WORDS.get(name, name) if words else name for name in data.column_names), column]
    if list(before[0]) != new:
        raise RequestError(
            f"{output} has the columns {', '.join(before[0])} and the new answers {', '.join(new)}: give the name of a"
            " new file"
        )
    answer = before[0][column]
    answer = json.loads(answer) if isinstance(answer, str) and column != "score" else answer
    answer = answer[0] if isinstance(answer, list) else answer
    if isinstance(answer, Mapping) and list(answer) != list(names):
        raise RequestError(
            f"{output} has answers for the labels {', '.join(answer)} and the teacher gives {', '.join(names)}: give"
            " the name of a new file"
        )


# ---- the file ----


def _write(
    output: Path, answering: Answering, column: str, names: Sequence[str], before: list[dict[str, Any]]
) -> None:
    parts = itertools.chain([before] if before else [], _records(answering, column, names))
    with whole_file(output) as temporary:
        if output.suffix == ".parquet":
            _write_parquet(temporary, parts)
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            for number, records in enumerate(parts):
                file.write(_lines(records, output.suffix, header=number == 0))


def _records(answering: Answering, column: str, names: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """The rows of the file, a part at a time."""
    data, size = answering.data, answering.part_rows
    feature = data.features.get("label")
    of_words, of_queries = isinstance(data.features["text"], List), _has_queries(data)
    renamed = _NAMES_OF_WORDS if of_words else _NAMES_OF_QUERIES if of_queries else {}
    for number, part in enumerate(answering.read()):
        rows = data[number * size : (number + 1) * size]
        if "label" in rows:
            rows["label"] = [_named(value, feature) for value in rows["label"]]
        answers = part.tolist()
        if renamed:  # an answer for each word, or each text of a query
            each = iter(answers)
            lists = rows["text" if of_words else "text_pair"]
            answers = [list(itertools.islice(each, len(own))) for own in lists]
            rows = {renamed.get(name, name): values for name, values in rows.items()}
        given = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
        yield [{**own, column: _written(row, column, names)} for own, row in zip(given, answers, strict=True)]


def _named(value: Any, feature: object) -> Any:
    """A label by its name, or a list of such; None for none."""
    if isinstance(value, list) and any(map(is_missing, value)):
        return None  # of the texts of a query all or none have a relevance
    inner = feature.feature if isinstance(feature, List) else feature
    if value is None or not isinstance(inner, ClassLabel):
        return value
    if isinstance(value, list):
        return [_named(each, inner) for each in value]
    return None if value < 0 else inner.int2str(value)


def _written(row: list[Any], column: str, names: Sequence[str]) -> Any:
    """An answer as it stands in the file: a number, a mapping, or a list of mappings, one a word."""
    if column == "score":
        return row[0]
    if column == "scores":
        return [score for (score,) in row]
    if isinstance(row[0], list):
        return [_written(word, column, names) for word in row]
    return dict(zip(names, row, strict=True))


def _lines(records: Sequence[Mapping[str, Any]], suffix: str, header: bool) -> str:
    if suffix == ".jsonl":
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    if header:
        writer.writerow(records[0])
    for record in records:
        writer.writerow(
            [json.dumps(v, ensure_ascii=False) if isinstance(v, dict | list) else v for v in record.values()]
        )
    return buffer.getvalue()


def _write_parquet(path: Path, parts: Iterator[list[dict[str, Any]]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pa.Table.from_pylist(records) for records in parts]
    pq.write_table(pa.concat_tables(tables, promote_options="permissive"), path)


def stderr_line(line: str) -> None:
    """One line that is written over on a terminal; elsewhere a line each."""
    end = "\r" if sys.stderr.isatty() else "\n"
    sys.stderr.write(f"label: {line}{end}")
    sys.stderr.flush()
