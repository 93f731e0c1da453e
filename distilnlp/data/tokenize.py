"""Texts to token ids. Importing this loads neither transformers nor datasets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import xxhash

from distilnlp.data.columns import EXAMPLE_WEIGHT
from distilnlp.data.nested import nested
from distilnlp.data.teacher_inputs import own_columns
from distilnlp.errors import RequestError
from distilnlp.problems import ALIGNMENT, TEACHER_ALIGNMENT, TEACHER_LOGITS, Problem, get_problem, problem_of_columns
from distilnlp.problems.reading import Held, Reader
from distilnlp.progress import doing

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features, IterableDataset
    from transformers import PreTrainedTokenizerBase

    AnyDataset = TypeVar("AnyDataset", Dataset, IterableDataset)

__all__ = ["check_tokenizer", "digest_of", "first_rows", "keeping_tokens", "reader_for", "tokenize"]

logger = logging.getLogger(__name__)

PLAIN = "single_label_classification"  # how texts are read whose kind of task nobody tells
DEFAULT_LENGTH = 512  # where neither the caller nor the tokenizer sets a limit
FIRST_ROWS = 100  # rows that are looked at for unknown tokens, and all that is known of a stream
UNKNOWN_SHARE = 0.5
TRUNCATED_SHARE = 0.1  # a warning above this
LONGEST = 50_000  # characters of the longest text that are tokenised to say how long it is

# What tokens depend on beside what a tokenizer's own file says
READ_WITH = ("model_input_names", "model_max_length", "truncation_side")

_kept: ContextVar[dict[tuple[Any, ...], Dataset] | None] = ContextVar("_kept", default=None)


@contextmanager
def keeping_tokens() -> Iterator[None]:
    """While it is entered, the same rows are tokenised in the same way once, for several trainings of one process.

    What `tokenize` made is known by the rows, by all that its arguments say, and by all that the tokenizer does. The
    rows of a stream are not kept, nor those for which a teacher or a tokenizer that Python code runs makes tokens.
    """
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def tokenize(
    dataset: AnyDataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    words: bool = False,
    problem: Problem | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    held_out: bool = False,
    teacher: Reader | None = None,
) -> AnyDataset:
    """Tokenise the columns ``text`` and, where there is one, ``text_pair``, as the kind of task reads them.

    Truncation, of kinds with one answer a text: what is over ``max_length`` (special tokens included) is cut off at
    the end of the text; of a pair, token by token from whichever text is the longer at that moment
    (``longest_first``). No padding: the collator does that, batch by batch.

    The result is a temporary file of its own, memory-mapped and removed with it. No file is ever looked up, so that
    one made under another tokenizer or ``max_length`` cannot come back; tokenising takes seconds where training takes
    minutes. For many short trainings on the same rows there is `keeping_tokens`. A stream (``IterableDataset``) is
    tokenised as it is read; its first 100 rows stand for all in the checks.

    Args:
        dataset: columns ``text``, optional ``text_pair``, ``label``, ``example_weight`` and ``teacher_logits``
            (recorded answers); others are dropped. A ``Dataset``, or an ``IterableDataset``.
        tokenizer: the one of the model that will read the tokens.
        max_length: tokens, 1 or more beyond the special ones; None takes the tokenizer's ``model_max_length``, 512 at
            most.
        words: whether there is a column ``words`` too.
        problem: the kind of task; default: the one that the columns are told to be of.
        settings: how texts are read (see `distilnlp.models.reading`).
        held_out: whether a model is measured on them; only some kinds then read them in another way than a training.
        teacher: reads what the teacher of these texts reads, where that is other tokens than the student's: the
            column ``teacher_text``, or without one the texts of the student's inputs. The rows then have its inputs
            too, as ``teacher_input_ids`` and so on, and of a reader that `keeps_tokens` ``alignment`` and
            ``teacher_alignment`` (see `distilnlp.data.alignment`).

    Shapes:
        one row: ``input_ids``, ``attention_mask`` and, where the tokenizer gives them, ``token_type_ids``:
        ``(length,)``; ``words``: ``(length,)``, the number of the word that a token is a piece of, -1 for a special
        token; those of ``text_pair`` are counted on from those of ``text``; ``labels`` as ``label`` was, or
        ``label_ids`` where it was a list of ``ClassLabel``; ``length``: number of tokens. Of a kind that answers by
        token, ``labels`` ``(length,)``, -100 for a token without a label, and ``label_mask`` ``(length,)``, 1 for a
        token that is answered for, of which each has a list in ``teacher_logits``; a long text becomes several rows,
        its windows. Of a kind with several texts a row (`Problem.rows`), a list of these for each text, ``labels``
        ``(texts,)``, and the longest ``length``.

    Raises:
        RequestError: a column is missing; ``words`` of a tokenizer that does not know them; ``max_length`` leaves no
            room for text or is more than the tokenizer's ``model_max_length``; every row of a labelled data set is
            truncated (without labels, as for predictions on a long text, it is a warning); more than half of the
            tokens of the first 100 rows are unknown; answers of which no window holds one whole.
    """
    kept = _kept.get()
    if kept is None or not _is_sized(dataset) or teacher is not None or not tokenizer.is_fast:
        return _tokenized(dataset, tokenizer, max_length, words, problem, settings, held_out, teacher)
    said = (max_length, words, None if problem is None else problem.name, repr(settings), held_out)
    key = _key(dataset, tokenizer, said)
    if key not in kept:
        kept[key] = _tokenized(dataset, tokenizer, max_length, words, problem, settings, held_out)
    return kept[key]


def _key(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, said: tuple[Any, ...]) -> tuple[Any, ...]:
    own = (repr(getattr(tokenizer, name)) for name in READ_WITH)
    return dataset._fingerprint, type(tokenizer), digest_of(tokenizer), *own, *said


def digest_of(tokenizer: PreTrainedTokenizerBase) -> object:
    """Equal for tokenizers that cut alike; one that Python code runs is equal to itself alone."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return id(tokenizer)
    said = json.loads(backend.to_str()) | {"truncation": None, "padding": None}  # of the last call, which changes them
    return xxhash.xxh3_128_hexdigest(json.dumps(said).encode())


def _tokenized(
    dataset: AnyDataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    words: bool,
    problem: Problem | None,
    settings: Mapping[str, Any],
    held_out: bool,
    teacher: Reader | None = None,
) -> AnyDataset:
    first = first_rows(dataset)
    if words and not tokenizer.is_fast:
        raise RequestError(f"{type(tokenizer).__name__} does not tell which word a token is of: use a fast tokenizer")
    encoder = _encoder(first, tokenizer, max_length, problem, settings, held_out)
    encoder.words, encoder.teacher = words, teacher
    encoder.reader.keeps_tokens = teacher is not None
    features = _features(encoder(first[:1]), first, encoder)
    encoder.cut, encoder.read, encoder.longest, encoder.held = 0, 0, (), Held()
    if not _is_sized(dataset):
        _check_all_unknown(encoder, encoder(first[:]))
        _report_truncated(encoder)
        return dataset.map(encoder, batched=True, remove_columns=first.column_names, features=features)
    from distilnlp.data.arrow import write_dataset

    tokenised = write_dataset(_encoded(encoder, dataset, features))
    if not len(tokenised):
        raise RequestError(f"none of the {len(dataset)} texts has a token: give texts with words in them")
    _report_truncated(encoder)
    if not held_out:
        _report_lost_answers(encoder)
    return tokenised


def check_tokenizer(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    problem: Problem | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Raise what `tokenize` would, as far as the first 100 rows tell and truncation apart."""
    first = first_rows(dataset)
    _check_unknown(tokenizer, _encoder(first, tokenizer, max_length, problem, settings)(first[:])["input_ids"])


def reader_for(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    problem: Problem | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    held_out: bool = False,
) -> Reader:
    """What `tokenize` reads a data set's texts with. Args, Raises: as there."""
    return _encoder(first_rows(dataset), tokenizer, max_length, problem, settings, held_out).reader


def _encoder(
    first: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    problem: Problem | None,
    settings: Mapping[str, Any],
    held_out: bool = False,
) -> _Encoder:
    _check_columns(first.column_names)
    limit = _check_length(tokenizer, max_length, pair="text_pair" in first.column_names)
    _check_label(first)
    if not len(first):
        raise RequestError("the data set to tokenise has no rows: at least one is needed")
    kind = problem or problem_of_columns(first.features) or get_problem(PLAIN)
    labelled = "label" in first.column_names and not kind.labels_itself
    labels = _labels_column(first, kind) if labelled else None
    reader = kind.reader(tokenizer, limit, settings)
    return _Encoder(reader.measuring() if held_out else reader.training(), labels, by_list=kind.rows == "list")


def _labels_column(dataset: Dataset, problem: Problem) -> str:
    """``label_ids`` for the ids of several labels, of which the collator makes zeros and ones."""
    from distilnlp.data.label_sets import names_of_sets

    sets = problem.several_labels and names_of_sets(dataset.features["label"]) is not None
    return "label_ids" if sets else "labels"


def first_rows(dataset: Dataset | IterableDataset) -> Dataset:
    """The first 100 rows, or all when there are fewer; of a stream in memory, with the types that it declares.

    Raises:
        RequestError: a stream without rows, whose columns nobody knows.
    """
    if _is_sized(dataset):
        return dataset.select(range(min(FIRST_ROWS, len(dataset))))
    from datasets import Dataset

    rows = list(dataset.take(FIRST_ROWS))
    if not rows:
        raise RequestError("the data set is a stream without rows: at least one is needed")
    return Dataset.from_list(rows, features=dataset.features)


def _is_sized(dataset: Dataset | IterableDataset) -> TypeGuard[Dataset]:
    return hasattr(dataset, "__len__")


def _encoded(encoder: _Encoder, dataset: Dataset, features: Features) -> Iterator[pa.Table]:
    import pyarrow as pa

    from distilnlp.data.arrow import BATCH_ROWS

    with doing(f"tokenising {len(dataset)} examples", len(dataset)) as advance:
        for start in range(0, len(dataset), BATCH_ROWS):
            columns = encoder(dataset[start : start + BATCH_ROWS])
            if start == 0:
                _check_all_unknown(encoder, columns)
            yield pa.table(columns, schema=features.arrow_schema)
            advance(BATCH_ROWS)


@dataclass
class _Encoder:
    """Reads batches of rows and counts those that did not fit."""

    reader: Reader
    labels: str | None  # the column that the labels get where the reader leaves them as they are; None without any
    by_list: bool = False  # the inputs of an example stay in one row
    words: bool = False
    teacher: Reader | None = None  # of what the teacher reads, where it reads other tokens
    cut: int = 0  # rows that were truncated so far, or texts of them
    read: int = 0  # rows so far, or texts
    longest: tuple[str, ...] = ()  # the texts of the one with the most characters
    held: Held = field(default_factory=Held)  # of the rows so far

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = self.reader.encode(rows, self.words)
        self.read += len(encoded.example)
        self.held = Held(*map(sum, zip(self.held, encoded.held, strict=True)))
        for row in encoded.cut:
            self.cut += 1
            whole = tuple(_longest(rows[name][row]) for name in ("text", "text_pair") if name in rows)
            whole = (max(whole, key=len),) if self.reader.apart else whole
            self.longest = max(self.longest, whole, key=_characters)
        columns = dict(encoded.columns)
        if self.teacher is not None:
            columns |= own_columns(self.teacher, rows, encoded)
        if self.by_list:
            return self._nested(columns, encoded.example, rows)
        if self.labels is not None and self.labels not in columns:
            columns[self.labels] = [rows["label"][row] for row in encoded.example]
        if EXAMPLE_WEIGHT in rows:
            columns[EXAMPLE_WEIGHT] = [rows[EXAMPLE_WEIGHT][row] for row in encoded.example]
        if TEACHER_LOGITS in rows and TEACHER_LOGITS not in columns:
            columns[TEACHER_LOGITS] = [rows[TEACHER_LOGITS][row] for row in encoded.example]
        return columns | {"length": [len(ids) for ids in columns["input_ids"]]}

    def _nested(
        self, columns: dict[str, list[Any]], example: Sequence[int], rows: dict[str, list[Any]]
    ) -> dict[str, list[Any]]:
        """A row for each example, with a list for each of its inputs; ``length``: of the longest."""
        if EXAMPLE_WEIGHT in rows:
            raise RequestError(f"in a ranking every query counts alike: leave out the column {EXAMPLE_WEIGHT}")
        lists = nested(columns, example)
        if self.labels is not None:
            lists[self.labels] = rows["label"]
        if TEACHER_LOGITS in rows:
            lists[TEACHER_LOGITS] = rows[TEACHER_LOGITS]
        return lists | {"length": [max(map(len, inputs)) for inputs in lists["input_ids"]]}

    def tokens(self, whole: tuple[str, ...]) -> int:
        """How many without truncation; ``verbose=False`` keeps the tokenizer's own length warning out."""
        return len(self.reader.tokenizer(*whole, truncation=False, verbose=False)["input_ids"])


def _longest(part: str | list[str]) -> str:
    return part if isinstance(part, str) else max(part, key=len)


def _characters(texts: tuple[str, ...]) -> int:
    return sum(map(len, texts))


def _check_columns(columns: Sequence[str]) -> None:
    if "text" not in columns:
        raise RequestError(
            f"the data set has no column 'text' to tokenise: its columns are {', '.join(columns)};"
            " load_task renames them, or use dataset.rename_column"
        )
    if "labels" in columns and "label" not in columns:
        raise RequestError("the data set has a column 'labels' where 'label' is needed: rename it, or remove it")


def _check_label(dataset: Dataset) -> None:
    feature = dataset.features.get("label")
    if getattr(feature, "dtype", None) in ("string", "large_string"):
        raise RequestError(
            "the column 'label' holds names where class ids are needed: load_task turns them into ids, or use"
            " dataset.cast_column('label', ClassLabel(names=[...]))"
        )


def _check_length(tokenizer: PreTrainedTokenizerBase, max_length: int | None, *, pair: bool) -> int:
    limit = int(min(tokenizer.model_max_length, DEFAULT_LENGTH)) if max_length is None else max_length
    special = tokenizer.num_special_tokens_to_add(pair=pair)
    if limit <= special:
        raise RequestError(
            f"max_length is {limit}: the tokenizer adds {special} special tokens, so at least {special + 1} are"
            " needed",
            key=["max_length"],
        )
    if limit > tokenizer.model_max_length:
        raise RequestError(
            f"max_length is {limit}, but the tokenizer's model takes {tokenizer.model_max_length} tokens at most:"
            f" give max_length={tokenizer.model_max_length} or less",
            key=["max_length"],
        )
    return limit


def _check_all_unknown(encoder: _Encoder, columns: Mapping[str, Sequence[Any]]) -> None:
    _check_unknown(encoder.reader.tokenizer, columns["input_ids"][:FIRST_ROWS])
    if encoder.teacher is not None:
        _check_unknown(encoder.teacher.tokenizer, columns["teacher_input_ids"][:FIRST_ROWS], "the teacher's")


def _check_unknown(tokenizer: PreTrainedTokenizerBase, ids: Sequence[Sequence[int]], whose: str = "the") -> None:
    """A wrong vocabulary makes every word unknown, and a model that sees one token in all texts learns nothing."""
    if tokenizer.unk_token_id is None:
        return
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    inputs = [row for each in ids for row in (each if each and isinstance(each[0], list) else [each])]
    tokens = [token for row in inputs for token in row if token not in special]
    unknown = tokens.count(tokenizer.unk_token_id)
    if unknown > UNKNOWN_SHARE * len(tokens):
        raise RequestError(
            f"{unknown} of the {len(tokens)} tokens of the first {len(ids)} rows are {tokenizer.unk_token}:"
            f" {whose} tokenizer ({len(tokenizer)} entries) does not know the language or lost its vocabulary; use the"
            " model's"
        )


def _features(example: dict[str, list[Any]], dataset: Dataset, encoder: _Encoder) -> Features:
    """Small integers: int64 would take four times the space."""
    from datasets import Features, List, Value

    types = {"input_ids": "int32", "teacher_input_ids": "int32", "labels": "int32"}
    types |= dict.fromkeys(("words", ALIGNMENT, TEACHER_ALIGNMENT), "int16")
    labels = encoder.labels
    plain = ("length", EXAMPLE_WEIGHT, TEACHER_LOGITS, labels)
    kinds = {name: List(Value(types.get(name, "int8"))) for name in example if name not in plain}
    columns = {name: List(kind) if encoder.by_list else kind for name, kind in kinds.items()}
    if labels is not None:
        columns[labels] = encoder.reader.labels_feature(dataset.features["label"])
    for name in (EXAMPLE_WEIGHT, TEACHER_LOGITS):
        if name in dataset.column_names:
            columns[name] = dataset.features[name]
    return Features(columns | {"length": Value("int32")})


def _report_truncated(encoder: _Encoder) -> None:
    cut, rows = encoder.cut, encoder.read
    if not cut:
        return
    limit = encoder.reader.limit
    wrong, many = cut == rows and encoder.labels is not None, cut > TRUNCATED_SHARE * rows
    if not wrong and not many:
        return
    part = tuple(text[:LONGEST] for text in encoder.longest)
    more = "more than " if part != encoder.longest else ""
    longest = f"the longest has {more}{encoder.tokens(part)} tokens"
    what = "texts are longer than max_length" if encoder.by_list else "rows are longer than max_length"
    said = f"{cut} of {rows} {what}={limit} ({longest})"
    if wrong:
        raise RequestError(f"{said}, so that every row would be truncated: give a larger max_length or shorter texts")
    logger.warning("%s and lose their end: a larger max_length keeps it", said)


def _report_lost_answers(encoder: _Encoder) -> None:
    """Answers that windows cut teach that there is none; those that are too long are never given."""
    (answered, lost, too_long), limit = encoder.held, encoder.reader.limit
    if answered and lost == answered:
        raise RequestError(
            f"none of the {answered} answers stands whole in a window of max_length={limit} tokens, so that none can"
            " be learned: give a larger max_length, or a larger stride",
            key=["max_length"],
        )
    if lost:
        logger.warning(
            "%d of %d answers stand whole in no window of max_length=%d tokens and are learned as none: a larger"
            " max_length, or a larger stride, keeps them",
            *(lost, answered, limit),
        )
    if too_long:
        logger.warning(
            "%d of %d answers have more tokens than longest_answer, so that no model gives them: a larger one allows"
            " them",
            *(too_long, answered),
        )
