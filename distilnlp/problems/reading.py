"""How examples become the inputs of a model, and its logits the rows of answers of each example again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distilnlp.cut_texts import CutTexts
from distilnlp.errors import RequestError

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["Encoded", "Reader", "Spans", "TextReader", "word_numbers"]

Logits = NDArray[np.float32]
Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Encoded:
    """The inputs that a few examples become, of which a long one has several: its windows.

    Args:
        columns: for each input column its value in each input: ``input_ids``, ``attention_mask``, ...; whatever else
            the kind of task needs in a batch, such as ``labels`` and ``label_mask`` by token.
        example: of each input, the number of its example.
        cut: the numbers of the examples that lost their end.
        taken: of each input of a head by token, the tokens that have a row of logits, and which row of the example;
            empty for a kind with one row an example.
        spans: of each example with a row for each word, where each word stands in the text, in characters.
    """

    columns: dict[str, list[Any]]
    example: list[int]
    cut: list[int] = field(default_factory=list)
    taken: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    spans: list[Spans] = field(default_factory=list)


class Reader:
    """Turns the rows of a data set into a model's inputs; training and prediction read with the same one.

    Args:
        tokenizer: of the model that will read the tokens.
        limit: tokens of an input, special ones included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        self.tokenizer = tokenizer
        self.limit = limit

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        """The inputs of some rows, not padded.

        Args:
            rows: the columns ``text``, maybe ``text_pair``, maybe ``label``, each with a value a row.
            words: whether there is a column ``words`` too (see `word_numbers`).
        """
        raise NotImplementedError

    def labels_feature(self, feature: Any) -> Any:
        """The type of the column ``labels`` that `encode` gives (a feature of `datasets`), from that of ``label``."""
        return feature

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> list[Logits]:
        """Of each example its rows of logits, ``(rows, classes)``, from the logits of its inputs.

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
        return Encoded(columns, [*inputs], [i for i in full if self._is_cut(encoded, i, texts, pairs)])

    def _is_cut(self, encoded: BatchEncoding, row: int, texts: Sequence[str], pairs: Sequence[str] | None) -> bool:
        if encoded.encodings is not None:
            return bool(encoded.encodings[row].overflowing)
        whole = (texts[row],) if pairs is None else (texts[row], pairs[row])  # a tokenizer in Python does not tell
        return len(self.tokenizer(*whole, truncation=False, verbose=False)["input_ids"]) > self.limit

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> list[Logits]:
        return [each[None] for each in logits]


def input_columns(tokenizer: PreTrainedTokenizerBase, encoded: BatchEncoding) -> dict[str, list[Any]]:
    """What a model may read, the token ids and the mask first."""
    names = [name for name in tokenizer.model_input_names if name in encoded]
    return {name: encoded[name] for name in {"input_ids": 0, "attention_mask": 0} | dict.fromkeys(names)}


def word_numbers(encoded: BatchEncoding, row: int) -> list[int]:
    """The word of each token over both texts of a pair, -1 for none.

    Raises:
        RequestError: the tokenizer does not know the words.
    """
    if encoded.encodings is None:
        raise RequestError("this tokenizer does not tell which word a token is of: use a fast tokenizer")
    pairs = list(zip(encoded.word_ids(row), encoded.sequence_ids(row), strict=True))
    counted = max((word for word, text in pairs if word is not None and text == 0), default=-1) + 1
    return [-1 if word is None else word + (counted if text == 1 else 0) for word, text in pairs]
