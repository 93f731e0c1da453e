"""How alike the layers of a student and of its teacher are on a few held-out texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distilnlp.analysis.representation import cka_map
from distilnlp.errors import RequestError
from distilnlp.html.evidence import Similarity
from distilnlp.models.backend import TorchBackend
from distilnlp.models.capture import Capture
from distilnlp.models.predictor import Predictor
from distilnlp.outputs import Needs

__all__ = ["SAMPLE", "compare_layers"]

SAMPLE, TOKENS = 32, 64  # so that a large teacher takes seconds
LEAST_TOKENS = 64  # of fewer, layers are alike whatever they are


def compare_layers(
    student: str, teacher: str, texts: Sequence[tuple[Any, ...]], names: tuple[str, str], pooling: str | None = None
) -> Similarity:
    """Linear CKA of each layer of one model with each of another, token by token.

    Args:
        student, teacher: folders, or the teacher a Hub id.
        texts: of which the first few are read.
        names: what the two models are called.
        pooling: of the teacher, as for `load_classifier`.
    Raises:
        RequestError: one of them has no layers, or they read other tokens; there are too few.
    """
    own, others = _states(student, texts), _states(teacher, texts, pooling)
    if not np.array_equal(own.tokens, others.tokens):
        raise RequestError("student and teacher read other tokens, so that no two of their states are of one thing")
    if len(own.tokens) < LEAST_TOKENS:
        raise RequestError(f"the held-out texts have {len(own.tokens)} tokens, and {LEAST_TOKENS} are needed")
    return Similarity(*names, cka_map(own.layers, others.layers), f"token by token on {min(SAMPLE, len(texts))} texts")


class _States:
    """Of the real tokens of some texts: their ids, ``(tokens,)``, and what each layer gives, ``(tokens, width)``."""

    def __init__(self, tokens: NDArray[np.int64], layers: list[NDArray[np.float32]]) -> None:
        self.tokens, self.layers = tokens, layers


def _states(name: str, texts: Sequence[tuple[Any, ...]], pooling: str | None = None) -> _States:
    predictor = Predictor.load(name, device=torch.device("cpu"), pooling=pooling)
    backend, tokenizer = predictor.backend, predictor.tokenizer
    depth = getattr(backend.config, "num_hidden_layers", None)
    if not isinstance(backend, TorchBackend) or not depth:
        raise RequestError("one of the two models has no layers of its own that could be looked at")
    parts = [[_text(part) for part in column] for column in zip(*texts[:SAMPLE], strict=True)]
    limit = min(TOKENS, predictor.max_length)
    batch = tokenizer(*parts, truncation=True, max_length=limit, padding=True, return_tensors="pt")
    capture = Capture(backend.pretrained, Needs(hidden_states=frozenset(range(depth + 1))), learns=False)
    try:
        with backend.evaluating():
            found = capture.run(batch)
    finally:
        capture.remove()
    real = batch["attention_mask"].bool()
    layers = [found.hidden_states[layer][real].float().numpy() for layer in range(depth + 1)]
    return _States(batch["input_ids"][real].numpy(), layers)


def _text(part: object) -> str:
    """Of words, or of the texts of a query, one text."""
    return " ".join(map(str, part)) if isinstance(part, list | tuple) else str(part)
