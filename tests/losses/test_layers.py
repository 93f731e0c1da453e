"""What losses on mapped layers share."""

import pytest

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap
from distilnlp.losses import LayerLoss, get_loss, list_losses, loss_class
from distilnlp.losses.layers import check_steps
from distilnlp.outputs import ModelInfo

MAP = {"layer_map": [[1, 2], [2, 3]]}


@pytest.mark.parametrize("name", ["mobilebert", "internal"])
def test_a_map_is_learned_where_the_widths_differ_and_only_there(name: str) -> None:
    narrow, wide = (ModelInfo("model", 3, width, 2, 3) for width in (8, 12))
    loss = get_loss(name, **MAP)
    assert loss.make_module(narrow, narrow) is None
    module = loss.make_module(narrow, wide)
    assert module is not None and {p.shape for p in module.parameters()} == {(12, 8), (12,)}


@pytest.mark.parametrize("name", [name for name in list_losses() if issubclass(loss_class(name), LayerLoss)])
def test_what_is_read_is_that_of_each_models_own_layers(name: str) -> None:
    loss = loss_class(name)
    if not loss.__dataclass_fields__["layer_map"].init:
        return  # the layers are the loss's own: embedding
    made = get_loss(name, layer_map=[[1, 2], [2, 3]])
    assert made.needs_student().layers == {1, 2} and made.needs_teacher().layers == {2, 3}
    with pytest.raises(RequestError, match="depends on the two models"):
        get_loss(name, layer_map="uniform").needs_student()


def test_layers_that_are_compared_in_steps_are_two_or_more() -> None:
    with pytest.raises(RequestError, match="one pair only"):
        check_steps("fsp", LayerMap(((1, 1),)), "goes from one layer to the next")
    check_steps("fsp", LayerMap(((1, 1), (2, 2))), "goes from one layer to the next")
