"""Texts to token ids. Importing this loads neither transformers nor datasets."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from distilnlp.cut_texts import CutTexts
from distilnlp.errors import RequestError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features, IterableDataset
    from transformers import BatchEncoding, PreTrainedTokenizerBase

    AnyDataset = TypeVar("AnyDataset", Dataset, IterableDataset)

__all__ = ["check_tokenizer", "first_rows", "tokenize"]

logger = logging.getLogger(__name__)

DEFAULT_LENGTH = 512  # where neither the caller nor the tokenizer sets a limit
FIRST_ROWS = 100  # rows that are looked at for unknown tokens, and all that is known of a stream
UNKNOWN_SHARE = 0.5
TRUNCATED_SHARE = 0.1  # a warning above this
LONGEST = 50_000  # characters of the longest text that are tokenised to say how long it is
BAR_ROWS = 20_000  # a progress bar only where there is something to wait for


def tokenize(
    dataset: AnyDataset, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None, words: bool = False
) -> AnyDataset:
    """Tokenise the columns ``text`` and, where there is one, ``text_pair``.

    Truncation: what is over ``max_length`` (special tokens included) is cut off at the end of the text; of a pair,
    token by token from whichever text is the longer at that moment (``longest_first``). No padding: the collator does
    that, batch by batch.

    The result is a temporary file of its own, memory-mapped and removed with it. No file is ever looked up, so that
    one made under another tokenizer or ``max_length`` cannot come back; tokenising takes seconds where training takes
    minutes. A stream (``IterableDataset``) is tokenised as it is read; its first 100 rows stand for all in the checks.

    Args:
        dataset: columns ``text``, optional ``text_pair``, optional ``label``; others are dropped. A ``Dataset``, or an
            ``IterableDataset``.
        tokenizer: the one of the model that will read the tokens.
        max_length: tokens, 1 or more beyond the special ones; None takes the tokenizer's ``model_max_length``, 512 at
            most.
        words: whether there is a column ``words`` too.

    Shapes:
        one row: ``input_ids``, ``attention_mask`` and, where the tokenizer gives them, ``token_type_ids``:
        ``(length,)``; ``words``: ``(length,)``, the number of the word that a token is a piece of, -1 for a special
        token; those of ``text_pair`` are counted on from those of ``text``; ``labels`` as ``label`` was, or
        ``label_ids`` where it was a list of ``ClassLabel``; ``length``:
        number of tokens.

    Raises:
        RequestError: a column is missing; ``words`` of a tokenizer that does not know them; ``max_length`` leaves no
            room for text or is more than the tokenizer's ``model_max_length``; every row of a labelled data set is
            truncated (without labels, as for predictions on a long text, it is a warning); more than half of the
            tokens of the first 100 rows are unknown.
    """
    first = first_rows(dataset)
    if words and not tokenizer.is_fast:
        raise RequestError(f"{type(tokenizer).__name__} does not tell which word a token is of: use a fast tokenizer")
    encoder = _encoder(first, tokenizer, max_length)
    encoder.words = words
    features = _features(first, tokenizer, words)
    if not _is_sized(dataset):
        _check_unknown(tokenizer, encoder(first[:])["input_ids"])
        _report_truncated(encoder, len(first))
        return dataset.map(encoder, batched=True, remove_columns=first.column_names, features=features)
    from distilnlp.data.arrow import write_dataset

    tokenised = write_dataset(_encoded(encoder, dataset, features))
    _report_truncated(encoder, len(dataset))
    return tokenised


def check_tokenizer(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> None:
    """Raise what `tokenize` would, as far as the first 100 rows tell and truncation apart."""
    first = first_rows(dataset)
    _check_unknown(tokenizer, _encoder(first, tokenizer, max_length)(first[:])["input_ids"])


def _encoder(first: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> _Encoder:
    _check_columns(first.column_names)
    pair = "text_pair" in first.column_names
    limit = _check_length(tokenizer, max_length, pair=pair)
    _check_label(first)
    if not len(first):
        raise RequestError("the data set to tokenise has no rows: at least one is needed")
    return _Encoder(
        CutTexts(tokenizer, limit), pair=pair, labelled="label" in first.column_names, labels=_labels_column(first)
    )


def _labels_column(dataset: Dataset) -> str:
    """``label_ids`` for the ids of several labels, of which the collator makes zeros and ones."""
    from distilnlp.data.label_sets import names_of_sets

    return "labels" if names_of_sets(dataset.features.get("label")) is None else "label_ids"


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
    from datasets.utils import tqdm

    from distilnlp.data.arrow import BATCH_ROWS

    hidden = len(dataset) < BAR_ROWS
    for start in tqdm(range(0, len(dataset), BATCH_ROWS), desc="tokenising", unit_scale=BATCH_ROWS, disable=hidden):
        columns = encoder(dataset[start : start + BATCH_ROWS])
        if start == 0:
            _check_unknown(encoder.texts.tokenizer, columns["input_ids"][:FIRST_ROWS])
        yield pa.table(columns, schema=features.arrow_schema)


@dataclass
class _Encoder:
    """Tokenises batches of rows and counts those that did not fit."""

    texts: CutTexts
    pair: bool
    labelled: bool
    labels: str  # the column that they get
    words: bool = False
    cut: int = 0  # rows that were truncated so far
    longest: tuple[str, ...] = ()  # the texts of the one with the most characters

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        texts = rows["text"]
        pairs = rows["text_pair"] if self.pair else None
        encoded = self.texts.encode(texts, pairs)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        for row, length in enumerate(lengths):
            whole = (texts[row],) if pairs is None else (texts[row], pairs[row])
            if length >= self.texts.limit and self._is_cut(encoded, row, whole):
                self.cut += 1
                self.longest = max(self.longest, whole, key=_characters)
        names = [name for name in self.texts.tokenizer.model_input_names if name in encoded]
        columns = {name: encoded[name] for name in {"input_ids": 0, "attention_mask": 0} | dict.fromkeys(names)}
        if self.words:
            columns["words"] = [_words(encoded.word_ids(i), encoded.sequence_ids(i)) for i in range(len(texts))]
        if self.labelled:
            columns[self.labels] = rows["label"]
        return columns | {"length": lengths}

    def _is_cut(self, encoded: BatchEncoding, row: int, whole: tuple[str, ...]) -> bool:
        if encoded.encodings is None:  # a tokenizer in Python does not tell
            return self.tokens(whole) > self.texts.limit
        return bool(encoded.encodings[row].overflowing)

    def tokens(self, whole: tuple[str, ...]) -> int:
        """How many without truncation; ``verbose=False`` keeps the tokenizer's own length warning out."""
        return len(self.texts.tokenizer(*whole, truncation=False, verbose=False)["input_ids"])


def _characters(texts: tuple[str, ...]) -> int:
    return sum(map(len, texts))


def _words(of_text: Sequence[int | None], texts: Sequence[int | None]) -> list[int]:
    """The word of each token over both texts of a pair, -1 for none."""
    first = [word for word, text in zip(of_text, texts, strict=True) if word is not None and text == 0]
    counted = max(first, default=-1) + 1
    return [
        -1 if word is None else word + (counted if text == 1 else 0) for word, text in zip(of_text, texts, strict=True)
    ]


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


def _check_unknown(tokenizer: PreTrainedTokenizerBase, ids: Sequence[Sequence[int]]) -> None:
    """A wrong vocabulary makes every word unknown, and a model that sees one token in all texts learns nothing."""
    if tokenizer.unk_token_id is None:
        return
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    tokens = [token for row in ids for token in row if token not in special]
    unknown = tokens.count(tokenizer.unk_token_id)
    if unknown > UNKNOWN_SHARE * len(tokens):
        raise RequestError(
            f"{unknown} of the {len(tokens)} tokens of the first {len(ids)} rows are {tokenizer.unk_token}: the"
            f" tokenizer ({len(tokenizer)} entries) does not know the language or lost its vocabulary; use the model's"
        )


def _features(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, words: bool) -> Features:
    """Small integers: int64 would take four times the space."""
    from datasets import Features, List, Value

    names = {"input_ids": 0, "attention_mask": 0} | dict.fromkeys(tokenizer.model_input_names)
    columns = {name: List(Value("int32" if name == "input_ids" else "int8")) for name in names}
    if words:
        columns["words"] = List(Value("int16"))
    if "label" in dataset.column_names:
        columns[_labels_column(dataset)] = dataset.features["label"]
    return Features(columns | {"length": Value("int32")})


def _report_truncated(encoder: _Encoder, rows: int) -> None:
    cut = encoder.cut
    if not cut:
        return
    limit = encoder.texts.limit
    wrong, many = cut == rows and encoder.labelled, cut > TRUNCATED_SHARE * rows
    if not wrong and not many:
        return
    part = tuple(text[:LONGEST] for text in encoder.longest)
    more = "more than " if part != encoder.longest else ""
    longest = f"the longest has {more}{encoder.tokens(part)} tokens"
    said = f"{cut} of {rows} rows are longer than max_length={limit} ({longest})"
    if wrong:
        raise RequestError(f"{said}, so that every row would be truncated: give a larger max_length or shorter texts")
    logger.warning("%s and lose their end: a larger max_length keeps it", said)
