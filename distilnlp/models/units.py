"""Where the heads and the feed-forward units of an encoder's layers are: which rows and columns are one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.encoder import called_layers

__all__ = ["STACKED", "UnitNames", "cut_units", "feed_forward", "own_layers", "unit_names"]

# Linear layers of ModernBERT that hold several matrices, one on top of the other.
STACKED = {"attn.Wqkv": 3, "mlp.Wi": 2}


@dataclass(frozen=True)
class UnitNames:
    """The parts of a layer, by their names in it, that have heads or feed-forward units in their rows or columns.

    Args:
        heads_in: linear layers or weights whose rows are ordered head by head; empty where heads cannot be told apart
            by layer.
        heads_out: the linear layer whose columns are.
        units_in: the linear layer whose rows are the feed-forward units.
        units_out: the linear layer whose columns are; it reads the units themselves.
    """

    heads_in: tuple[str, ...]
    heads_out: str
    units_in: str
    units_out: str


_AS_IN_BERT = ("attention.output.dense", "intermediate.dense", "output.dense")
_BERT = UnitNames(("attention.self.query", "attention.self.key", "attention.self.value"), *_AS_IN_BERT)
_NAMES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT),
    "distilbert": UnitNames(
        ("attention.q_lin", "attention.k_lin", "attention.v_lin"), "attention.out_lin", "ffn.lin1", "ffn.lin2"
    ),
    "albert": UnitNames(
        ("attention.query", "attention.key", "attention.value"), "attention.dense", "ffn", "ffn_output"
    ),
    "deberta": UnitNames(
        tuple(f"attention.self.{name}" for name in ("in_proj", "q_bias", "v_bias", "pos_proj", "pos_q_proj")),
        *_AS_IN_BERT,
    ),
    "deberta-v2": UnitNames(
        tuple(f"attention.self.{name}_proj" for name in ("query", "key", "value", "pos_key", "pos_query")),
        *_AS_IN_BERT,
    ),
    # All layers share one table of a number for each head and distance.
    "mpnet": UnitNames((), "attention.attn.o", "intermediate.dense", "output.dense"),
    "modernbert": UnitNames(("attn.Wqkv",), "attn.Wo", "mlp.Wi", "mlp.Wo"),
}


def unit_names(kind: str) -> UnitNames:
    """The names of the parts of each layer in an architecture (``model_type``).

    Raises:
        RequestError: an architecture whose parts are not known.
    """
    if kind not in _NAMES:
        raise RequestError(
            f"the heads and feed-forward units of {kind} are not known by name, so that none can be chosen: take a "
            f"model of {', '.join(_NAMES)}, or the leading ones (choose: leading)"
        )
    return _NAMES[kind]


def own_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers in the order they run; one that is called many times (ALBERT) stands there once."""
    return list(dict.fromkeys(called_layers(model)))


def feed_forward(model: PreTrainedModel, layer: nn.Module) -> tuple[nn.Linear, nn.Linear]:
    """The linear layer that gives a layer's feed-forward units what they read, and the one that reads them.

    Raises:
        RequestError: an architecture whose parts are not known, or adapters in their place.
    """
    names = unit_names(model.config.model_type)
    into, out = layer.get_submodule(names.units_in), layer.get_submodule(names.units_out)
    if not (isinstance(into, nn.Linear) and isinstance(out, nn.Linear)):
        raise RequestError(
            f"the feed-forward units of {type(model).__name__} are behind adapters ({type(out).__name__}), and their "
            "own weights are not trained: leave lora out"
        )
    return into, out


@torch.no_grad()
def cut_units(model: PreTrainedModel, kept: Sequence[Tensor]) -> None:
    """Leave a model, in place, so many feed-forward units in each layer, which it is a plain model with.

    Args:
        kept: of each of `own_layers` the units that stay, ascending, in all layers as many.
    """
    for layer, units in zip(own_layers(model), kept, strict=True):
        into, out = feed_forward(model, layer)
        count = out.in_features
        parts = into.out_features // count
        rows = torch.cat([units + part * count for part in range(parts)])
        into.weight = nn.Parameter(into.weight[rows].clone(), requires_grad=into.weight.requires_grad)
        if into.bias is not None:
            into.bias = nn.Parameter(into.bias[rows].clone(), requires_grad=into.bias.requires_grad)
        out.weight = nn.Parameter(out.weight[:, units].clone(), requires_grad=out.weight.requires_grad)
        into.out_features, out.in_features = len(rows), len(units)
    field = "hidden_dim" if model.config.model_type == "distilbert" else "intermediate_size"
    setattr(model.config, field, len(kept[0]))
