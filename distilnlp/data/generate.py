"""Texts that are drawn word by word, out of a vocabulary or of counted words: no training example is read for them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from distilnlp.data.columns import find_text_columns
from distilnlp.data.files import file_at, read_files
from distilnlp.errors import RequestError, RunError

__all__ = ["UnreadRows", "WordTable", "whole_words"]

RANK_SHIFT = 2.7  # of Zipf's law as Mandelbrot wrote it: the share of the r-th word falls as 1 / (r + 2.7)


def whole_words(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The pieces of a vocabulary that are words by themselves, in its order: read again, each is that one piece.

    So no special token and no end of a word is among them, and a text of them has no unknown token.
    """
    special = set(tokenizer.all_special_ids)
    ids = [each for each in range(len(tokenizer)) if each not in special]
    written = [str(tokenizer.decode([each])) for each in ids]
    read = tokenizer(written, add_special_tokens=False)["input_ids"]
    return [word for each, word, own in zip(ids, written, read, strict=True) if own == [each] and word.strip() == word]


@dataclass(frozen=True)
class WordTable:
    """Words and how often each is drawn.

    Args:
        words: that there are.
        shares: ``(words,)``, above 0, with a sum of 1.
    """

    words: tuple[str, ...]
    shares: NDArray[np.float64]

    @classmethod
    def of_vocabulary(cls, tokenizer: PreTrainedTokenizerBase, *, ranked: bool = False) -> "WordTable":
        """The whole words of a vocabulary, all alike.

        Args:
            ranked: by their place in the vocabulary instead, as word frequencies fall (Zipf), without single signs:
                most tokenizers are made with the commoner pieces first.
        Raises:
            RequestError: it has fewer than two whole words.
        """
        words = whole_words(tokenizer)
        if ranked:  # single signs stand first in many vocabularies, however rare they are
            words = [word for word in words if len(word) > 1]
        if len(words) < 2:
            raise RequestError(
                f"the tokenizer has {len(words)} pieces that are whole words, and texts are drawn of them: count the"
                " words of a file (kind unigram, counts)"
            )
        shares = 1 / (np.arange(len(words)) + RANK_SHIFT) if ranked else np.ones(len(words))
        return cls(tuple(words), shares / shares.sum())

    @classmethod
    def of_file(cls, path: str | Path, tokenizer: PreTrainedTokenizerBase) -> "WordTable":
        """The words of a file of texts, as often as they stand there.

        Args:
            path: a file with texts (and maybe second texts) in columns of common names, or a txt of one text a line.
            tokenizer: whose special tokens are no words.
        Raises:
            RequestError: no such file; fewer than two different words.
        """
        where = str(path)
        data = read_files([file_at(path)], lambda names: find_text_columns(names, where))
        counts: Counter[str] = Counter()
        for column in data.column_names:
            for value in data[column]:
                counts.update(value.split() if isinstance(value, str) else value or ())
        special = tokenizer.all_special_tokens
        kept = {word: count for word, count in counts.items() if not any(token in word for token in special)}
        if len(kept) < 2:
            raise RequestError(f"{where} has {len(kept)} different words, and texts are drawn of them: give more text")
        words = sorted(kept)
        shares = np.array([kept[word] for word in words], dtype=np.float64)
        return cls(tuple(words), shares / shares.sum())

    def texts(self, lengths: Sequence[int], random: np.random.Generator) -> list[str]:
        """A text of each number of words, with spaces between them."""
        drawn = random.choice(len(self.words), size=sum(lengths), p=self.shares).tolist()
        ends = np.cumsum([0, *lengths]).tolist()
        return [" ".join(self.words[place] for place in drawn[start:end]) for start, end in pairwise(ends)]


class UnreadRows:
    """Stands for the training examples where none may be read: whatever is asked of it is an error.

    Args:
        name: of their task.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def _refuse(self) -> RunError:
        return RunError(f"the training examples of {self._name} were to be read, and its texts are generated")

    def __getattr__(self, name: str) -> object:
        raise self._refuse()

    def __len__(self) -> int:
        raise self._refuse()

    def __getitem__(self, key: object) -> object:
        raise self._refuse()

    def __iter__(self) -> object:
        raise self._refuse()
