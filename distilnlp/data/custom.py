"""The user's own data, whatever they were read from, brought to the package's columns."""

import logging
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, List, Value
from numpy.typing import NDArray

from distilnlp.data.arrow import BATCH_ROWS, column_values, with_label
from distilnlp.data.columns import EXAMPLE_WEIGHT, Columns
from distilnlp.data.example_weights import read_weights, with_weights
from distilnlp.data.label_sets import is_missing, labelled_rows, names_of_sets, read_zeros_and_ones
from distilnlp.data.ranked import (
    GROUP_SIZE,
    REFUSE,
    RankingColumns,
    deal,
    read_queries,
)
from distilnlp.data.read_labels import encode_labels, named_ids, read_labels
from distilnlp.data.recorded import RawAnswers, read_answers
from distilnlp.data.repeats import Repeats, overlap_note, text_hashes
from distilnlp.data.request import Request
from distilnlp.data.sentences import not_measurable
from distilnlp.data.split import hold_out
from distilnlp.data.tagged_words import check_lengths, word_counts, words_of_entities
from distilnlp.data.written_lists import holds_written_lists
from distilnlp.errors import RequestError
from distilnlp.problems import IGNORED, TEACHER_LOGITS, LabelColumn, Labels, Problem, get_problem, problem_of_columns
from distilnlp.problems.written import NumberStyle

__all__ = ["Own", "convert", "pairs_of"]

logger = logging.getLogger(__name__)

RANKING = get_problem("ranking")

# What stands in a column that says of each text whether it has one label.
_HOLDS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


FEWEST_CONTEXTS = 10  # of which some can be held out


@dataclass(frozen=True)
class Own:
    """Both splits with the columns ``text``, optional ``text_pair`` and ``label``, and what the labels mean.

    Args:
        columns: where they were found. With weights, ``train`` has the column ``example_weight``.
        notes: what is to be known of the texts, for the source: repeated ones, say.
    """

    train: Dataset
    validation: Dataset
    label_names: tuple[str, ...] | None
    problem: Problem
    columns: Columns
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    """A split as far as it was read: its texts, the labels of those rows that have one, and a teacher's answers.

    Args:
        rows: the texts; ``hashes``: of each row's.
        labels: of the rows ``labelled``, in their order; None where no row has one.
        labelled: ``(rows,)``.
        raw: the answers; None without a recorded teacher.
        words: how many words each text has, ``(rows,)``, where each word is answered for; else None.
    """

    where: str
    rows: Dataset
    hashes: NDArray[np.uint64]
    labels: Labels | None
    labelled: NDArray[np.bool_]
    raw: RawAnswers | None
    words: NDArray[np.int64] | None = None

    @property
    def complete(self) -> NDArray[np.bool_]:
        """``(rows,)``, which have all that any row has: those that a model can be measured on."""
        labelled = self.labelled if self.labels is not None else np.ones(len(self.rows), dtype=bool)
        return labelled if self.raw is None else labelled & self.raw.answered


def convert(train: tuple[Dataset, str], validation: tuple[Dataset, str] | None, request: Request) -> Own:
    """Find the columns, read labels and recorded answers, hold out a validation split if there is none.

    Args:
        train, validation: the data as read, and what to call them in an error.
        request: what the user said.

    Raises:
        RequestError: columns cannot be told, texts or labels are missing, labels cannot be learned from or differ
            between the splits, recorded answers cannot be.
    """
    dataset, where = train
    columns = request.columns(dataset.column_names, where)
    if isinstance(columns, RankingColumns):
        return _ranked(train, validation, columns, replace(request, problem=request.problem or RANKING.name))
    request.refuse_of_queries(where)
    dataset = _words_of(dataset, where, columns, request)
    split = _read(dataset, where, columns, request)
    problem, names = _meaning(split, request)
    rows = _built(split, problem, names, fill=True)
    if split.raw is not None and len(split.rows) > 1 and split.raw.has_one_answer:
        raise RequestError(f"{split.raw.where}: the teacher answers every row alike: there is nothing to learn")
    if columns.weight is not None:
        rows = with_weights(rows, read_weights(dataset, columns.weight, where))
    repeats = Repeats.of(split.hashes)
    contradictions = _contradictions(split, repeats)
    notes = [note for note in (repeats.note(), contradictions, _without_label(split)) if note]
    if validation is None:
        kept, held_out = _hold_out(split, request.seed, _groups(split, problem, repeats))
        train_rows, validation_rows = (rows.select(each, keep_in_memory=True) for each in (kept, held_out))
        if columns.weight is not None:
            validation_rows = validation_rows.remove_columns(EXAMPLE_WEIGHT)
        note = overlap_note(split.hashes[kept], split.hashes[held_out])
        if note:
            notes.append(f"{note}, because there are too few different ones: the held-out scores mean little")
        elif repeats.note():
            notes.append("equal texts are all held out or all trained on")
    else:
        other, other_where = validation
        asked = request.of_held_out(columns, other.column_names)
        same = asked.columns(other.column_names, other_where)
        other = _words_of(other, other_where, same, asked)
        held = _read(other, other_where, same, asked, Labels(np.empty(0), names, problem, _style(split)))
        if held.labels is None and held.raw is None and request.recorded is not None:
            raise RequestError(
                f"{other_where}: neither labels nor the teacher's answers: nothing to measure a model by"
            )
        train_rows = rows
        validation_rows = _built(held, problem, names, fill=False)
        if not held.complete.all():
            validation_rows = validation_rows.select(np.flatnonzero(held.complete), keep_in_memory=True)
            notes.append(f"{int((~held.complete).sum())} held-out rows that lack a label or an answer are left out")
        note = overlap_note(split.hashes, held.hashes)
        notes += [note] if note else []
    if notes:
        logger.warning("%s: %s", where, "; ".join(notes))
    return Own(train_rows, validation_rows, names, problem, columns, tuple(notes))


def _words_of(dataset: Dataset, where: str, columns: Columns, request: Request) -> Dataset:
    """Texts with entities by their place as words with tags; anything else as it is."""
    found = words_of_entities(dataset, where, columns)
    if found is not dataset and request.recorded is not None:
        raise RequestError(
            f"{where}: a teacher's answers are for words, and here are texts with entities by their place: give lists"
            " of words, each with a tag and an answer"
        )
    return found


def _groups(split: _Read, problem: Problem, repeats: Repeats) -> NDArray[np.int64]:
    """The rows that are held out together: of equal texts, or of one context where there are enough of them."""
    columns = [name for name in problem.held_out_by if name in split.rows.column_names]
    if len(columns) == len(split.rows.column_names):
        return repeats.groups
    by_context = Repeats.of(text_hashes(split.rows.select_columns(columns)))
    return by_context.groups if len(by_context.sizes) >= FEWEST_CONTEXTS else repeats.groups


def _contradictions(split: _Read, repeats: Repeats) -> str | None:
    labels = split.labels
    if labels is None or not split.labelled.all():
        return None
    return repeats.contradictions(labels.problem.contradiction_keys(labels.values))


def _style(split: _Read) -> NumberStyle | None:
    return None if split.labels is None else split.labels.style


def _without_label(split: _Read) -> str | None:
    missing = int((~split.labelled).sum())
    if split.labels is None or not missing:
        return None
    return f"{missing} of {len(split.rows)} rows have no label and learn from the teacher alone"


def _meaning(split: _Read, request: Request) -> tuple[Problem, tuple[str, ...] | None]:
    """The kind of task and the labels: those of the data, else of the recorded answers, else of the teacher."""
    if split.labels is not None:
        return split.labels.problem, split.labels.names
    if split.raw is not None:
        problem = get_problem(request.problem or split.raw.kind)
        return problem, split.raw.label_names if problem.named_labels else None
    if request.known is None:
        raise RequestError(f"{split.where}: no labels, and no teacher that would tell what they are: name the column")
    return request.known()


def _read(dataset: Dataset, where: str, columns: Columns, request: Request, train: Labels | None = None) -> _Read:
    """The parts of a split. ``train``: what the labels mean in the training split, where this is another one."""
    given = _told_by_texts(dataset, columns) if request.problem is None else get_problem(request.problem)
    given = given if train is None else train.problem
    words = None
    if given is not None and given.rows == "token":
        _check_words(dataset, where, columns, given)
        words = word_counts(dataset, where, columns.text)
    raw = None if request.recorded is None else read_answers(dataset, where, request.recorded, words)
    labelled = np.ones(len(dataset), dtype=bool)
    if request.optional:
        labelled = _labelled(dataset, columns.label)
    if words is not None and isinstance(columns.label, str):
        check_lengths(dataset, where, columns.label, np.where(labelled, words, 0))
    labels = None
    if labelled.any():
        some = dataset if labelled.all() else dataset.select(np.flatnonzero(labelled), keep_in_memory=True)
        meant = train
        if train is None and not labelled.all():  # few labels may not be all there are
            meant = _known_labels(raw, request)
        labels = _labels(some, where, columns, problem=request.problem, train=meant, names=request.label_names)
    texts = {columns.text: "text"} | ({columns.text_pair: "text_pair"} if columns.text_pair is not None else {})
    kind = labels.problem if labels is not None else given
    for name in texts:
        if kind is None or kind.rows != "token":
            _check_texts(dataset, where, name)
    rows = dataset.select_columns(list(texts)).rename_columns(texts)
    return _Read(where, rows, text_hashes(rows), labels, labelled, raw, words)


def _known_labels(raw: RawAnswers | None, request: Request) -> Labels | None:
    """What a teacher tells of the labels; None where it tells nothing."""
    if raw is not None and raw.names is not None:
        return Labels(np.empty(0), raw.names, get_problem(request.problem or raw.kind))
    if raw is None and request.known is not None:
        problem, names = request.known()
        return Labels(np.empty(0), names, problem)
    return None


def _labelled(dataset: Dataset, label: str | tuple[str, ...] | None) -> NDArray[np.bool_]:
    """``(rows,)``, whether there is a label; where each label has a column, all rows have to have all."""
    if not isinstance(label, str):
        return np.full(len(dataset), label is not None)
    declared = isinstance(dataset.features[label], ClassLabel)
    there = (not is_missing(value, declared) for value in column_values(dataset, label))
    return np.fromiter(there, dtype=bool, count=len(dataset))


def _built(split: _Read, problem: Problem, names: tuple[str, ...] | None, fill: bool) -> Dataset:
    """The data set with the package's columns.

    Args:
        fill: whether the hard label stands for an answer that the teacher has not given.
    """
    rows = split.rows
    if split.labels is not None:
        values = split.labels.values
        if not split.labelled.all():
            if problem.rows not in ("text", "token"):
                row = int(np.argmin(split.labelled)) + 1
                raise RequestError(
                    f"{split.where}: row {row} has no answers, and other rows have: fill them in or remove it"
                )
            values = np.full(len(rows), problem.no_label, dtype=values.dtype)
            values[split.labelled] = split.labels.values
            if split.words is not None:
                values[~split.labelled] = _no_tags(split.words[~split.labelled])
        rows = with_label(rows, values, split.labels.feature)
    if type(problem).check_examples is not Problem.check_examples:  # else no row need be read
        for start in range(0, len(rows), BATCH_ROWS):
            problem.check_examples(rows[start : start + BATCH_ROWS], start + 1, split.where)
    if split.raw is None:
        return rows
    logits = split.raw.logits(problem, names)
    missing = ~split.raw.answered
    if fill and missing.any():
        bare = missing & ~split.labelled
        if split.labels is None or bare.any():
            row = int(np.argmax(missing if split.labels is None else bare)) + 1
            raise RequestError(
                f"{split.where}: row {row} has neither a label nor an answer of the teacher: remove the row"
            )
        own = np.cumsum(split.labelled) - 1  # the place of each row among those with a label
        stand_ins = split.labels.values[own[missing]]
        if split.words is None:
            logits[missing] = problem.logits_of_labels(stand_ins, logits.shape[1])
        else:
            rows_of = np.repeat(np.arange(len(rows)), split.words)  # the row of each word
            filled = np.empty((len(rows_of), logits.shape[1]), np.float32)
            filled[~missing[rows_of]] = logits
            filled[missing[rows_of]] = problem.logits_of_labels(np.concatenate(stand_ins), logits.shape[1])
            logits = filled
    numbers = pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1)), logits.shape[1]).cast(
        pa.list_(pa.float32())
    )
    if split.words is None:
        return rows.add_column(TEACHER_LOGITS, numbers, feature=List(Value("float32")))
    counts = np.where(missing & (not fill), 0, split.words)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    column = pa.ListArray.from_arrays(pa.array(ends), numbers)
    return rows.add_column(TEACHER_LOGITS, column, feature=List(List(Value("float32"))))


def _no_tags(words: NDArray[np.int64]) -> NDArray[Any]:
    """The labels of rows of so many words, of which none has a tag."""
    values = np.empty(len(words), dtype=object)
    values[:] = [(IGNORED,) * count for count in words.tolist()]
    return values


def _hold_out(split: _Read, seed: int, groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to train on and those to measure on, which are complete; equal texts are on one side."""
    complete = np.flatnonzero(split.complete)
    if split.labels is None:
        keys = np.zeros(len(complete), dtype=np.int64)
    else:
        keys = split.labels.problem.strata(split.labels.values)[(np.cumsum(split.labelled) - 1)[complete]]
    if len(complete) == len(split.rows):
        return hold_out(keys, seed, split.where, groups)
    own = np.unique(groups[complete], return_inverse=True)[1]
    held_out = complete[hold_out(keys, seed, split.where, own)[1]]
    return np.flatnonzero(~np.isin(groups, groups[held_out])), held_out


def pairs_of(dataset: Dataset, columns: Columns, where: str, request: Request) -> Dataset:
    """Pairs with a score, with the columns ``text``, ``text_pair`` (of pairs) and ``label``.

    Raises:
        RequestError: single texts, no column of scores, a score that is no number, a text that is missing.
    """
    if columns.text_pair is None:
        raise not_measurable(where)
    if columns.label is None:
        raise not_measurable(where, f"pairs ({columns.text}, {columns.text_pair}) without a score")
    request = replace(request, optional=False)
    split = _read(dataset, where, columns, request)
    return _built(split, *_meaning(split, request), fill=False)


def _ranked(
    train: tuple[Dataset, str], validation: tuple[Dataset, str] | None, columns: RankingColumns, request: Request
) -> Own:
    """Both splits of queries with their texts, a row a query."""
    lost = request.without_relevant or REFUSE
    recorded = request.recorded
    if recorded is not None and (recorded.confidence is not None or recorded.missing == "label"):
        raise RequestError(f"{train[1]}: a teacher's scores of texts have no confidence, and no label stands for them")
    scores = request.answers_in(train[0].column_names, train[1])
    rows, note = read_queries(*train, columns, lost, scores, request.optional)
    notes = [note] if note else []
    labelled = np.flatnonzero(labelled_rows(rows))
    if 0 < len(labelled) < len(rows):
        notes.append(
            f"{len(rows) - len(labelled)} of {len(rows)} queries have no relevance and learn from the teacher alone"
        )
    if validation is None:
        measured = labelled if len(labelled) else np.arange(len(rows))
        held_out = measured[hold_out(np.zeros(len(measured), dtype=np.int64), request.seed, train[1])[1]]
        kept = np.setdiff1d(np.arange(len(rows)), held_out)
        rows, others = (rows.select(each, keep_in_memory=True) for each in (kept, held_out))
    else:
        other, where = validation
        same = request.of_held_out(columns, other.column_names).columns(other.column_names, where)
        has = recorded is not None and recorded.are_in(other.column_names)
        scores = request.answers_in(other.column_names, where) if has else ()
        others, note = read_queries(other, where, cast("RankingColumns", same), lost, scores, request.optional)
        notes += [f"of the held-out data {note}"] if note else []
        complete = labelled_rows(others)
        if complete.any() and not complete.all():
            others = others.select(np.flatnonzero(complete), keep_in_memory=True)
            notes.append(f"{int((~complete).sum())} held-out queries without relevance are left out")
        seen = set(rows["text"])
        again = sum(query in seen for query in others["text"])
        notes += [f"{again} of the {len(others)} held-out queries are trained on too"] if again else []
    rows, note = deal(rows, GROUP_SIZE if request.group_size is None else request.group_size)
    notes += [note] if note else []
    if notes:
        logger.warning("%s: %s", train[1], "; ".join(notes))
    return Own(rows, others, None, get_problem(str(request.problem)), columns, tuple(notes))


def _labels(
    dataset: Dataset,
    where: str,
    columns: Columns,
    *,
    problem: str | None = None,
    train: Labels | None = None,
    names: tuple[str, ...] | None = None,
) -> Labels:
    if not len(dataset):
        raise RequestError(f"{where}: no rows: a data set with at least one example is needed")
    given = _told_by_texts(dataset, columns) if problem is None else get_problem(problem)
    kind = train.problem if train else given
    if columns.label is None:
        raise RequestError(f"{where}: no column of labels is known: name it with label= (--label)")
    if kind is None:
        _refuse_written_words(dataset, where, columns)
    if not isinstance(columns.label, str):
        return encode_labels(_one_column_each(dataset, where, columns.label), given, train)
    feature = dataset.features[columns.label]
    where = f"{where}, column '{columns.label}'"
    if names_of_sets(feature) is None and (kind is None or kind.several_labels):
        hot = read_zeros_and_ones(dataset, columns.label, where, train)
        if hot is not None:
            return encode_labels(hot, kind, train)
    values = column_values(dataset, columns.label)
    if names is not None:
        values, feature = named_ids(values, feature, names, where)
    return read_labels(values, feature, where, problem=given, train=train)


def _told_by_texts(dataset: Dataset, columns: Columns) -> Problem | None:
    """The kind of task whose texts are of this type, whatever the labels are; None where the labels tell it."""
    return problem_of_columns({"text": dataset.features[columns.text]})


def _check_words(dataset: Dataset, where: str, columns: Columns, kind: Problem) -> None:
    """Whether texts are lists of words with a list of tags each."""
    if _told_by_texts(dataset, columns) is None:
        raise RequestError(
            f"{where}: column '{columns.text}' holds texts, and {kind.name} needs a list of words in each row, or"
            " entities with their places in the text (start, end, label)"
        )
    if columns.label is not None and not isinstance(columns.label, str):
        raise RequestError(f"{where}: {kind.name} needs one column with a list of tags in each row: name it alone")


def _refuse_written_words(dataset: Dataset, where: str, columns: Columns) -> None:
    """Words with tags that a csv holds as text would be read as texts with several labels each."""
    if not isinstance(columns.label, str):
        return
    if holds_written_lists(dataset, columns.text) and holds_written_lists(dataset, columns.label, of_texts=False):
        raise RequestError(
            f"{where}: '{columns.text}' and '{columns.label}' hold lists that are written as text: words with tags are"
            " read from json, jsonl, parquet and conll files; several labels of such a text need"
            " problem_type=multi_label_classification (--problem-type)"
        )


def _one_column_each(dataset: Dataset, where: str, names: tuple[str, ...]) -> LabelColumn:
    """The labels of each text, of which each has a column of zeros and ones."""
    hot = np.stack([_zeros_and_ones(dataset, where, name) for name in names], axis=1)  # (rows, labels)
    _, first, codes = np.unique(np.packbits(hot, axis=1), axis=0, return_index=True, return_inverse=True)
    distinct = [[name for name, holds in zip(names, hot[row], strict=True) if holds] for row in first]
    shown = ", ".join(names) if len(names) < 6 else f"{names[0]} to {names[-1]}"
    return LabelColumn(distinct, codes.reshape(-1).astype(np.int32), names, f"{where}, columns {shown}")


def _zeros_and_ones(dataset: Dataset, where: str, column: str) -> NDArray[np.bool_]:
    found: list[bool] = []
    for value in column_values(dataset, column):
        holds = _HOLDS.get(str(value).strip().lower())
        if holds is None:
            raise RequestError(
                f"{where}, column '{column}': row {len(found) + 1} has {value!r:.60}: 0 or 1 is needed where each"
                " label has a column"
            )
        found.append(holds)
    return np.array(found)


def _check_texts(dataset: Dataset, where: str, column: str) -> None:
    feature = dataset.features[column]
    if not isinstance(feature, Value) or feature.dtype not in ("string", "large_string"):
        raise RequestError(f"{where}: column '{column}' holds {feature}, not texts: name another column")
    texts = enumerate(column_values(dataset, column), start=1)
    empty = [row for row, text in texts if text is None or not text.strip()]
    if empty:
        raise RequestError(
            f"{where}: {len(empty)} of {len(dataset)} rows have no text in column '{column}', the first is row"
            f" {empty[0]}: fill them in or remove the rows"
        )
