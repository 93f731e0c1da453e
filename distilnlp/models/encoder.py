"""Where the parts of an encoder are, for any encoder of transformers: its embeddings and its stack of layers."""

from torch import nn
from transformers import PreTrainedModel

from distilnlp.errors import RequestError

__all__ = ["embeddings", "layer_prefix", "layer_stack"]


def layer_stack(model: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers in the order they run: the outermost list of ``config.num_hidden_layers`` modules.

    ALBERT runs one layer many times: its list has ``config.num_hidden_groups`` (nearly always 1) modules, each called
    ``num_hidden_layers / num_hidden_groups`` times in a row.

    Raises:
        RequestError: no such list in the model: it is not an encoder of stacked layers.
    """
    return _named_stack(model)[1]


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
