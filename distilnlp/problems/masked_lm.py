"""The words that are hidden in a text, out of the vocabulary: task-agnostic models learn from text alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.base import (
    IGNORED,
    Answer,
    Floats,
    LabelColumn,
    Labels,
    Problem,
    Rows,
    beyond_chance,
    check_classes,
    check_finite,
    label_settings,
    register_problem,
)
from distilnlp.problems.masking import SHARE, Masking
from distilnlp.problems.reading import Encoded, Joined, Logits, Reader, word_numbers

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["BlankReader", "BlockReader", "HeldOutReader", "MaskedLM"]

SHOWN = 5  # of the likeliest tokens
HELD_OUT = 0  # the seed of the mask of held-out texts, whatever that of the training
MOST = np.iinfo(np.int64).max
ROW = 3  # numbers that are kept of a row of logits where the hidden token is known


@register_problem("masked_lm")
@dataclass(frozen=True)
class MaskedLM(Problem):
    """One token of the vocabulary for each hidden one: a softmax and cross-entropy there and nowhere else.

    A row of logits is that of a hidden token. Nobody keeps a vocabulary of numbers for each: where the hidden token is
    known, a row is kept as ``(likeliest token, its log-probability, that of the hidden token)``, and of a text with
    blanks as its 5 likeliest tokens and their log-probabilities, one after the other.

    Units: cross-entropy and KL in nats a token; the mean over the hidden tokens of an input, then over the inputs.
    """

    recipe: ClassVar[str] = "masked-lm/_base.yaml"
    reading: ClassVar[tuple[str, ...]] = ("mask_share",)
    pipeline_tag: ClassVar[str] = "fill-mask"
    peft_task_type: ClassVar[str] = "FEATURE_EXTRACTION"
    auto_class: ClassVar[str] = "AutoModelForMaskedLM"
    rows: ClassVar[Rows] = "token"
    takes_other_tokens: ClassVar[bool] = False
    named_labels: ClassVar[bool] = False
    labels_itself: ClassVar[bool] = True
    exclusive_classes: ClassVar[bool] = True
    label_padding: ClassVar[int | None] = IGNORED
    response_loss: ClassVar[str] = "soft_target"
    metrics: ClassVar[tuple[str, ...]] = ("masked_accuracy", "pseudo_perplexity")
    accepted_metrics: ClassVar[tuple[str, ...]] = metrics
    agreement_meaning: ClassVar[str] = (
        "share of hidden tokens with the same likeliest token; kappa: what of it is not chance (0 is none, 1 all)"
    )

    card_text: ClassVar[str] = 'f"A {tokenizer.mask_token}."'

    # ---- labels in the data ----

    def encode(self, column: LabelColumn, train: Labels | None) -> Labels:
        """Not there: the texts are their own labels."""
        raise RequestError(
            f"{column.where}: {self.name} learns from the texts alone: leave label= out (--label), or name another"
            " problem_type"
        )

    def may_have_columns(self, features: Mapping[str, Any]) -> bool:
        """Any texts will do, or their tokens."""
        return "text" in features or "input_ids" in features

    # ---- from examples to inputs, and back ----

    def reader(self, tokenizer: PreTrainedTokenizerBase, limit: int, settings: Mapping[str, Any]) -> Reader:
        """Of texts with blanks. Settings: ``mask_share``, the share of the tokens that a training hides."""
        return BlankReader(tokenizer, limit, settings.get("mask_share", SHARE))

    def chosen(self, labels: Tensor) -> dict[str, Tensor]:
        """The tokens that have a label, side by side.

        Shapes:
            labels: ``(batch, tokens)``, -100 where there is none.
            Returns ``head_tokens``, ``labels`` and ``label_mask``, ``(batch, rows)``, with as many rows as the input
            with the most hidden tokens has; what is left over of others is token 0, -100 and 0.
        """
        import torch

        known = labels != IGNORED
        rows = int(known.sum(dim=1).max()) if known.numel() else 0
        # A stable sort: the tokens with a label first, in their order.
        tokens = known.int().argsort(dim=1, descending=True, stable=True)[:, :rows]
        mask = known.gather(1, tokens)
        nothing = torch.tensor(IGNORED, device=labels.device)
        return {
            "head_tokens": tokens * mask,
            "labels": torch.where(mask, labels.gather(1, tokens), nothing),
            "label_mask": mask.long(),
        }

    def kept(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        """``(batch, rows, 3)``, or without labels ``(batch, rows, 10)``; float32."""
        import torch

        logs = torch.log_softmax(logits.float(), dim=-1)
        best = logs.topk(1 if labels is not None else min(SHOWN, logs.shape[-1]), dim=-1)
        pairs = torch.stack([best.indices.float(), best.values], dim=-1).flatten(-2)
        if labels is None:
            return pairs
        return torch.cat([pairs, logs.gather(-1, labels.clamp_min(0)[..., None])], dim=-1)

    def answered_rows(
        self, logits: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
        """Those of the hidden tokens; a block counts as a text here."""
        known = labels != IGNORED
        return logits[known], labels[known], np.nonzero(known)[0]

    # ---- the model ----

    def num_logits(self, names: Sequence[str] | None) -> int:
        """0: the vocabulary decides."""
        return 0

    def fits_head(self, config: Any, names: Sequence[str] | None) -> bool:
        from distilnlp.problems.base import problem_of_config

        return isinstance(problem_of_config(config), MaskedLM)

    def config_settings(self, names: Sequence[str] | None) -> dict[str, Any]:
        """With the labels that a config has where nobody names any: those of another head mean nothing here."""
        return {"problem_type": self.name, **label_settings(("LABEL_0", "LABEL_1"))}

    def head_size(self, config: Any) -> int:
        """How many tokens the model knows."""
        return int(config.vocab_size)

    def has_labels(self, labels: Tensor) -> bool:
        return not labels.is_floating_point() and labels.ndim == 2

    def row_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy."""
        import torch.nn.functional as F

        # With the vocabulary last, as it lies in memory: else every loss would make a copy of it.
        rows = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
        return rows.view_as(labels)

    # ---- from logits to answers ----

    def check_logits(self, logits: ArrayLike) -> NDArray[Any]:
        """The rows as `kept` gives them."""
        values = np.asarray(logits)
        if values.ndim != 2 or (values.shape[1] != ROW and values.shape[1] % 2):
            raise RequestError(
                f"{self.name} needs rows of ({ROW} numbers): likeliest token, its log-probability, that of the hidden"
                f" token; got shape {np.shape(logits)}"
            )
        check_finite(values)
        return values

    def decide(self, logits: ArrayLike) -> NDArray[Any]:
        """The likeliest token of each row, ``(rows,)``."""
        return self.check_logits(logits)[:, 0].astype(np.int64)

    def answers(self, logits: ArrayLike, names: Sequence[str]) -> list[Answer]:
        """The likeliest token of each hidden one."""
        return [self._answer([row], names) for row in self.check_logits(logits)]

    def answers_of_texts(
        self,
        logits: NDArray[Any],
        names: Sequence[str],
        example: NDArray[np.int64],
        spans: Sequence[Any],
        texts: Sequence[tuple[Any, ...]] = (),
    ) -> list[Answer]:
        rows = self.check_logits(logits)
        return [self._answer(rows[example == text], names) for text in range(len(spans))]

    @staticmethod
    def _answer(rows: Sequence[NDArray[Any]], names: Sequence[str]) -> Answer:
        """Of a text; each blank has its likeliest tokens."""
        blanks = []
        for row in rows:
            pairs = row[: len(row) // 2 * 2].reshape(-1, 2)
            blanks.append({names[int(token)]: float(np.exp(logarithm)) for token, logarithm in pairs})
        first = [next(iter(blank.items())) for blank in blanks]
        alone = len(first) == 1
        return Answer(
            ", ".join(token for token, _ in first),
            first[0][1] if alone else None,
            blanks[0] if alone else {},
            blanks=tuple(blanks),
        )

    def check_decisions(self, values: Floats, which: str) -> None:
        check_classes(values, which, "numbers of tokens, from 0")

    def agreement(
        self,
        student: Floats,
        teacher: Floats,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """The share of rows with one likeliest token, its kappa, and how far apart the hidden token's logs are."""
        own, theirs = student[:, 0], teacher[:, 0]
        same = float(np.mean(own == theirs))
        _, codes = np.unique(np.concatenate([own, theirs]), return_inverse=True)
        rates = [np.bincount(each, minlength=codes.max() + 1) / len(own) for each in np.split(codes, 2)]
        return {
            "agreement": same,
            "kappa": beyond_chance(same, float(rates[0] @ rates[1])),
            "mae": float(self.distances(student, teacher, np.arange(len(student))).mean()),
        }

    def distances(self, student: Floats, teacher: Floats, examples: NDArray[np.int64]) -> Floats:
        """How far apart the log-probabilities of the hidden token are, in nats."""
        return np.asarray(np.abs(student[:, -1] - teacher[:, -1]))

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, Floats]:
        """The commonest token, and the log-probability that the tokens' shares give on the mean.

        Args:
            labels: tokens of the training texts.
            rows: how many.
        """
        known, counts = np.unique(labels, return_counts=True)
        shares = counts / counts.sum()
        most = int(shares.argmax())
        row = np.array([float(known[most]), np.log(shares[most]), float(shares @ np.log(shares))])
        return {"the commonest token of the training texts": np.tile(row, (rows, 1))}

    # ---- the model card ----

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return [
            f"Fills blanks in {inputs}",
            "It is a masked language model, to be fine-tuned on a task; its scores are those of whole words that were "
            "hidden in held-out texts.",
        ]

    def card_code(self) -> str:
        return (
            "for row in logits[inputs.input_ids == tokenizer.mask_token_id]:\n"
            "    print(tokenizer.decode(row.argmax(-1).item()))"
        )


class _MaskedReader(Reader):
    """What the readers share: texts as tokens and words, and the special tokens around them.

    Args:
        tokenizer: a fast one with a mask token.
        limit: tokens of an input, special ones included.
        share: of the tokens that a training hides.
    Raises:
        RequestError: as `Masking.of`; a limit that leaves no room.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int, share: float = SHARE) -> None:
        super().__init__(tokenizer, limit)
        self.share = share
        self.masking = Masking.of(tokenizer, share)
        self._begin, self._end = _frame(tokenizer)
        self.room = limit - len(self._begin) - len(self._end)
        if self.room < 1:
            raise RequestError(
                f"max_length={limit}: the special tokens alone have {limit - self.room}: give more",
                key=["max_length"],
            )

    def training(self) -> Reader:
        return BlockReader(self.tokenizer, self.limit, self.share)

    def measuring(self) -> Reader:
        return HeldOutReader(self.tokenizer, self.limit)

    def _texts(self, rows: Mapping[str, Sequence[Any]]) -> list[list[tuple[NDArray[np.int64], NDArray[np.int64]]]]:
        """The tokens of each row's texts, without special ones, and the word of each."""
        texts = [rows[name] for name in ("text", "text_pair") if name in rows]
        flat = [text for row in zip(*texts, strict=True) for text in row]
        encoded = self.tokenizer(flat, add_special_tokens=False, truncation=False, verbose=False)
        special = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        bounds = np.cumsum([0, *map(len, encoded["input_ids"])]).tolist()
        ids = np.fromiter(chain.from_iterable(encoded["input_ids"]), dtype=np.int64, count=bounds[-1])
        numbers = chain.from_iterable(word_numbers(encoded, place) for place in range(len(flat)))
        words = np.fromiter(numbers, dtype=np.int64, count=bounds[-1])
        words[np.isin(ids, [*special])] = -1  # no word, where somebody has written it
        found = [(ids[start:end], words[start:end]) for start, end in pairwise(bounds)]
        return [found[start : start + len(texts)] for start in range(0, len(found), len(texts))]

    def _joined(
        self, texts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Several texts in a row, with what ends a text between them; the words counted on."""
        ids: list[NDArray[np.int64]] = []
        words: list[NDArray[np.int64]] = []
        count = 0
        for own, of_words in texts:
            if not len(own):
                continue
            if ids:
                ids.append(np.asarray(self._end, dtype=np.int64))
                words.append(np.full(len(self._end), -1, dtype=np.int64))
            ids.append(own)
            words.append(np.where(of_words < 0, -1, of_words + count))
            count += int(of_words.max(initial=-1)) + 1
        nothing = np.empty(0, dtype=np.int64)
        return np.concatenate([nothing, *ids]), np.concatenate([nothing, *words])

    def _blocks(self, ids: NDArray[np.int64], words: NDArray[np.int64]) -> Iterator[slice]:
        """Pieces that fill an input, none of which begins within a word that would fit."""
        start = 0
        while start < len(ids):
            end = min(start + self.room, len(ids))
            if end < len(ids):
                cut = end
                while cut > start and words[cut] >= 0 and words[cut] == words[cut - 1]:
                    cut -= 1
                end = cut if cut > start else end
            yield slice(start, end)
            start = end

    def _framed(self, ids: NDArray[np.int64], words: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """An input, and the word of each of its tokens, counted from 0."""
        known = words >= 0
        own = np.where(known, words - words[known].min(initial=MOST), -1)
        return (
            [*self._begin, *ids.tolist(), *self._end],
            [*[-1] * len(self._begin), *own.tolist(), *[-1] * len(self._end)],
        )

    def _columns(self, inputs: Sequence[list[int]]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {
            "input_ids": [*inputs],
            "attention_mask": [[1] * len(ids) for ids in inputs],
        }
        if "token_type_ids" in self.tokenizer.model_input_names:
            columns["token_type_ids"] = [[0] * len(ids) for ids in inputs]
        return columns


class BlockReader(_MaskedReader):
    """Of a training: the texts one after the other, cut into inputs that are full; the last one is shorter.

    No token is lost, and no mask is drawn: the collator draws a new one each epoch. Every thousand rows, as they are
    read, end with a block of their own.
    """

    def training(self) -> Reader:
        return self

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        """With a column ``words``, whatever is asked; ``example`` is the first row of each block."""
        texts = self._texts(rows)
        flat = [text for row in texts for text in row]
        ids, of_words = self._joined(flat)
        lengths = [sum(len(own) + len(self._end) for own, _ in row if len(own)) for row in texts]
        ends = np.cumsum(lengths)
        inputs, numbers, example = [], [], []
        for part in self._blocks(ids, of_words):
            own, of_own = self._framed(ids[part], of_words[part])
            inputs.append(own)
            numbers.append(of_own)
            example.append(int(np.searchsorted(ends, part.start, side="right")))
        return Encoded({**self._columns(inputs), "words": numbers}, example)


class _RowReader(_MaskedReader):
    """What the readers of single texts share: a row of logits for each token with a label, joined by text."""

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        width = logits[0].shape[-1] if logits else ROW
        parts: list[list[Logits]] = [[] for _ in encoded.labels]
        for text, each in zip(encoded.example, logits, strict=True):
            parts[text].append(each)
        rows = [np.concatenate([np.empty((0, width), np.float32), *own]) for own in parts]
        return Joined(rows, [[] for _ in rows])

    def _encoded(self, inputs: Sequence[tuple[list[int], list[int]]], example: Sequence[int], texts: int) -> Encoded:
        columns = self._columns([ids for ids, _ in inputs])
        columns["labels"] = [labels for _, labels in inputs]
        own: list[list[int]] = [[] for _ in range(texts)]
        for text, (_, labels) in zip(example, inputs, strict=True):
            own[text].extend(label for label in labels if label != IGNORED)
        return Encoded(columns, [*example], labels=[np.array(each, dtype=np.int64) for each in own])


class HeldOutReader(_RowReader):
    """Of a measurement: every text by itself, long ones in pieces, with a mask that its tokens decide.

    So all models that read the same tokens are asked for the same words, whatever the batches, and whatever share of
    them they were trained with.
    """

    def measuring(self) -> Reader:
        return self

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        texts = self._texts(rows)
        inputs, example = [], []
        for row, of_row in enumerate(texts):
            ids, of_words = self._joined(of_row)
            for part in self._blocks(ids, of_words):
                seen, labels = self.masking.draw(*self._framed(ids[part], of_words[part]), [HELD_OUT], plain=True)
                if (labels != IGNORED).any():
                    inputs.append((seen.tolist(), labels.tolist()))
                    example.append(row)
        return self._encoded(inputs, example, len(texts))

    def tokens(self, rows: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
        return np.concatenate([np.empty(0, np.int64), *(ids for row in self._texts(rows) for ids, _ in row)])

    def kept(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        return MaskedLM().kept(logits, labels)


class BlankReader(_RowReader):
    """Of texts in which the mask token stands for what is asked; what is too long loses its end."""

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        """Raises RequestError for a text without a mask token among those that are read of it."""
        texts = self._texts(rows)
        inputs, cut = [], []
        for row, of_row in enumerate(texts):
            ids, of_words = self._joined(of_row)
            if len(ids) > self.room:
                cut.append(row)
            seen, _ = self._framed(ids[: self.room], of_words[: self.room])
            labels = [token if token == self.masking.mask else IGNORED for token in seen]
            if self.masking.mask not in seen:
                mask = self.tokenizer.mask_token
                read = f" in the {self.limit} tokens that are read of it" if row in cut else ""
                raise RequestError(
                    f"the text {rows['text'][row]!r:.60} has no {mask}{read}: write {mask} where a word is to be found"
                )
            inputs.append((seen, labels))
        return replace(self._encoded(inputs, range(len(texts)), len(texts)), cut=cut)

    def kept(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        return MaskedLM().kept(logits, None)


def _frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens before a text and behind it."""
    encoded = tokenizer(["a"], verbose=False)
    ids, alone = encoded["input_ids"][0], tokenizer(["a"], add_special_tokens=False, verbose=False)["input_ids"][0]
    start = next((i for i in range(len(ids)) if ids[i : i + len(alone)] == alone), 0)
    return ids[:start], ids[start + len(alone) :]
