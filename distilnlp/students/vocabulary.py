"""A vocabulary cut to the tokens that texts need, and the models that read it."""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.students.architectures import POSITIONS_AFTER_PADDING
from distilnlp.students.tokenizer_json import TokenizerJson
from distilnlp.typed import typed

__all__ = ["HeldOut", "Vocabulary", "trim_vocabulary"]

TEXTS_AT_ONCE = 1000


@dataclass(frozen=True)
class HeldOut:
    """What texts that a vocabulary was not made of are cut into.

    Args:
        unknown: share of their tokens, special ones apart, that the trimmed tokenizer does not know, 0..1.
        unknown_before: share that the whole one does not know.
        cut_alike: share of the texts that both cut alike.
        longer: how many tokens they have, over how many they had.
    """

    unknown: float
    unknown_before: float
    cut_alike: float
    longer: float

    def __str__(self) -> str:
        return (
            f"{self.cut_alike:.1%} of the held-out texts are cut as before; {self.unknown:.2%} of their tokens are"
            f" unknown ({self.unknown_before:.2%} before), {self.longer:.3f} times as many tokens"
        )


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Some of a tokenizer's tokens, the tokenizer that knows them alone, and the way from one to the other.

    Args:
        tokenizer: the trimmed one; its ids are the places in ``kept``.
        kept: the ids that its tokens have in ``whole``, ascending.
        whole: the tokenizer that it was made of.
        counts: how often the texts that it was made of have each of its tokens.
    """

    tokenizer: PreTrainedTokenizerBase
    kept: tuple[int, ...]
    whole: PreTrainedTokenizerBase
    counts: tuple[int, ...]

    @classmethod
    def whole_of(
        cls, tokenizer: PreTrainedTokenizerBase, counts: Mapping[int, int] = MappingProxyType({})
    ) -> "Vocabulary":
        """All tokens of a tokenizer.

        Args:
            tokenizer: which is not changed, and is that of the vocabulary too.
            counts: how often texts have which id.
        """
        kept = tuple(range(1 + max(tokenizer.get_vocab().values())))
        return cls(tokenizer, kept, tokenizer, tuple(counts.get(each, 0) for each in kept))

    def __len__(self) -> int:
        return len(self.kept)

    def __str__(self) -> str:
        return f"{len(self.kept)} of {len(self.whole)} tokens"

    @cached_property
    def _new(self) -> dict[int, int]:
        return {old: new for new, old in enumerate(self.kept)}

    def old_ids(self, ids: Iterable[int]) -> list[int]:
        """What the whole tokenizer calls some of the trimmed one's tokens."""
        return [self.kept[each] for each in ids]

    def model(self, model: PreTrainedModel) -> PreTrainedModel:
        """A copy of a model that reads the trimmed tokenizer's ids, on the CPU in eval mode.

        On a text that both tokenizers cut alike it gives the model's logits; of a head over the vocabulary, those of
        the tokens that are kept.

        Args:
            model: of the whole tokenizer; it is not changed, and shares no memory with the copy.
        Raises:
            RequestError: it has no rows for some of the tokens.
        """
        config, rows = self._config(model.config), _rows_of(model)
        if self.kept[-1] >= rows:
            raise RequestError(
                f"the vocabulary has the token id {self.kept[-1]}, and the model has {rows} rows of embeddings: trim"
                " the tokenizer of this model"
            )
        made: PreTrainedModel = type(model)(config)
        found = model.state_dict()
        moved = (model.config.pad_token_id or 0) - (config.pad_token_id or 0)
        with torch.no_grad():
            for name, weight in made.state_dict().items():
                weight.copy_(_rows(name, found[name], weight, self.kept, moved, config.pad_token_id))
        made.eval()
        return made

    def _config(self, config: PreTrainedConfig) -> PreTrainedConfig:
        made = copy.deepcopy(config)
        for name, value in config.to_dict().items():
            if name.endswith("_token_id") and value is not None:
                setattr(made, name, self._renumbered(value))
        made.vocab_size = len(self.kept)
        if config.model_type in POSITIONS_AFTER_PADDING:
            made.max_position_embeddings -= config.pad_token_id - made.pad_token_id
        return made

    def _renumbered(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._new[each] for each in value if each in self._new] or None
        return self._new.get(value)

    def measure(self, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> HeldOut:
        """How texts are cut that it was not made of.

        Args:
            pairs: of each input the ids that the trimmed tokenizer gives it, and those of the whole one.
        """
        sides: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        alike = inputs = 0
        for own, old in pairs:
            inputs += 1
            alike += self.old_ids(own) == list(old)
            for counts, ids in zip(sides, (own, old), strict=True):
                counts.update(ids)
        (tokens, unknown), (before, unknown_before) = map(_of_text, sides, (self.tokenizer, self.whole))
        return HeldOut(
            unknown / max(1, tokens), unknown_before / max(1, before), alike / max(1, inputs), tokens / max(1, before)
        )


def _of_text(counts: Counter[int], tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """How many tokens are no special ones, and how many of these are unknown."""
    unknown = counts[tokenizer.unk_token_id] if tokenizer.unk_token_id is not None else 0
    special = set(tokenizer.all_special_ids)
    return sum(count for index, count in counts.items() if index not in special) + unknown, unknown


def _rows_of(model: PreTrainedModel) -> int:
    """How many token ids a model has embeddings for."""
    return len(model.get_input_embeddings().get_parameter("weight"))


def _rows(name: str, weight: Tensor, like: Tensor, kept: Sequence[int], moved: int, padding: int | None) -> Tensor:
    """The rows of a weight that stand for what is kept; all of them where the vocabulary does not matter."""
    if weight.shape == like.shape:
        return weight
    if moved and name.endswith("position_embeddings.weight"):  # which begin behind the number of the padding token
        first = (padding or 0) + 1
        return torch.cat([weight[:first], weight[first + moved :]])
    return weight[torch.tensor(kept, device=weight.device)]


@typed
def trim_vocabulary(
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str] = (),
    *,
    counts: Mapping[int, int] = MappingProxyType({}),
    tokens: Sequence[str] = (),
    min_count: int = 1,
    size: int | None = None,
) -> Vocabulary:
    """The vocabulary that some texts need, for a student that reads nothing else.

    Kept are the tokens of the texts and of the list; all special tokens; what these are merged from; and each letter
    that any of them has as a token of its own (of a byte-level tokenizer, all bytes), so that a word of known letters
    is cut into pieces and is not unknown. A text all of whose tokens are known and kept is cut as before, exactly. A
    word that is unknown to a WordPiece tokenizer, the trimmed one may cut into pieces: it has fewer to begin it with.

    Args:
        tokenizer: a fast one: WordPiece, BPE, Unigram or by word.
        texts: what the student will learn from.
        counts: of texts that are tokenised already, how often they have which id.
        tokens: to be kept whether the texts have them or not, as the tokenizer writes them (``"##ing"``).
        min_count: tokens that the texts have less often are left out.
        size: how many tokens at most; the commonest are kept.
    Raises:
        RequestError: no fast tokenizer; neither texts nor tokens; a token that there is not; a size that what is kept
            in any case does not fit into.
    """
    if min_count < 1:
        raise RequestError(f"min_count is {min_count}: a number from 1 is needed", ["min_count"])
    source = TokenizerJson(tokenizer)
    counts = Counter(counts)
    left = iter(texts)
    while some := list(islice(left, TEXTS_AT_ONCE)):
        for each in tokenizer(some, truncation=False, verbose=False)["input_ids"]:
            counts.update(each)
    kept = source.always()
    if not counts and not tokens:
        raise RequestError("there are no texts and no tokens to make a vocabulary of: give one of them")
    for token in tokens:
        if token not in source.ids:
            raise RequestError(
                f"the tokenizer has no token {token!r:.80}: write it as the tokenizer does, with the mark of a piece"
                " that begins a word or stands inside of one",
                ["tokens"],
            )
        kept |= source.with_parts(token)
    names = {index: token for token, index in source.ids.items()}
    often = sorted((index for index, count in counts.items() if count >= min_count), key=lambda i: (-counts[i], i))
    kept |= source.letters([*tokens, *(names[index] for index in counts)])
    if size is not None and len(kept) > size:
        raise RequestError(
            f"a vocabulary of {size} tokens is too small: {len(kept)} are kept in any case (special tokens, letters,"
            f" the list): give a size from {len(kept)}",
            ["size"],
        )
    for index in often:
        grown = kept | source.with_parts(names[index])
        if size is not None and len(grown) > size:
            break
        kept = grown
    order = tuple(sorted(kept))
    return Vocabulary(source.trimmed(order), order, tokenizer, tuple(counts[each] for each in order))
