"""Texts in, logits and decisions out: the one way in which texts become batches outside of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distilnlp.cut_texts import CutTexts
from distilnlp.errors import RequestError
from distilnlp.models.backend import Backend, TorchBackend, best_device
from distilnlp.models.checks import check_fits, check_token_types, token_limit
from distilnlp.models.loading import load_classifier, load_tokenizer
from distilnlp.problems import DECISION_THRESHOLDS, Answer, Problem, problem_of_config
from distilnlp.problems.base import check_finite
from distilnlp.typed import typed

__all__ = ["Predictor", "Text"]

Text = str | tuple[str, ...]


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
        self._texts = CutTexts(tokenizer, self.max_length)
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
    ) -> Predictor:
        """The predictor of a fine-tuned model, in float32.

        Args:
            name: a folder or Hub id.
            max_length, batch_size: as for `Predictor`.
            device: default: the accelerator where there is one (`best_device`).
        Raises:
            RequestError: no such model, one without a head of its own or without a tokenizer; as `Predictor`.
        """
        backend = TorchBackend(load_classifier(name, require_head=True), best_device() if device is None else device)
        return cls(backend, load_tokenizer(name), max_length=max_length, batch_size=batch_size)

    @property
    def problem(self) -> Problem:
        """The kind of task of the model's head."""
        return problem_of_config(self.backend.config)

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the model's config calls each logit, in their order."""
        names = self.backend.config.id2label or {}
        return tuple(str(name) for _, name in sorted((int(index), name) for index, name in names.items()))

    def encode(self, texts: Sequence[Text]) -> dict[str, Tensor]:
        """A batch on the backend's device: ``(texts, tokens)`` for each input that it reads.

        Args:
            texts: a text each, or ``(text,)`` or ``(text, pair)``; all of one kind.
        Raises:
            RequestError: texts that are none or of two kinds; a tokenizer that is not the model's.
        """
        return self._encode(self._rows(texts))

    def _encode(self, rows: Sequence[tuple[str, ...]]) -> dict[str, Tensor]:
        columns = [list(column) for column in zip(*rows, strict=True)]
        batch = self._texts.encode(*columns, padding=True, return_tensors="pt")
        highest = int(batch["input_ids"].max())
        if self._vocabulary is not None and highest >= self._vocabulary:
            raise RequestError(
                f"the tokenizer gives token {highest} and the model knows {self._vocabulary}, counted from 0: it is "
                "another model's, load the tokenizer of the model's own folder"
            )
        check_token_types(self.backend.config, batch)
        return {name: batch[name].to(self.backend.device) for name in batch if name in self.backend.columns}

    def _rows(self, texts: Sequence[Text]) -> list[tuple[str, ...]]:
        """The texts as tuples of one length, of strings and nothing else."""
        if isinstance(texts, str):
            raise RequestError("texts is one string, which would be read letter by letter: give a list of texts")
        rows = [(text,) if isinstance(text, str) else text for text in texts]
        if not rows:
            raise RequestError("there is nothing to predict: give at least one text")
        for place, row in enumerate(rows):
            if not isinstance(row, tuple | list) or len(row) not in (1, 2) or not all(isinstance(s, str) for s in row):
                raise RequestError(f"texts[{place}] is {row!r:.60}: a string, (text,) or (text, pair) is needed")
            if len(row) != len(rows[0]):
                kind = "a pair" if len(row) == 2 else "one text"
                raise RequestError(
                    f"texts[{place}] is {kind} and texts[0] is not: give single texts only, or pairs only"
                )
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

    def batches(self, texts: Sequence[Text]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """The texts in batches of like length, each with the places of its texts in ``texts``."""
        rows = self._rows(texts)
        order = sorted(range(len(rows)), key=lambda i: sum(map(len, rows[i])))
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            yield places, self._encode([rows[i] for i in places])

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """``(texts, classes)``, in the order of the texts; float32 whatever the precision of the model.

        Raises:
            RequestError: as `encode`, before the model is asked; or no texts.
            RunError: logits that are not finite numbers.
        """
        order: list[int] = []
        parts: list[Tensor] = []
        with self.backend.evaluating():
            for places, batch in self.batches(texts):
                order += places
                # Left on the device: to fetch them would be to wait for it, when the next texts can be tokenised.
                # A copy, for a runtime may write its next answer over this one.
                parts.append(self.backend(batch).to(torch.float32, copy=True))
        found = torch.cat(parts).cpu().numpy()
        check_finite(found)
        logits = np.empty_like(found)
        logits[order] = found
        return logits

    def decide(self, texts: Sequence[Text]) -> NDArray[Any]:
        """The decisions: classes ``(texts,)``, numbers ``(texts,)``, or 0 and 1 ``(texts, labels)``.

        Raises:
            RequestError, RunError: as `logits`.
        """
        return self.problem.decide(self.logits(texts))

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
        chosen = self.problem.decided_by(None).choose_thresholds(self.logits(texts), labels, one=one)
        setattr(self.backend.config, DECISION_THRESHOLDS, list(chosen))
        return chosen

    def answers(self, texts: Sequence[Text]) -> list[Answer]:
        """The decisions with names and probabilities. Raises: as `decide`."""
        return self.problem.answers(self.logits(texts), self.label_names)
