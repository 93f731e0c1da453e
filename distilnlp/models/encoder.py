"""Where the parts of an encoder are, for any encoder of transformers: its embeddings and its stack of layers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import RequestError

__all__ = [
    "base_model",
    "called_layers",
    "count_parameters",
    "embeddings",
    "layer_prefix",
    "layer_stack",
    "moved_words",
    "word_table",
]


def layer_stack(model: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers in the order they run: the outermost list of ``config.num_hidden_layers`` modules.

    ALBERT runs one layer many times: its list has ``config.num_hidden_groups`` (nearly always 1) modules, each called
    ``num_hidden_layers / num_hidden_groups`` times in a row.

    Raises:
        RequestError: no such list in the model: it is not an encoder of stacked layers.
    """
    return _named_stack(model)[1]


def called_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The modules that are called once for each of the ``num_hidden_layers`` layers; one may be called many times.

    Raises:
        RequestError: as `layer_stack`.
    """
    stack = layer_stack(model)
    if model.config.model_type == "albert":
        return [layer for group in stack for layer in group.get_submodule("albert_layers").children()]
    return list(stack)


def layer_prefix(model: PreTrainedModel) -> str:
    """The name of `layer_stack` inside ``model``, as ``state_dict`` spells it: ``"bert.encoder.layer"``."""
    return _named_stack(model)[0]


def embeddings(model: PreTrainedModel) -> nn.Module:
    """The module whose output enters the encoder (in ALBERT and small ELECTRA, by way of a projection to its width).

    Raises:
        RequestError: the base model has no part of that name.
    """
    found = dict(model.base_model.named_children()).get("embeddings")
    if found is None:
        raise RequestError(f"{type(model).__name__} has no embeddings module: an encoder such as BERT is needed")
    return found


@contextmanager
def moved_words(model: PreTrainedModel, delta: Tensor) -> Iterator[None]:
    """While it holds, ``delta``, ``(batch, tokens, width of a word vector)``, is added to the word embeddings."""

    def add(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + delta.to(output.dtype)

    handle = model.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def word_table(model: PreTrainedModel) -> Tensor:
    """The vectors of the words, ``(vocabulary, width of a word vector)``."""
    words: nn.Module = model.get_input_embeddings()
    return words.get_parameter("weight")


def base_model(model: nn.Module) -> PreTrainedModel:
    """The model of transformers, whatever PEFT has wrapped around it.

    Raises:
        RequestError: there is none.
    """
    if isinstance(model, PreTrainedModel):
        return model
    from peft import PeftModel  # not at the top: it takes a second, and most models are not wrapped

    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(inner, PreTrainedModel):
        raise RequestError(f"a model of transformers is needed; got {type(inner).__name__}")
    return inner


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Parameters of a model, all and without embeddings; a shared (tied) one counts once.

    The embeddings are the tables of the module that holds the input word embedding: words, positions, token types.
    """
    words = base_model(model).get_input_embeddings()
    holder: nn.Module = next((m for m in model.modules() if any(child is words for child in m.children())), words)
    tables = {id(m.weight): m.weight.numel() for m in holder.modules() if isinstance(m, nn.Embedding)}
    total = sum(parameter.numel() for parameter in model.parameters())
    return total, total - sum(tables.values())


def _named_stack(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    config = model.config
    shared = config.model_type == "albert"
    depth: int = config.num_hidden_groups if shared else config.num_hidden_layers
    base = model.base_model
    # named_modules walks outside in, so that a list inside a layer cannot be met before the list of the layers.
    for name, module in model.named_modules():
        inside = base is model or name.startswith(f"{model.base_model_prefix}.")
        if inside and isinstance(module, nn.ModuleList) and len(module) == depth:
            return name, module
    raise RequestError(
        f"{type(model).__name__} has no list of {depth} layers (its config's num_hidden_layers): "
        "an encoder of stacked layers such as BERT is needed"
    )
