"""One vector for each example out of a layer's hidden state, and vectors of length 1."""

from typing import Literal

import torch
from torch import Tensor

from distilnlp.losses.base import valid_counts, without_padding
from distilnlp.outputs import Outputs

__all__ = ["Pooling", "pool", "unit"]

Pooling = Literal["cls", "mean"]


def pool(outputs: Outputs, layer: int, pooling: Pooling) -> Tensor:
    """One vector an example, ``(batch, width)``: that of the first real token, or the mean over the real ones.

    Raises:
        RequestError: an example without any real token (NaN on an accelerator).
    """
    states = outputs.get_hidden_state(layer)  # (batch, tokens, width)
    real = outputs.token_mask(states)  # (batch, tokens)
    counts = valid_counts(real)[:, None]  # (batch, 1)
    if pooling == "mean":
        return without_padding(states, real).sum(dim=1) / counts
    # Under left padding the first token is not at position 0.
    first = real.int().argmax(dim=1)[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(1, first).squeeze(1).masked_fill(counts == 0, torch.nan)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """``vectors`` scaled to length 1 along ``dim``; a vector of zeros stays one, with a finite gradient.

    No epsilon is added to the length, so that scaling the vectors changes nothing however small they are.
    """
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    scaled: Tensor = vectors / length.where(length > 0, length.new_ones(()))
    return scaled
