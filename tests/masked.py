"""Tiny masked language models and texts: what the tests of masked words run on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForMaskedLM, PreTrainedModel

from tests.tiny import tiny_model, tiny_tokenizer, toy_dataset

__all__ = ["masked_folder", "masked_model", "shapes_made", "texts_alone"]


def masked_model(kind: str = "bert", *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """As `tiny_model`, with a head for the vocabulary."""
    config = tiny_model(kind, seed=seed, problem_type="masked_lm", **changes).config
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: PreTrainedModel = AutoModelForMaskedLM.from_config(config)
    return model.eval()


def masked_folder(folder: Path, kind: str = "bert", *, bare: bool = False, **changes: Any) -> Path:
    """A model as the Hub has it, whose config names no problem; ``bare``: the encoder without its head."""
    model = masked_model(kind, **changes)
    model.config.problem_type = None
    (model.base_model if bare else model).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def texts_alone(rows: int = 40, seed: int = 0) -> Dataset:
    return toy_dataset(rows, seed).select_columns(["text"])


@contextmanager
def shapes_made() -> Iterator[list[tuple[int, ...]]]:
    """The shape of every tensor that is made while it holds."""
    found: list[tuple[int, ...]] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            made = result if isinstance(result, tuple | list) else [result]
            found.extend(tuple(each.shape) for each in made if isinstance(each, torch.Tensor))
            return result

    with Watch():
        yield found
