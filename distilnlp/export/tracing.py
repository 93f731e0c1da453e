"""What the formats share where a model of transformers is traced: what is traced, how quietly, and what is refused."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.exported_file import STATES, VECTORS
from distilnlp.models.checks import one_line
from distilnlp.models.sentence_encoder import SentenceEncoder

__all__ = ["group_of", "quiet_exporter", "refused", "traceable", "tracing"]

# The last list of layers that a module stands in, with its number, and the part of the layer.
_IN_LAYER = re.compile(r"(?:.*\.)?(\w+\.\d+)\.(\w+)")
_ROOT = re.compile(r"^(encoder\.)?\w+\.(?=\w)")


def traceable(model: PreTrainedModel) -> nn.Module:
    """What is traced of a model.

    Its outputs are those of the model's head: ``logits``, or ``start_logits`` and ``end_logits``; of a sentence
    encoder ``last_hidden_state`` and ``sentence_embedding``.
    """
    return _Vectors(model) if isinstance(model, SentenceEncoder) else model


class _Vectors(nn.Module):
    """A sentence encoder with its tokens' states beside its vectors, which is what libraries look for in a file."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = encoder.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **others: Tensor) -> dict[str, Tensor]:
        states = self.encoder.states(input_ids=input_ids, attention_mask=attention_mask, **others)
        return {STATES: states, VECTORS: self.encoder.vectors(states, attention_mask)}


@contextlib.contextmanager
def tracing(model: PreTrainedModel) -> Iterator[None]:
    """Trace a model in here: quietly, without gradients.

    Raises:
        RequestError: it cannot be traced, with what the exporter says of it.
    """
    try:
        with quiet_exporter(), torch.no_grad():
            yield
    except Exception as error:  # of torch, transformers, and what writes the format: they raise what they like
        cause = error.__cause__ or error
        raise RequestError(
            f"{model.config.name_or_path or type(model).__name__} cannot be exported: {type(model).__name__} is not an"
            f" architecture that the exporter of transformers can trace ({one_line(cause)})"
        ) from error


@contextlib.contextmanager
def refused(what: str) -> Iterator[None]:
    """Make a graph smaller in here, quietly.

    Args:
        what: cannot be done where an error is raised: ``be quantised``.
    Raises:
        RequestError: it cannot, with what the tool says.
    """
    try:
        with quiet_exporter():
            yield
    except Exception as error:  # of the tools: they raise what they like
        raise RequestError(f"the model cannot {what} ({one_line(error)}): export it in fp32") from error


def group_of(scope: str) -> str:
    """The group of layers that a module is quantised in or left out with, by the module's place in its model.

    A group is a part of a layer (``layer.0.attention``), the embeddings, or a linear map outside of the layers.
    """
    found = _IN_LAYER.match(scope)
    if found:
        return f"{found[1]}.{found[2]}"
    parts = scope.split(".")
    return "embeddings" if any("embedding" in part for part in parts[:-1]) else _ROOT.sub("", scope) or "head"


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without what the exporters print, warn of and log: of their own parts, not of the model."""
    disabled, handlers = logging.root.manager.disable, [*logging.root.handlers]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers  # whoever logs by the module's own functions adds one
