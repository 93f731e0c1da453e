"""How a teacher's answers lie on disk: each example as long as it is, found by its tokens."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from distilnlp.checksums import checksum
from distilnlp.outputs import Outputs

__all__ = ["Layout", "Per", "Rows", "Stored", "items_of", "layout_of"]

CHUNK_TOKENS, CHUNK_ROWS = 4096, 256  # of one forward pass of the teacher that fills the cache

Per = Literal["example", "token", "pair"]
# What one item of a group belongs to, and where in the model's tensor (batch, ...) the tokens stand. Of the logits
# their shape tells it.
GROUPS: dict[str, Per] = {
    "hidden_states": "token",
    "queries": "token",
    "keys": "token",
    "values": "token",
    "attentions": "pair",
    "input_gradients": "token",
}


class Rows:
    """The examples of a data set, each once, shortest first, known by a digest of all that the teacher reads of it.

    Args:
        dataset: tokenised.
        columns: what the teacher reads, without the attention mask.
    """

    def __init__(self, dataset: Dataset, columns: Sequence[str]) -> None:
        self.columns = [*columns]
        digests = np.empty((len(dataset), 2), dtype=np.uint64)
        lengths = np.empty(len(dataset), dtype=np.int64)
        place = 0
        for rows in dataset.select_columns(self._present(dataset.column_names)).iter(1000):
            for row in range(len(rows[self.columns[0]])):
                feature = {name: values[row] for name, values in rows.items()}
                digests[place], lengths[place] = self.digest(feature), _length(feature)
                place += 1
        order = np.lexsort((digests[:, 1], digests[:, 0], lengths))
        new = np.ones(len(order), dtype=bool)
        new[1:] = (digests[order][1:] != digests[order][:-1]).any(axis=1)
        self.source = order[new]  # the data set's row of each example
        self.digests, self.lengths = digests[self.source], lengths[self.source]

    def _present(self, names: Sequence[str]) -> list[str]:
        return [*self.columns, *(["attention_mask"] if "attention_mask" in names else [])]

    def digest(self, feature: Mapping[str, Any]) -> np.ndarray:
        """128 bits ``(2,)`` of what the teacher reads of one example."""
        hashed = hashlib.blake2b(digest_size=16)
        for name in self._present(list(feature)):
            hashed.update(np.asarray(feature[name], dtype=np.int64).tobytes() + b"|")
        return np.frombuffer(hashed.digest(), dtype=np.uint64)

    @cached_property
    def chunks(self) -> list[slice]:
        """The examples cut into passes of like length."""
        found, start = [], 0
        for end in range(1, len(self.lengths) + 1):
            full = end - start == CHUNK_ROWS
            if end == len(self.lengths) or full or (end + 1 - start) * self.lengths[end] > CHUNK_TOKENS:
                found.append(slice(start, end))
                start = end
        return found

    @cached_property
    def starts(self) -> dict[Per, np.ndarray]:
        """Where each example's items begin, and behind them where the last one ends, ``(examples + 1,)``."""
        counts: dict[Per, np.ndarray] = {
            "example": np.ones_like(self.lengths),
            "token": self.lengths,
            "pair": self.lengths**2,
        }
        return {per: np.concatenate([[0], np.cumsum(count)]) for per, count in counts.items()}


def _length(feature: Mapping[str, Any]) -> int:
    mask = feature.get("attention_mask")
    return int(sum(mask)) if mask is not None else len(next(iter(feature.values())))


@dataclass(frozen=True)
class Stored:
    """One tensor of a store.

    Args:
        group: the field of `Outputs`.
        layer: its layer; None where there is one for the whole model.
        shape: of one item (of an example, a token or a pair of tokens, by the group).
        dtype: torch's name of it.
        per: what one item belongs to.
    """

    group: str
    layer: int | None
    shape: tuple[int, ...]
    dtype: str
    per: Per

    @property
    def file(self) -> str:
        return f"{self.group}.bin" if self.layer is None else f"{self.group}.{self.layer}.bin"

    @property
    def item_bytes(self) -> int:
        return int(math.prod(self.shape) * getattr(torch, self.dtype).itemsize)


@dataclass(frozen=True)
class Layout:
    """What is stored of every example, and what is the same for all of them.

    Args:
        tensors: the tensors.
        scales: as in `Outputs`.
        allowed: for layers with a local window, bool ``(tokens, tokens)`` for the longest example.
    """

    tensors: tuple[Stored, ...]
    scales: dict[int, float]
    allowed: dict[int, Tensor]

    def bytes(self, rows: Rows) -> int:
        """What the answers to these examples take on disk."""
        return sum(tensor.item_bytes * int(rows.starts[tensor.per][-1]) for tensor in self.tensors)

    def plan(self) -> str:
        """All but ``allowed``, of which a checksum stands for each, as text."""
        tensors = [dataclasses.asdict(tensor) for tensor in self.tensors]
        allowed = {layer: checksum(mask.contiguous().numpy().tobytes()) for layer, mask in self.allowed.items()}
        return json.dumps({"tensors": tensors, "scales": self.scales, "allowed": allowed}, indent=1)


def layout_of(outputs: Outputs, mask: Tensor, dtype: torch.dtype | None) -> Layout:
    """The layout of a teacher's answers, read off those to one example without padding.

    Args:
        outputs: of the longest example.
        mask: all True, ``(1, tokens)``.
        dtype: of everything that is stored; None keeps each tensor's own.
    """
    by_token = outputs.logits is not None and outputs.logits.ndim == 3

    def per(group: str) -> Per:
        return GROUPS.get(group, "token" if by_token else "example")

    found = [
        Stored(group, layer, tuple(items.shape[1:]), str(dtype or items.dtype).removeprefix("torch."), per(group))
        for group, layer, items in items_of(outputs, mask)
    ]
    windows = {layer: allowed.any(dim=1)[0].cpu() for layer, allowed in outputs.allowed.items() if not allowed.all()}
    return Layout(tuple(found), dict(outputs.scales), windows)


def items_of(outputs: Outputs, mask: Tensor) -> Iterator[tuple[str, int | None, Tensor]]:
    """Every tensor of the outputs as one row for each item: ``(items, ...)``, padding left out.

    Args:
        mask: bool ``(batch, tokens)``.
    """
    if outputs.logits is not None:
        yield "logits", None, outputs.logits if outputs.logits.ndim == 2 else outputs.logits[mask]
    if outputs.input_gradients is not None:
        yield "input_gradients", None, outputs.input_gradients[mask]
    for layer, tensor in outputs.hidden_states.items():
        yield "hidden_states", layer, tensor[mask]
    for group in ("queries", "keys", "values"):
        for layer, tensor in getattr(outputs, group).items():
            yield group, layer, tensor.transpose(1, 2)[mask]  # (tokens of all, heads, head_dim)
    for layer, tensor in outputs.attentions.items():
        yield "attentions", layer, tensor.permute(0, 2, 3, 1)[mask[:, :, None] & mask[:, None, :]]
