"""Lets a head by token run on some tokens only: of a vocabulary of logits for each token nothing is left unused."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

__all__ = ["HEAD_TOKENS", "answering_for"]

HEAD_TOKENS = "head_tokens"  # the column of a batch that says which


@contextmanager
def answering_for(model: PreTrainedModel, tokens: Tensor | None) -> Iterator[None]:
    """While it holds, the head of a model sees the hidden states of these tokens and no others.

    Every model of transformers computes its logits from what its base model returns first. So what that returns is
    gathered, and whatever the head is made of runs on the rest. Who captures hidden states has been told before.

    Args:
        model: with a head by token.
        tokens: their places, ``(batch, rows)``; without rows the head computes nothing. None is for every token.
    """
    if tokens is None:
        yield
        return
    chosen = tokens

    # A compiled graph would keep the tokens of its first batch.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def gather(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden: Tensor = output[0]  # (batch, tokens, width)
        places = chosen.to(hidden.device)[..., None].expand(-1, -1, hidden.shape[-1])
        rows = hidden.gather(1, places)  # (batch, rows, width)
        if isinstance(output, tuple):
            return (rows, *output[1:])
        return type(output)(**{**output, "last_hidden_state": rows})

    handle = model.base_model.register_forward_hook(gather)
    try:
        yield
    finally:
        handle.remove()
