"""Answers batches with an exported model: what is alike whatever runtime runs it; no weights of torch are loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig

from distilnlp.errors import RequestError, RunError
from distilnlp.exported_file import LOGITS, SPAN, VECTORS
from distilnlp.models.checks import check_answer_shapes, one_line
from distilnlp.models.chosen_tokens import HEAD_TOKENS
from distilnlp.models.labels import rename_answers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ExportedBackend"]

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
# Where the answer of an exported model is, by the names that exporters use; the first that is there.
ANSWERS = ((LOGITS,), SPAN, (VECTORS,))


class ExportedBackend(ABC):
    """An exported model, on the CPU, with as many threads as torch has.

    Args:
        path: the file that it is named by.
        config: of the model; changed where its labels are put into another order (`align`).
        name: of the model, for messages.
    Raises:
        RequestError: a file that is none of the format; one that the runtime cannot run, that reads other inputs than
            texts, or that does not answer as the config says; the extra for the format is not installed.
    """

    runtime: str  # as people write it

    def __init__(self, path: Path, config: PreTrainedConfig, name: str | None = None) -> None:
        self.path, self.config, self.name = path, config, name or str(path)
        try:
            inputs, given = self._open()
        except RequestError:
            raise
        except Exception as error:  # an operator that it does not have, an attribute that no operator has
            raise RequestError(
                f"{self.runtime} cannot run {path} ({one_line(error)}): export the model again"
            ) from error
        self.columns = frozenset(inputs)
        answer = next((names for names in ANSWERS if {*names} <= {*given}), None)
        if "input_ids" not in self.columns or self.columns - INPUTS or answer is None:
            raise RequestError(
                f"{path} reads {', '.join(sorted(self.columns))} and gives {', '.join(given)}: a model that reads "
                "tokens (input_ids, attention_mask) and gives logits is needed"
            )
        self._answer: tuple[str, ...] = answer
        self._order: list[int] | None = None
        check_answer_shapes(self, config, self.columns, self.name)

    @abstractmethod
    def _open(self) -> tuple[list[str], list[str]]:
        """Make the file ready to run; the names of what it reads and of what it gives."""

    @abstractmethod
    def _run(self, feed: dict[str, NDArray[Any]], answers: Sequence[str]) -> list[NDArray[Any]]:
        """What it gives by these names."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """Of the weights: ``float32``, ``float16`` or ``int8``, where some of them are in that."""

    @abstractmethod
    def count_parameters(self) -> tuple[int, int]:
        """Numbers of the weights in the file, all and without embeddings; what quantising adds is not counted."""

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """An exported model knows no other way."""
        yield

    def align(self, label_names: Sequence[str]) -> None:
        """Put its answers into the order of a task's labels.

        Args:
            label_names: the same labels; where those of the model have no names, they are taken to be in this order.
        Raises:
            RequestError: other labels.
        """
        self._order = rename_answers(self.config, label_names)

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits, as `Backend` says."""
        feed = {name: batch[name].numpy() for name in self.columns}
        try:
            found = self._run(feed, self._answer)
        except Exception as error:  # a shape that was fixed when it was exported, memory
            shape = list(batch["input_ids"].shape)
            raise RunError(f"{self.name} cannot answer texts of shape {shape} ({one_line(error)})") from error
        arrays = [torch.from_numpy(np.asarray(each)) for each in found]
        logits = arrays[0] if len(arrays) == 1 else torch.stack(arrays, dim=-1)
        if HEAD_TOKENS in batch:
            chosen = batch[HEAD_TOKENS]
            logits = logits.gather(1, chosen[..., None].expand(-1, -1, logits.shape[-1]))
        return logits if self._order is None else logits[..., self._order]

    def wait(self) -> None:  # noqa: B027 - nothing to do, for any of them
        """Its answers are there when it returns."""
