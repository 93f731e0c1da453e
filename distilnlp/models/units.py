"""Where the heads and the feed-forward units of an encoder's layers are: which rows and columns are one of them."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.encoder import called_layers

__all__ = ["STACKED", "UnitNames", "own_layers", "unit_names"]

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


_BERT = UnitNames(
    ("attention.self.query", "attention.self.key", "attention.self.value"),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
)
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
        *("attention.output.dense", "intermediate.dense", "output.dense"),
    ),
    "deberta-v2": UnitNames(
        tuple(f"attention.self.{name}_proj" for name in ("query", "key", "value", "pos_key", "pos_query")),
        *("attention.output.dense", "intermediate.dense", "output.dense"),
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
