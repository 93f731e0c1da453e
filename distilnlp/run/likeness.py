"""How alike the layers of a student and of its teacher are on a few held-out texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distilnlp.analysis.representation import attention_divergence, cka_map
from distilnlp.errors import RequestError
from distilnlp.html.evidence import Similarity
from distilnlp.models.backend import TorchBackend
from distilnlp.models.capture import Capture
from distilnlp.models.predictor import Predictor
from distilnlp.outputs import Needs, Outputs

__all__ = ["SAMPLE", "Pair", "compare_attention", "compare_layers", "read_layers", "read_texts"]

SAMPLE, TOKENS = 32, 64  # so that a large teacher takes seconds
LEAST_TOKENS = 64  # of fewer, layers are alike whatever they are


@dataclass(frozen=True)
class Pair:
    """A student and its teacher, whose insides are compared on texts that both read.

    Args:
        names: what student and teacher are called.
        places: their folders, or the teacher's Hub id.
        texts: of which the first few are read.
        pooling: of the teacher, as for `load_classifier`.
    """

    names: tuple[str, str]
    places: tuple[str, str]
    texts: Sequence[tuple[Any, ...]]
    pooling: str | None = None


def compare_layers(pair: Pair) -> Similarity:
    """Linear CKA of each layer of the student with each of the teacher, token by token.

    Raises:
        RequestError: one of them has no layers, or they read other tokens; there are too few.
    """
    own, others = _both(pair)
    if not np.array_equal(own.tokens, others.tokens):
        raise RequestError("student and teacher read other tokens, so that no two of their states are of one thing")
    if len(own.tokens) < LEAST_TOKENS:
        raise RequestError(f"the held-out texts have {len(own.tokens)} tokens, and {LEAST_TOKENS} are needed")
    how = f"token by token on {min(SAMPLE, len(pair.texts))} texts"
    return Similarity(*pair.names, cka_map(own.layers, others.layers), how)


def read_layers(pair: Pair) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """What each layer of student and teacher gives for the real tokens of the texts, ``(tokens, width)`` each.

    Raises:
        RequestError: one of them has no layers.
    """
    own, others = _both(pair)
    return own.layers, others.layers


def compare_attention(pair: Pair, layers: Sequence[tuple[int, int]]) -> dict[tuple[int, int], NDArray[np.float64]]:
    """``KL(teacher || student)`` of each head of a layer with each of another's, over the keys that both may look at.

    Args:
        pair: the two models.
        layers: of the student, each with one of the teacher.
    Returns:
        for both layers ``(student heads, teacher heads)``, nats, mean over the real tokens.
    Raises:
        RequestError: one of them has no layers, or they read other tokens.
    """
    own, others = _both(pair, frozenset(first for first, _ in layers), frozenset(second for _, second in layers))
    if not np.array_equal(own.tokens, others.tokens):
        raise RequestError("student and teacher read other tokens, so that no two of their heads look at the same")
    found = {}
    for first, second in layers:
        keys = own.real[:, None, None, :]
        for outputs, layer in ((own.outputs, first), (others.outputs, second)):
            if layer in outputs.allowed:
                keys = keys & outputs.allowed[layer]
        mine, theirs = (
            outputs.get_log_attention(layer, keys).exp().numpy()
            for outputs, layer in ((own.outputs, first), (others.outputs, second))
        )
        found[first, second] = attention_divergence(mine, theirs, own.real.numpy())
    return found


class _States:
    """Of the real tokens of some texts: their ids, ``(tokens,)``, and what each layer gives, ``(tokens, width)``."""

    def __init__(self, tokens: NDArray[np.int64], real: torch.Tensor, outputs: Outputs) -> None:
        self.tokens, self.real, self.outputs = tokens, real, outputs
        self.layers = [states[real].float().numpy() for _, states in sorted(outputs.hidden_states.items())]


def _both(
    pair: Pair, of_student: frozenset[int] = frozenset(), of_teacher: frozenset[int] = frozenset()
) -> tuple[_States, _States]:
    """Of student and teacher, with the attention of some of their layers."""
    student, teacher = pair.places
    own = _states(student, pair.texts, attention=of_student)
    return own, _states(teacher, pair.texts, pair.pooling, of_teacher)


def _states(
    name: str, texts: Sequence[tuple[Any, ...]], pooling: str | None = None, attention: frozenset[int] = frozenset()
) -> _States:
    backend, batch = read_texts(name, texts, pooling)
    depth = getattr(backend.config, "num_hidden_layers", None)
    if not depth:
        raise RequestError(_NO_LAYERS)
    needs = Needs(hidden_states=frozenset(range(depth + 1)), attention=attention)
    capture = Capture(backend.pretrained, needs, learns=False)
    try:
        with backend.evaluating():
            found = capture.run(batch).detached()
    finally:
        capture.remove()
    real = batch["attention_mask"].bool()
    return _States(batch["input_ids"][real].numpy(), real, found)


_NO_LAYERS = "one of the two models has no layers of its own that could be looked at"


def read_texts(
    name: str, texts: Sequence[tuple[Any, ...]], pooling: str | None = None
) -> tuple[TorchBackend, dict[str, torch.Tensor]]:
    """A model whose inside can be looked at, on the CPU, and the first few texts as it reads them.

    Args:
        name: its folder or Hub id.
        texts: of which `SAMPLE` are read, of each as many tokens as take seconds.
        pooling: as for `load_classifier`.
    Raises:
        RequestError: an exported model.
    """
    predictor = Predictor.load(name, device=torch.device("cpu"), pooling=pooling)
    if not isinstance(predictor.backend, TorchBackend):
        raise RequestError(_NO_LAYERS)
    parts = [[_text(part) for part in column] for column in zip(*texts[:SAMPLE], strict=True)]
    limit = min(TOKENS, predictor.max_length)
    read = predictor.tokenizer(*parts, truncation=True, max_length=limit, padding=True, return_tensors="pt")
    return predictor.backend, dict(read)


def _text(part: object) -> str:
    """Of words, or of the texts of a query, one text."""
    return " ".join(map(str, part)) if isinstance(part, list | tuple) else str(part)
