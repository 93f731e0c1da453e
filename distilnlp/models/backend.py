"""Whatever answers a tokenised batch: a model of torch, or one that was exported to another runtime."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.models.chosen_tokens import HEAD_TOKENS, answering_for
from distilnlp.models.encoder import base_model, count_parameters
from distilnlp.models.heads import head_logits
from distilnlp.models.labels import align_labels

__all__ = ["Backend", "TorchBackend", "best_device"]


class Backend(Protocol):
    """Whatever turns a tokenised batch into logits: a model of torch, or one that was exported to another runtime.

    Attributes:
        config: of the model: its problem, its labels, how many tokens it takes.
        columns: the names of the inputs that it reads.
        device: where its inputs belong.
        dtype: of its weights, ``float32`` for example.
    """

    config: PreTrainedConfig
    columns: frozenset[str]

    @property
    def device(self) -> torch.device:
        """Where its inputs belong."""
        ...

    @property
    def dtype(self) -> str:
        """Of its weights."""
        ...

    def align(self, label_names: Sequence[str]) -> None:
        """Put its answers, and the labels in its config, into the order of a task's labels.

        Raises RequestError where they are others.
        """
        ...

    def evaluating(self) -> AbstractContextManager[None]:
        """While it holds the backend answers as in evaluation; afterwards all is as it was before."""
        ...

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits ``(batch, classes)``, or ``(batch, tokens, classes)`` of a head by token.

        Where the batch has ``head_tokens``, ``(batch, rows)``, the head answers for these tokens alone:
        ``(batch, rows, classes)``.
        The device may still be computing them.
        """
        ...

    def wait(self) -> None:
        """Wait until the device has finished."""
        ...

    def count_parameters(self) -> tuple[int, int]:
        """All parameters, and those that are no embeddings."""
        ...


class TorchBackend:
    """A model of transformers, where it is and in the precision that it has.

    Args:
        model: with a head; may be wrapped (PEFT).
        device: where it is moved; None leaves it where it is.
    """

    def __init__(self, model: nn.Module, device: torch.device | None = None) -> None:
        inner = base_model(model)
        self.model = model if device is None else nn.Module.to(model, device)
        self.config: PreTrainedConfig = inner.config
        self._inner = inner
        self.columns = frozenset(inspect.signature(inner.forward).parameters) - {"labels"}

    @property
    def pretrained(self) -> PreTrainedModel:
        """The model of transformers, whatever is wrapped around it."""
        return self._inner

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> str:
        """Of the weights."""
        return str(next(self.model.parameters()).dtype).removeprefix("torch.")

    def align(self, label_names: Sequence[str]) -> None:
        """As `distilnlp.models.labels.align_labels`."""
        align_labels(self._inner, label_names)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients, for every module; afterwards each is as it was, frozen parts included."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            # Not inference_mode: tables that a model makes on its first call would be unusable in training afterwards.
            with torch.no_grad():
                yield
        finally:
            for module, training in modes:
                module.training = training

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits ``(batch, classes)``, ``(batch, tokens, classes)``, ``(batch, rows, classes)`` of `head_tokens`."""
        inputs = {name: tensor for name, tensor in batch.items() if name != HEAD_TOKENS}
        with answering_for(self._inner, batch.get(HEAD_TOKENS)):
            return head_logits(self.model(**inputs))

    def wait(self) -> None:
        """Wait for an accelerator."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def count_parameters(self) -> tuple[int, int]:
        """As `distilnlp.models.encoder.count_parameters`."""
        return count_parameters(self.model)


def best_device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if accelerator is None else accelerator
