"""Texts in, logits and decisions out: the one way in which texts become batches outside of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.models.backend import Backend
from distilnlp.models.checks import check_fits, check_token_types, token_limit
from distilnlp.models.chosen_tokens import HEAD_TOKENS
from distilnlp.models.exits import check_threshold
from distilnlp.models.load_backend import load_backend, with_exits
from distilnlp.models.loading import load_tokenizer
from distilnlp.models.reading import reading_settings
from distilnlp.models.task_heads import check_one_task
from distilnlp.problems import DECISION_THRESHOLDS, IGNORED, Answer, Problem, problem_of_config
from distilnlp.problems.base import check_finite
from distilnlp.problems.reading import Encoded, Reader, Spans
from distilnlp.progress import doing
from distilnlp.typed import typed

__all__ = ["Answered", "Predictor", "Text"]

Words = tuple[str, ...] | list[str]
Text = str | tuple[str | Words, ...]


@dataclass(frozen=True)
class Answered:
    """A model's rows of logits for some texts.

    Shapes:
        example: ``(rows,)``, the place of each row's text among the texts; each once, in order, of kinds with one
            answer a text.
        logits: ``(rows, classes)``, float32 whatever the precision of the model.
    Args:
        spans: of each text where what its rows are about stands in it, in characters: its words, where the kind
            answers by word, or its answer.
        found: the text that each row is about, where the kind's answers are texts (`Problem.found`); else None.
        labels: ``(rows,)`` where the texts themselves tell them; else None.
    """

    example: NDArray[np.int64]
    logits: NDArray[np.float32]
    spans: list[Spans]
    found: list[str] | None = None
    labels: NDArray[np.int64] | None = None


class Predictor:
    """A model with its tokenizer, ready for texts.

    Texts of like length meet in a batch, each batch is padded to its longest text, and the answers come in the order
    of the texts.

    Args:
        backend: gives the logits.
        tokenizer: the model's.
        max_length: tokens that texts are cut to, 1 or more beyond the special ones; never more than the model takes.
            None: as many as the model takes, at most 512.
        batch_size: texts at a time, 1 or more.
    Raises:
        RequestError: a ``max_length`` that leaves no token for the text, a ``batch_size`` below 1; a tokenizer with
            tokens that the model has no embedding for.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> None:
        self.backend = backend
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_length = token_limit(backend.config, tokenizer, max_length)
        if batch_size < 1:
            raise RequestError(f"batch_size={batch_size}: a batch needs at least one text, give 1 or more")
        self._check_length(parts=1)
        self.reader = self.problem.reader(tokenizer, self.max_length, reading_settings(backend.config))
        check_fits(backend.config, tokenizer)
        self._vocabulary: int | None = backend.config.to_dict().get("vocab_size")

    @classmethod
    @typed
    def load(
        cls,
        name: str | Path,
        *,
        max_length: int | None = None,
        batch_size: int = 32,
        device: torch.device | None = None,
        pooling: str | None = None,
        problem: Problem | None = None,
        exit_threshold: float | None = None,
    ) -> Predictor:
        """The predictor of a fine-tuned model: in float32, or of an exported one as its file is.

        Args:
            name: a folder or Hub id, or an ONNX file (`load_backend`).
            max_length, batch_size: as for `Predictor`.
            device: default: the accelerator where there is one; an exported model is on the CPU.
            pooling: as for `load_classifier`.
            problem: the kind of task that it is asked about; None: that of the model.
            exit_threshold: how uncertain an exit may be of a text that leaves there, 0 to 1 (`exiting_backend`);
                None: every text runs through all layers.
        Raises:
            RequestError: no such model, one without a head of its own or without a tokenizer; one without exits where
                a threshold is given, or a threshold outside of 0..1; as `Predictor`.
        """
        if exit_threshold is not None:
            check_threshold(exit_threshold)
        backend = load_backend(name, problem=problem, pooling=pooling, device=device)
        check_one_task(backend.config, str(name))
        if exit_threshold is not None:
            backend = with_exits(backend, name, exit_threshold)
        return cls(backend, load_tokenizer(name), max_length=max_length, batch_size=batch_size)

    @property
    def problem(self) -> Problem:
        """The kind of task of the model's head."""
        return problem_of_config(self.backend.config)

    @property
    def label_names(self) -> Sequence[str]:
        """What the model's config calls each logit, in their order; of a head for the vocabulary the tokens."""
        if self.problem.labels_itself:
            return _Vocabulary(self.tokenizer)
        names = self.backend.config.id2label or {}
        return tuple(str(name) for _, name in sorted((int(index), name) for index, name in names.items()))

    def encode(self, texts: Sequence[Text]) -> dict[str, Tensor]:
        """A batch on the backend's device: ``(inputs, tokens)`` for each column that it reads.

        Held-out texts, as `answered` reads them.

        Args:
            texts: a text each, or ``(text,)`` or ``(text, pair)``; all of one kind. Where the kind answers by word, a
                text may be a list of words; where it ranks, the pair of a query is the list of its texts.
        Raises:
            RequestError: texts that are none or of two kinds; a tokenizer that is not the model's.
        """
        batch = self._batch(_read(self.reader.measuring(), self.checked(texts)).columns)
        return {name: batch[name] for name in batch if name in self.backend.columns or name == HEAD_TOKENS}

    def _batch(self, columns: Mapping[str, list[Any]]) -> dict[str, Tensor]:
        """Inputs padded to the longest, on the device; and which tokens the head answers for, where not for all."""
        read = {name: columns[name] for name in self.tokenizer.model_input_names if name in columns}
        batch = self.tokenizer.pad(read, padding=True, return_tensors="pt", verbose=False)
        highest = int(batch["input_ids"].max())
        if self._vocabulary is not None and highest >= self._vocabulary:
            raise RequestError(
                f"the tokenizer gives token {highest} and the model knows {self._vocabulary}, counted from 0: it is "
                "another model's, load the tokenizer of the model's own folder"
            )
        check_token_types(self.backend.config, batch)
        found = {name: batch[name] for name in batch if name in self.backend.columns}
        if "labels" in columns:
            padded = torch.full(batch["input_ids"].shape, IGNORED)
            for row, (own, mask) in enumerate(zip(columns["labels"], batch["attention_mask"].bool(), strict=True)):
                padded[row, mask] = torch.tensor(own)
            found.update(self.problem.chosen(padded))
        return {name: tensor.to(self.backend.device) for name, tensor in found.items()}

    def checked(self, texts: Sequence[Text]) -> list[tuple[Any, ...]]:
        """The texts as tuples of one length, of strings or lists of them, as the kind of task reads them.

        Raises:
            RequestError: as `encode`.
        """
        if isinstance(texts, str):
            raise RequestError("texts is one string, which would be read letter by letter: give a list of texts")
        rows, problem = [(text,) if isinstance(text, str) else text for text in texts], self.problem
        if not rows:
            raise RequestError("there is nothing to predict: give at least one text")
        for place, row in enumerate(rows):
            if not isinstance(row, tuple | list) or len(row) not in (1, 2):
                raise RequestError(f"texts[{place}] is {row!r:.60}: a string, (text,) or (text, pair) is needed")
            wrong = next((i for i, part in enumerate(row) if not _is_text(part, i in problem.lists)), None)
            if wrong is not None:
                needed = "a string, or a list of strings," if wrong in problem.lists else "a string"
                which = f"texts[{place}][{wrong}]" if len(row) == 2 else f"texts[{place}]"
                raise RequestError(f"{which} is {row[wrong]!r:.60}: {needed} is needed")
            if len(row) != len(rows[0]):
                what = "a pair" if len(row) == 2 else "one text"
                raise RequestError(
                    f"texts[{place}] is {what} and texts[0] is not: give single texts only, or pairs only"
                )
        if len(rows[0]) not in problem.parts:
            pairs = 2 in problem.parts
            needed = "two texts, give the second of each too" if pairs else "single texts, leave the second out"
            raise RequestError(f"a model for {problem.name} reads {needed} (--text-pair)")
        self._check_length(parts=len(rows[0]))
        return [tuple(row) for row in rows]

    def _check_length(self, parts: int) -> None:
        """A tokenizer leaves texts uncut, without a word, where not even the special tokens have room."""
        special = self.tokenizer.num_special_tokens_to_add(pair=parts == 2)
        if self.max_length <= special:
            what = "a pair" if parts == 2 else "a text"
            raise RequestError(
                f"max_length={self.max_length}: {what} has {special} special tokens, give {special + 1} or more"
            )

    def _batches(
        self, rows: Sequence[tuple[Any, ...]], reader: Reader | None = None
    ) -> Iterator[tuple[list[int], Encoded]]:
        """The texts in batches of like length, each with the places of its texts."""
        order = sorted(range(len(rows)), key=lambda i: sum(_letters(part) for part in rows[i]))
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            yield places, _read(reader or self.reader, [rows[i] for i in places])

    def answered(self, texts: Sequence[Text], *, held_out: bool = True) -> Answered:
        """The rows of logits of each text, in the order of the texts.

        Args:
            texts: as for `encode`.
            held_out: whether the model is measured on them: where the texts are their own labels, some words are then
                hidden in them; else they have blanks of their own.
        Raises:
            RequestError: as `encode`, before the model is asked; or no texts.
            RunError: logits that are not finite numbers.
        """
        rows, reader = self.checked(texts), self.reader.measuring() if held_out else self.reader
        width = self.problem.head_size(self.backend.config)
        read: list[tuple[list[int], Encoded, list[tuple[Tensor, Tensor | None]]]] = []
        sizes = [sum(map(_letters, row)) for row in rows]  # a batch of short texts takes less
        with self.backend.evaluating(), doing(f"answering {len(rows)} texts", sum(sizes)) as advance:
            for places, encoded in self._batches(rows, reader):
                parts = []
                for start in range(0, len(encoded.example), self.batch_size):
                    part = slice(start, start + self.batch_size)
                    batch = self._batch({name: values[part] for name, values in encoded.columns.items()})
                    # Left on the device: to fetch them would be to wait for it, when the next texts can be tokenised.
                    # A copy, for a runtime may write its next answer over this one.
                    own = {name: batch[name] for name in batch if name in self.backend.columns or name == HEAD_TOKENS}
                    logits = reader.kept(self.backend(own), batch.get("labels"))
                    mask = batch.get("label_mask", batch.get("attention_mask"))
                    parts.append((logits.to(torch.float32, copy=True), mask))
                read.append((places, encoded, parts))
                advance(sum(sizes[place] for place in places))
        of_text: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(rows)
        spans: list[Spans] = [[] for _ in rows]
        labels: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(rows)
        for places, encoded, parts in read:
            for place, known in zip(places, encoded.labels, strict=False):
                labels[place] = known
            joined = reader.join(encoded, [each for part in parts for each in _of_inputs(*part)])
            for place, rows_of_it, stands in zip(places, *joined, strict=True):
                of_text[place], spans[place] = rows_of_it, stands
        example = np.repeat(np.arange(len(rows)), [len(each) for each in of_text])
        # A text without a word has no row, and nobody knows then how wide one would be.
        found = np.concatenate([each for each in of_text if len(each)] or [np.empty((0, width), np.float32)])
        check_finite(found)
        own_labels = np.concatenate(labels) if self.problem.labels_itself else None
        return Answered(example, found, spans, self.problem.found(rows, spans), own_labels)

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """``(rows, classes)``, in the order of the texts, as `answered`; a row for each text, or for each word."""
        return self.answered(texts).logits

    def decide(self, texts: Sequence[Text]) -> NDArray[Any]:
        """The decisions: classes ``(texts,)``, numbers ``(texts,)``, or 0 and 1 ``(texts, labels)``.

        Raises:
            RequestError, RunError: as `logits`.
        """
        found = self.answered(texts)
        return self.problem.decisions(found.logits, found.found)

    def choose_thresholds(self, texts: Sequence[Text], labels: ArrayLike, *, one: bool = False) -> tuple[float, ...]:
        """Choose the probability above which each label holds, and keep it in the model's config.

        From then on `decide` and `answers` use it, and so does who loads the model once it is saved.

        Args:
            texts: that the model was not trained on: on others its probabilities, and so the thresholds, are too high.
            labels: ``(texts, labels)`` of 0 and 1, in the order of the logits.
            one: the same threshold for all labels.
        Raises:
            RequestError: as `logits`; a model that is not for several labels a text; labels of another shape.
        """
        answered, free = self.answered(texts), self.problem.decided_by(None)
        chosen = free.choose_thresholds_of(answered.logits, answered.found, np.asarray(labels), one=one)
        setattr(self.backend.config, DECISION_THRESHOLDS, list(chosen))
        return chosen

    def answers(self, texts: Sequence[Text]) -> list[Answer]:
        """The decisions with names and probabilities, one for each text. Raises: as `decide`."""
        found, rows = self.answered(texts, held_out=False), self.checked(texts)
        return self.problem.answers_of_texts(found.logits, self.label_names, found.example, found.spans, rows)


class _Vocabulary(Sequence[str]):
    """The tokens as they are read, each decoded when somebody asks for it first."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __getitem__(self, place: Any) -> Any:
        if place not in self._known:
            self._known[place] = str(self._tokenizer.decode([place])).strip()
        return self._known[place]


def _read(reader: Reader, rows: Sequence[tuple[Any, ...]]) -> Encoded:
    columns = zip(*rows, strict=True)
    return reader.encode(dict(zip(("text", "text_pair"), map(list, columns), strict=False)))


def _is_text(value: object, may_be_list: bool) -> bool:
    """A string, or a list of some."""
    if may_be_list and isinstance(value, list | tuple):
        return len(value) > 0 and all(isinstance(word, str) for word in value)
    return isinstance(value, str)


def _letters(part: str | Words) -> int:
    return len(part) if isinstance(part, str) else sum(len(word) + 1 for word in part)


def _of_inputs(logits: Tensor, mask: Tensor | None) -> list[NDArray[np.float32]]:
    """The logits of each input of a batch, of a head by token without padding."""
    numbers = logits.cpu().numpy()
    if numbers.ndim == 2 or mask is None:
        return list(numbers)
    return [each[real] for each, real in zip(numbers, mask.bool().cpu().numpy(), strict=True)]
