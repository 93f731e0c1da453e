"""How examples become the inputs of a model, and its logits the rows of answers of each example again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from distilnlp.cut_texts import CutTexts
from distilnlp.errors import RequestError, unknown

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = [
    "READING_FIELD",
    "Encoded",
    "Held",
    "Joined",
    "Places",
    "Reader",
    "Spans",
    "TextReader",
    "WindowReader",
    "flat_offsets",
    "input_columns",
    "text_reader",
    "word_numbers",
]

# The field of a model's config that says how it reads texts, where its kind of task leaves that open.
READING_FIELD = "distilnlp_reading"


Logits = NDArray[np.float32]
Spans = list[tuple[int, int]]


class Places(Protocol):
    """The tokens of one input, as the tokenizers library has them.

    Attributes:
        offsets: where each begins and ends in its text, in characters.
        sequence_ids: of each, which text it is of, 0 or 1; None for a special token.
    """

    @property
    def offsets(self) -> Sequence[tuple[int, int]]: ...

    @property
    def sequence_ids(self) -> Sequence[int | None]: ...


class Held(NamedTuple):
    """Whether windows hold the answers of some examples, so that they can be learned.

    Args:
        answered: how many examples have an answer.
        lost: how many of these have none that stands in a window whole: they learn that there is none.
        too_long: how many have one of more tokens than an answer may have, which is learned and never given.
    """

    answered: int = 0
    lost: int = 0
    too_long: int = 0


@dataclass(frozen=True)
class Encoded:
    """The inputs that a few examples become, of which a long one has several: its windows.

    Args:
        columns: for each input column its value in each input: ``input_ids``, ``attention_mask``, ...; whatever else
            the kind of task needs in a batch, such as ``labels`` and ``label_mask`` by token.
        example: of each input, the number of its example.
        cut: the numbers of the examples that lost their end; of one with several texts, once for each that did.
        taken: of each input of a head by token, the tokens that have a row of logits, and which row of the example;
            empty for a kind with one row an example.
        spans: of each example with a row for each word, where each word stands in the text, in characters:
            ``(words, 2)``.
        labels: of each example those of its rows of logits, ``(rows,)``, where the texts themselves tell them; empty
            where the data do.
        held: of a kind whose answers stand in the texts, whether the windows hold those of the labels.
        texts: of each input the one or two texts that it was made of, each whole; by readers of texts and of words.
        tokens: of each input its tokens and where they stand in these texts, where the reader `keeps_tokens` and its
            tokenizer tells.
    """

    columns: dict[str, list[Any]]
    example: list[int]
    cut: list[int] = field(default_factory=list)
    taken: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    spans: list[NDArray[np.int64]] = field(default_factory=list)
    labels: list[NDArray[np.int64]] = field(default_factory=list)
    held: Held = field(default_factory=Held)
    texts: list[tuple[str, ...]] = field(default_factory=list)
    tokens: list[Places] = field(default_factory=list)


class Joined(NamedTuple):
    """What a model says of each example, from all of its inputs.

    Args:
        rows: of each example its rows of logits, ``(rows, classes)``.
        spans: of each example where what each row is about stands in the text, in characters; empty of a kind whose
            rows are about texts as a whole.
    """

    rows: list[Logits]
    spans: list[Spans]


class Reader:
    """Turns the rows of a data set into a model's inputs; training and prediction read with the same one.

    Args:
        tokenizer: of the model that will read the tokens.
        limit: tokens of an input, special ones included.
    Attributes:
        keeps_tokens: whether `encode` gives where each token stands too; at first not.
    Class attributes:
        apart: whether every text of a row is an input of its own.
    """

    apart: ClassVar[bool] = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        self.tokenizer = tokenizer
        self.limit = limit
        self.keeps_tokens = False

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        """The inputs of some rows, not padded.

        Args:
            rows: the columns ``text``, maybe ``text_pair``, maybe ``label``, each with a value a row.
            words: whether there is a column ``words`` too (see `word_numbers`).
        """
        raise NotImplementedError

    def training(self) -> Reader:
        """What reads the texts of a training; itself where it reads all alike."""
        return self

    def measuring(self) -> Reader:
        """What reads held-out texts; itself where it reads all alike."""
        return self

    def kept(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        """What is kept of a batch's logits, ``(batch, rows, numbers)`` (see `Problem.kept`); themselves, mostly.

        Args:
            logits: of the model.
            labels: of the batch; None where it has none.
        """
        return logits

    def tokens(self, rows: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
        """The tokens of some rows, one after the other, without special ones.

        Raises:
            NotImplementedError: a kind whose labels are no tokens.
        """
        raise NotImplementedError

    def tokens_of(self, encoded: BatchEncoding) -> list[Places]:
        """Of each input its tokens, where they are kept and a tokenizer in Rust has made them."""
        return list(encoded.encodings or ()) if self.keeps_tokens else []

    def labels_feature(self, feature: Any) -> Any:
        """The type of the column ``labels`` that `encode` gives (a feature of `datasets`), from that of ``label``."""
        return feature

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        """Of each example its rows of logits, from the logits of its inputs.

        Args:
            encoded: the inputs.
            logits: of each input: ``(classes,)``, or ``(tokens, classes)`` of a head by token, padding left out.
        """
        raise NotImplementedError


class TextReader(Reader):
    """One input and one row of logits for each text or pair; what is too long loses its end."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        super().__init__(tokenizer, limit)
        self._texts = CutTexts(tokenizer, limit)

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        texts, pairs = rows["text"], rows.get("text_pair")
        encoded = self._texts.encode(texts, pairs)
        inputs = range(len(texts))
        columns = input_columns(self.tokenizer, encoded)
        if words:
            columns["words"] = [word_numbers(encoded, i) for i in inputs]
        full = [i for i in inputs if len(encoded["input_ids"][i]) >= self.limit]
        return Encoded(
            columns,
            [*inputs],
            [i for i in full if self._is_cut(encoded, i, texts, pairs)],
            texts=[(text,) for text in texts] if pairs is None else [*zip(texts, pairs, strict=True)],
            tokens=self.tokens_of(encoded),
        )

    def _is_cut(self, encoded: BatchEncoding, row: int, texts: Sequence[str], pairs: Sequence[str] | None) -> bool:
        if encoded.encodings is not None:
            return bool(encoded.encodings[row].overflowing)
        whole = (texts[row],) if pairs is None else (texts[row], pairs[row])  # a tokenizer in Python does not tell
        return len(self.tokenizer(*whole, truncation=False, verbose=False)["input_ids"]) > self.limit

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        return Joined([each[None] for each in logits], [[] for _ in logits])


class WindowReader(Reader):
    """A long text in windows, each an input of its own with the text's label; their logits are joined to one row.

    Of a pair the second text is read in windows, each with the whole of the first.

    Args:
        tokenizer, limit: as for `Reader`.
        window: tokens of a window, special ones included; never more than ``limit``. None: the limit.
        stride: tokens that two windows next to each other share; None: a quarter of a window.
        join: ``mean`` or ``max`` of the windows' logits, class by class.
    Raises:
        RequestError: a tokenizer in Python, which makes no windows; a stride that leaves a window no new token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        limit: int,
        window: int | None = None,
        stride: int | None = None,
        join: str = "mean",
    ) -> None:
        super().__init__(tokenizer, limit if window is None else min(limit, window))
        if not tokenizer.is_fast:
            raise RequestError(f"{type(tokenizer).__name__} makes no windows of long texts: use a fast tokenizer")
        room = self.limit - tokenizer.num_special_tokens_to_add()
        self.stride = room // 4 if stride is None else stride
        self.join_by = join
        if not 0 <= self.stride < room:
            raise RequestError(
                f"stride is {self.stride}: windows of {self.limit} tokens have room for {room} of the text and share"
                f" fewer: give 0 to {room - 1}",
                key=["stride"],
            )

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        pairs = rows.get("text_pair")
        if pairs is not None:
            self._check_room(rows["text"], pairs)
        encoded = self.tokenizer(
            list(rows["text"]),
            None if pairs is None else list(pairs),
            truncation=True if pairs is None else "only_second",
            max_length=self.limit,
            stride=self.stride,
            return_overflowing_tokens=True,
            verbose=False,
        )
        columns = input_columns(self.tokenizer, encoded)
        if words:
            columns["words"] = [word_numbers(encoded, i) for i in range(len(encoded["input_ids"]))]
        example = [int(each) for each in encoded["overflow_to_sample_mapping"]]
        whole = list(zip(rows["text"], *([] if pairs is None else [pairs]), strict=True))
        return Encoded(columns, example, texts=[whole[row] for row in example], tokens=self.tokens_of(encoded))

    def _check_room(self, texts: Sequence[str], pairs: Sequence[str]) -> None:
        """Raise RequestError for a first text beside which a window has no room for new tokens of the second."""
        room = self.limit - self.tokenizer.num_special_tokens_to_add(pair=True)
        first, second = (
            [len(ids) for ids in self.tokenizer([*each], add_special_tokens=False, verbose=False)["input_ids"]]
            for each in (texts, pairs)
        )
        for text, own, other in zip(texts, first, second, strict=True):
            left = room - own
            if other > left and left <= self.stride:
                raise RequestError(
                    f"the first text of a pair ({text!r:.40}) has {own} tokens and leaves {max(0, left)} of a window's"
                    f" {self.limit} for the second, which has {other} and of which windows share {self.stride}: give a"
                    " larger max_length, a smaller stride, or shorter first texts",
                    key=["long"],
                )

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        windows: dict[int, list[Logits]] = {}
        for example, own in zip(encoded.example, logits, strict=True):
            windows.setdefault(example, []).append(own)
        reduce = np.mean if self.join_by == "mean" else np.max
        rows = [np.asarray(reduce(windows[example], axis=0))[None] for example in sorted(windows)]
        return Joined(rows, [[] for _ in rows])


def text_reader(tokenizer: PreTrainedTokenizerBase, limit: int, settings: Mapping[str, Any]) -> Reader:
    """The reader of texts that have one row of logits each.

    Args:
        tokenizer, limit: as for `Reader`.
        settings: ``long``: ``truncate`` (default) or ``windows``; for windows ``window``, ``stride`` and ``join``, as
            for `WindowReader`.
    Raises:
        RequestError: another word for ``long`` or ``join``, or what is no number of tokens; as `WindowReader`.
    """
    long, join = settings.get("long", "truncate"), settings.get("join", "mean")
    for name, value, known in (("long", long, ("truncate", "windows")), ("join", join, ("mean", "max"))):
        if value not in known:
            raise unknown(f"value of {name} in distilnlp_reading of the model's config:", str(value), known)
    for name, least in (("window", 1), ("stride", 0)):
        value = settings.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise RequestError(
                f"{name} in distilnlp_reading of the model's config is {value!r:.60}: a whole number from {least} is"
                " needed"
            )
    if long == "truncate":
        return TextReader(tokenizer, limit)
    return WindowReader(tokenizer, limit, settings.get("window"), settings.get("stride"), join)


def input_columns(tokenizer: PreTrainedTokenizerBase, encoded: BatchEncoding) -> dict[str, list[Any]]:
    """What a model may read, the token ids and the mask first."""
    names = [name for name in tokenizer.model_input_names if name in encoded]
    return {name: encoded[name] for name in {"input_ids": 0, "attention_mask": 0} | dict.fromkeys(names)}


def flat_offsets(offsets: Sequence[Sequence[tuple[int, int]]], tokens: int) -> NDArray[np.int64]:
    """Where the tokens of all inputs start and end in their texts, one after the other, ``(tokens, 2)``.

    Args:
        offsets: of each input those of its tokens, as a tokenizer gives them.
        tokens: how many of all inputs.
    """
    numbers = chain.from_iterable(chain.from_iterable(offsets))
    return np.fromiter(numbers, dtype=np.int64, count=2 * tokens).reshape(-1, 2)


def word_numbers(encoded: BatchEncoding, row: int) -> list[int]:
    """The word of each token over both texts of a pair, -1 for none.

    Raises:
        RequestError: the tokenizer does not know the words.
    """
    if encoded.encodings is None:
        raise RequestError("this tokenizer does not tell which word a token is of: use a fast tokenizer")
    texts = encoded.sequence_ids(row)
    if 1 not in texts:
        return [-1 if word is None else word for word in encoded.word_ids(row)]
    pairs = list(zip(encoded.word_ids(row), texts, strict=True))
    counted = max((word for word, text in pairs if word is not None and text == 0), default=-1) + 1
    return [-1 if word is None else word + (counted if text == 1 else 0) for word, text in pairs]
