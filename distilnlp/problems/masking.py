"""Which words of a text are hidden from a model, and what stands in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.base import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["SHARE", "Masking"]

SHARE = 0.15
MASKED, KEPT = 0.8, 0.1  # the rest is replaced

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Masking:
    """Draws words and hides them; the same for the same numbers, whoever draws and wherever.

    Args:
        mask: the id of the mask token.
        unknown: the id of the token for what is in no vocabulary; None without one. Such words are hidden only where
            a text has no other.
        special: ids that stand in for no token.
        vocabulary: gives the id of every token.
        share: of the tokens that are hidden, above 0 and below 1; of a short text one word.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1 and appendix C.2; whole words as in their later models.
    """

    mask: int
    unknown: int | None
    special: tuple[int, ...]
    vocabulary: Callable[[], Mapping[str, int]]
    share: float = SHARE

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, share: float = SHARE) -> Masking:
        """For the vocabulary of a tokenizer.

        Raises:
            RequestError: it has no mask token, or does not tell the words of tokens; a share that is none.
        """
        kind = type(tokenizer).__name__
        if not tokenizer.is_fast:
            raise RequestError(f"{kind} does not tell which word a token is of, which masking needs: use a fast one")
        if tokenizer.mask_token_id is None:
            raise RequestError(
                f"{kind} has no mask token, so that no word can be hidden: take a model that was trained with masks"
                " (BERT, RoBERTa, DistilBERT, ModernBERT), or set tokenizer.mask_token"
            )
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise RequestError(
                f"data.mask_share is {share!r}: a number above 0 and below 1 is needed", key=["mask_share"]
            )
        special = tuple(tokenizer.all_special_ids)
        return cls(int(tokenizer.mask_token_id), tokenizer.unk_token_id, special, tokenizer.get_vocab, float(share))

    @cached_property
    def replacements(self) -> Ids:
        """Ids that may stand in for a token. Read when one is drawn: large vocabularies take a while."""
        known = self.vocabulary()
        ids = np.fromiter(known.values(), dtype=np.int64, count=len(known))
        return np.setdiff1d(ids, np.array(self.special, dtype=np.int64))

    def draw(
        self, ids: Sequence[int], words: Sequence[int], numbers: Sequence[int], *, plain: bool
    ) -> tuple[Ids, Ids]:
        """Hide some words of one input.

        Args:
            ids: its tokens.
            words: the word that each is a piece of, below 0 for none.
            numbers: decide the choice, together with the tokens: seed and epoch.
            plain: every token of a chosen word becomes the mask token; else 80 % do, 10 % stay as they are, 10 % are
                replaced.
        Returns:
            The tokens as the model sees them, and the labels: the hidden tokens, -100 elsewhere; ``(tokens,)`` both.
        """
        seen, of_words = np.asarray(ids, dtype=np.int64), np.asarray(words, dtype=np.int64)
        labels = np.full(len(seen), IGNORED, dtype=np.int64)
        generator = np.random.default_rng([*numbers, _digest(seen)])
        hidden = self._chosen(seen, of_words, generator)
        if not len(hidden):
            return seen, labels
        labels[hidden] = seen[hidden]
        seen = seen.copy()
        luck = np.zeros(len(hidden)) if plain else generator.random(len(hidden))
        seen[hidden[luck < MASKED]] = self.mask
        replaced = hidden[luck >= MASKED + KEPT]
        if len(replaced):
            seen[replaced] = generator.choice(self.replacements, len(replaced))
        return seen, labels

    def _chosen(self, ids: Ids, words: Ids, generator: np.random.Generator) -> Ids:
        """The places of the tokens of whole words, as many as the share, of one word at least."""
        can = words >= 0
        unknown = np.unique(words[can & (ids == self.unknown)]) if self.unknown is not None else words[:0]
        known = can & ~np.isin(words, unknown)
        can = known if known.any() else can
        if not can.any():
            return np.empty(0, dtype=np.int64)
        numbers, sizes = np.unique(words[can], return_counts=True)
        most = max(1, round(self.share * int(can.sum())))
        taken: list[int] = []
        count = 0
        for place in generator.permutation(len(numbers)).tolist():
            if not taken or count + sizes[place] <= most:
                taken.append(int(numbers[place]))
                count += int(sizes[place])
            if count >= most:
                break
        return np.flatnonzero(can & np.isin(words, taken))


def _digest(ids: Ids) -> int:
    return int.from_bytes(hashlib.blake2b(ids.astype("<i8").tobytes(), digest_size=8).digest(), "little")
