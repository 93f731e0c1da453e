"""Long texts to the tokens that a model reads of them, without tokenising what it will not read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["CutTexts"]

RATIO = 8  # characters looked at for each token that is kept: texts have 4 or 5
GROWTH = 4  # where they were too few

# What is done to a text before it is divided into words, and leaves alone what stands on the other side of a space.
NORMALIZERS = {
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend", "Strip"),
    "StripAccents",
}
CUT = r"[^\W_](?=[{}])"  # behind a letter or digit, so that no mark or sign that belongs to it comes after
BLANKS = r" \t\n"
# Each of these is a word of its own for BERT's normalizer.
CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f"


class CutTexts:
    """Tokenises texts with truncation, and gives exactly what the tokenizer gives for the whole texts.

    A text is cut between two words, far behind its last token, before the tokenizer sees it: that is as fast as the
    tokens are few, however long the text. If the part has too few tokens (runs of spaces, say), a longer one is taken.
    A tokenizer for which no place is known where the words of a text are independent sees the whole text.

    Args:
        tokenizer: of the model that will read the tokens.
        limit: tokens of a text or pair, special ones included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        self.tokenizer = tokenizer
        self.limit = limit
        self._characters = RATIO * limit
        place = _cut_place(tokenizer)
        self._place = re.compile(CUT.format(place)) if place else None

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, **options: Any) -> BatchEncoding:
        """What ``tokenizer(texts, pairs, truncation=True, max_length=limit, **options)`` gives.

        Args:
            texts, pairs: the rows' texts; of pairs the longer text loses its end first.
            options: for the tokenizer: padding, type of the result.
        """
        if pairs is not None:
            both = [self._parts(*row) for row in zip(texts, pairs, strict=True)]
            return self._tokens([text for text, _ in both], [pair for _, pair in both], options)
        characters = self._characters
        while True:
            parts = [self._part(text, characters) for text in texts]
            encoded = self._tokens(parts, None, options)
            cut = [row for row, part in enumerate(parts) if len(part) < len(texts[row])]
            encodings = encoded.encodings or []  # of a tokenizer that is not fast, no text is cut here
            if all(encodings[row].overflowing for row in cut):
                return encoded
            self._characters *= 2  # for those to come
            characters *= GROWTH

    def _tokens(self, texts: list[str], pairs: list[str] | None, options: dict[str, Any]) -> BatchEncoding:
        encoded: BatchEncoding = self.tokenizer(texts, pairs, truncation=True, max_length=self.limit, **options)
        return encoded

    def _part(self, text: str, characters: int) -> str:
        if self._place is None or len(text) <= characters:
            return text
        place = self._place.search(text, characters)
        return text[: place.end()] if place else text

    def _parts(self, text: str, pair: str) -> tuple[str, str]:
        """Parts of both texts of a pair that are truncated as the whole texts are.

        What each keeps depends on which is the longer, and on the length of the shorter where that is less than half
        of the room.
        """
        first = second = self._characters
        longer: bool | None = None  # whether the text is longer than its pair, where that had to be counted
        while True:
            parts = self._part(text, first), self._part(pair, second)
            cut = len(parts[0]) < len(text), len(parts[1]) < len(pair)
            if not any(cut):
                return parts
            tokens = self.count(parts[0]), self.count(parts[1])
            room = self.limit - self.tokenizer.num_special_tokens_to_add(pair=True)
            if all(cut):
                if min(tokens) <= room // 2:
                    first, second = first * GROWTH, second * GROWTH
                    continue
                if room % 2 == 0:
                    return parts
                if longer is None:
                    longer = self.count(text) > self.count(pair)
                if (tokens[0] > tokens[1]) == longer:
                    return parts
                first, second = (first * 2, second) if longer else (first, second * 2)
            elif sum(tokens) > room and (tokens[0] > tokens[1] if cut[0] else tokens[1] >= tokens[0]):
                return parts
            else:
                first, second = first * GROWTH, second * GROWTH

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _cut_place(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """In front of which characters a text can be cut and keeps the words before them; None where that is not known.

    As the inside of a regular expression's brackets.
    """
    if not tokenizer.is_fast or tokenizer.truncation_side != "right":
        return None
    backend = tokenizer.backend_tokenizer
    if any(re.search(r"\S\s", token.content) for token in backend.get_added_tokens_decoder().values()):
        return None
    try:
        normalizer = json.loads(backend.normalizer.__getstate__()) if backend.normalizer else None
        words = json.loads(backend.pre_tokenizer.__getstate__()) if backend.pre_tokenizer else None
    except Exception:  # of one's own making, in Python: tokenizers raises just that
        return None
    normalizers = _steps(normalizer, "normalizers")
    if not all(_is_local(step) for step in normalizers):
        return None
    for step in _steps(words, "pretokenizers"):
        match step:
            case {"type": "Digits" | "Punctuation"}:
                continue
            case {"type": "BertPreTokenizer"}:
                chinese = any(each.get("handle_chinese_chars") for each in normalizers)
                return BLANKS + CHINESE if chinese else BLANKS
            case {"type": "Whitespace" | "WhitespaceSplit"} | {"type": "ByteLevel", "use_regex": True}:
                return BLANKS
            case {"type": "Metaspace", "split": True}:
                return " "
            case _:
                return None
    return None


def _steps(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return [each for inner in part[name] for each in _steps(inner, name)] if part["type"] == "Sequence" else [part]


def _is_local(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] == "Replace":
        pattern = normalizer["pattern"]
        return pattern.get("Regex") == " {2,}" or not re.search(r"\S\s", pattern.get("String", "a b"))
    return normalizer["type"] in NORMALIZERS
