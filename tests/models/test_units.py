"""The parts of a layer that hold its heads and feed-forward units are found by name in every architecture."""

import pytest
import torch
from torch import nn

from distilnlp.errors import RequestError
from distilnlp.models.units import own_layers, unit_names
from tests.tiny import BACKBONES, tiny_model


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_parts_of_a_layer_have_heads_and_units_where_they_are_said_to_be(kind: str) -> None:
    model, names = tiny_model(kind, layers=3), unit_names(kind)
    layers = own_layers(model)
    assert len(layers) == (1 if kind == "albert" else 3)
    for layer in layers:
        units_in, units_out, heads_out = (
            layer.get_submodule(name) for name in (names.units_in, names.units_out, names.heads_out)
        )
        assert isinstance(units_in, nn.Linear) and isinstance(units_out, nn.Linear)
        assert (units_in.out_features % 64, units_out.in_features) == (0, 64)
        assert heads_out.in_features == 32
        # Every linear layer is one of them, so that none is forgotten.
        rest = {name for name, each in layer.named_modules() if isinstance(each, nn.Linear)}
        assert rest - {*names.heads_in, names.heads_out, names.units_in, names.units_out} == set()


def test_the_units_are_what_the_last_layer_reads() -> None:
    model = tiny_model("modernbert")
    seen = []
    layer = own_layers(model)[0]
    layer.get_submodule(unit_names("modernbert").units_out).register_forward_pre_hook(
        lambda module, args: seen.append(args[0].shape)
    )
    model(input_ids=torch.tensor([[2, 6, 3]]))
    assert seen == [(1, 3, 64)]


def test_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match=r"units of squeezebert are not known.*take a model of bert"):
        unit_names("squeezebert")
