"""The inputs that both sides compare: the same numbers with any version of torch, for numpy draws them."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["BATCH", "HEADS", "TOKENS", "VALID", "WIDTH", "make_inputs"]

BATCH, TOKENS, VALID, WIDTH, HEADS, CLASSES = 6, 5, 4, 8, 2, 4


def make_inputs() -> dict[str, Tensor]:
    """Logits, labels, states, queries and keys of a student (``s_``) and a teacher (``t_``), float32.

    All texts have ``VALID`` tokens and one of padding, so that a mean over tokens is a mean over texts.
    """
    draw = np.random.RandomState(0)
    inputs = {"labels": torch.from_numpy(draw.randint(CLASSES, size=BATCH))}
    for who in ("s", "t"):
        shapes = {
            "logits": (BATCH, CLASSES),
            "states": (BATCH, TOKENS, WIDTH),
            "queries": (BATCH, HEADS, TOKENS, WIDTH // HEADS),
            "keys": (BATCH, HEADS, TOKENS, WIDTH // HEADS),
        }
        for name, shape in shapes.items():
            inputs[f"{who}_{name}"] = torch.from_numpy(draw.standard_normal(shape).astype("float32"))
    inputs["variance"] = torch.from_numpy(draw.uniform(0.5, 2.0, WIDTH).astype("float32"))
    inputs["mask"] = (torch.arange(TOKENS) < VALID).long().expand(BATCH, TOKENS)
    return inputs
