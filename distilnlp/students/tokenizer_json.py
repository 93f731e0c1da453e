"""A fast tokenizer with fewer tokens: its JSON, edited."""

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.models.loading import read_tokenizer

__all__ = ["TokenizerJson"]

SPACE = "\u2581"  # what SentencePiece writes for a space
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
KINDS = ("WordPiece", "BPE", "Unigram", "WordLevel")


class TokenizerJson:
    """What a fast tokenizer is made of, and how it is made with fewer tokens.

    Args:
        tokenizer: a fast one; it is not changed.
    Attributes:
        ids: of every token its id; added tokens among them.
    Raises:
        RequestError: it is slow, or of a kind that is not known.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.is_fast:
            raise RequestError(
                f"{type(tokenizer).__name__} is a tokenizer in Python, and only fast ones can be trimmed: use a model"
                " with a tokenizer.json"
            )
        self._tokenizer = tokenizer
        self._json: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
        self.kind = str(self._model.get("type"))
        if self.kind not in KINDS:
            raise RequestError(f"a tokenizer of kind {self.kind} cannot be trimmed: known are {', '.join(KINDS)}")
        self.ids: dict[str, int] = tokenizer.get_vocab()
        self._merges = [_pair(merge) for merge in self._model.get("merges", ())]
        self._ranks = {pair: rank for rank, pair in enumerate(self._merges)}

    @property
    def _model(self) -> dict[str, Any]:
        model: dict[str, Any] = self._json["model"]
        return model

    def always(self) -> set[int]:
        """The tokens that every tokenizer made of this one has: added and special ones, and single bytes.

        Of Unigram also the least likely piece, by which an unknown letter is weighed against the known ones.
        """
        found = {int(each["id"]) for each in self._json["added_tokens"]}
        found |= {index for index in self._tokenizer.all_special_ids if index is not None}
        found |= {each for ids in _ids_in(self._json["post_processor"]) for each in ids}
        found |= {index for token, index in self.ids.items() if BYTE.fullmatch(token)}
        if self.kind == "Unigram":
            scores = [score for _, score in self._model["vocab"]]
            found |= {*range(1 + (self._model["unk_id"] or 0)), scores.index(min(scores))}
        elif (unknown := self._model.get("unk_token")) in self.ids:
            found.add(self.ids[unknown])
        return found | (self.letters(None) if self._by_byte else set())

    def letters(self, of: Iterable[str] | None) -> set[int]:
        """The tokens of one letter, so that no text of these letters alone has an unknown token.

        Args:
            of: tokens, whose letters are meant; None: of every letter that there is.
        """
        known = None if of is None else {letter for token in of for letter in token}
        plain = {token: self._letter(token) for token in self.ids}
        return {
            self.ids[token]
            for token, letter in plain.items()
            if len(letter) <= 1 and (known is None or letter in known or not letter)
        }

    def with_parts(self, token: str) -> set[int]:
        """The token, and those out of which it is merged; nothing but itself where nothing is merged."""
        found = {self.ids[token]}
        if self.kind != "BPE":
            return found
        # What the merges make of the token alone is what they make of it inside of a word in which it is left whole.
        parts = list(self._split(token))
        found |= {self.ids[part] for part in parts if part in self.ids}
        while len(parts) > 1:
            rank, place = min(
                (self._ranks.get((parts[place], parts[place + 1]), len(self._merges)), place)
                for place in range(len(parts) - 1)
            )
            if rank == len(self._merges):
                break
            parts[place : place + 2] = [self._joined(parts[place], parts[place + 1])]
            found.add(self.ids[parts[place]])
        return found

    def trimmed(self, kept: Sequence[int]) -> PreTrainedTokenizerBase:
        """A tokenizer with these tokens alone, numbered in their order from 0.

        Args:
            kept: ids, ascending; all of `always` among them.
        Raises:
            RequestError: its class of transformers builds another tokenizer of them.
        """
        new = {old: index for index, old in enumerate(kept)}
        made = json.loads(json.dumps(self._json))
        model = made["model"]
        if self.kind == "Unigram":
            model["vocab"] = [model["vocab"][old] for old in kept if old < len(model["vocab"])]
            model["unk_id"] = new.get(model["unk_id"])
        else:
            model["vocab"] = {token: new[old] for token, old in model["vocab"].items() if old in new}
        if self.kind == "BPE":
            known = model["vocab"]
            model["merges"] = [
                [*pair]
                for pair in self._merges
                if pair[0] in known and pair[1] in known and self._joined(*pair) in known
            ]
        for each in made["added_tokens"]:
            each["id"] = new[each["id"]]
        _renumber(made["post_processor"], new)
        if made.get("padding"):
            made["padding"]["pad_id"] = new[made["padding"]["pad_id"]]
        expected = {token: new[old] for token, old in self.ids.items() if old in new}
        for generic in (False, True):
            tokenizer = self._loaded(made, new, generic)
            if tokenizer.get_vocab() == expected:
                return tokenizer
        raise RequestError(
            f"{type(self._tokenizer).__name__} does not take a vocabulary of {len(kept)} of its {len(self.ids)} tokens"
        )

    def _loaded(self, made: Mapping[str, Any], new: Mapping[int, int], generic: bool) -> PreTrainedTokenizerBase:
        """The tokenizer as it will be loaded from a folder.

        Args:
            generic: whether it is of no class of its own, as some of these build their tokenizer anew.
        """
        with tempfile.TemporaryDirectory() as folder:
            self._tokenizer.save_pretrained(folder)
            Path(folder, "tokenizer.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
            place = Path(folder, "tokenizer_config.json")
            config = json.loads(place.read_text(encoding="utf-8"))
            if "added_tokens_decoder" in config:
                config["added_tokens_decoder"] = {
                    str(new[int(old)]): each for old, each in config["added_tokens_decoder"].items()
                }
            if generic:
                config["tokenizer_class"] = "PreTrainedTokenizerFast"
                config["model_input_names"] = self._tokenizer.model_input_names
            place.write_text(json.dumps(config), encoding="utf-8")
            tokenizer = read_tokenizer(folder)
        tokenizer.name_or_path = ""
        return tokenizer

    @property
    def _by_byte(self) -> bool:
        return self.kind == "BPE" and '"ByteLevel"' in json.dumps([self._json["pre_tokenizer"], self._json["decoder"]])

    @property
    def _prefix(self) -> str:
        return self._model.get("continuing_subword_prefix") or ""

    def _letter(self, token: str) -> str:
        """The token without what marks its place in a word."""
        suffix = self._model.get("end_of_word_suffix") or ""
        plain = token.removeprefix(self._prefix) if token != self._prefix else token
        plain = plain.removesuffix(suffix) if suffix and plain != suffix else plain
        return plain.removeprefix(SPACE) if self.kind in ("Unigram", "BPE") else plain

    def _split(self, token: str) -> Iterator[str]:
        """The letters of a token, as the merges begin with them."""
        suffix = self._model.get("end_of_word_suffix") or ""
        ends = bool(suffix) and token.endswith(suffix)
        first = bool(self._prefix) and not token.startswith(self._prefix)
        letters = token.removesuffix(suffix).removeprefix(self._prefix)
        for place, letter in enumerate(letters):
            before = "" if first and place == 0 else self._prefix
            yield f"{before}{letter}{suffix if ends and place == len(letters) - 1 else ''}"

    def _joined(self, first: str, second: str) -> str:
        return first + second.removeprefix(self._prefix)


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _ids_in(part: Any) -> Iterator[list[int]]:
    """The ids of special tokens that a post-processor names."""
    if isinstance(part, Mapping):
        if part.get("type") == "TemplateProcessing":
            yield from (each["ids"] for each in part["special_tokens"].values())
        for name in ("sep", "cls"):
            if name in part:
                yield [part[name][1]]
        for each in part.get("processors", ()):
            yield from _ids_in(each)


def _renumber(part: Any, new: Mapping[int, int]) -> None:
    if isinstance(part, dict):
        if part.get("type") == "TemplateProcessing":
            for each in part["special_tokens"].values():
                each["ids"] = [new[old] for old in each["ids"]]
        for name in ("sep", "cls"):
            if name in part:
                part[name][1] = new[part[name][1]]
        for each in part.get("processors", ()):
            _renumber(each, new)
