"""What losses on mapped layers share."""

import pytest

from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo

MAP = {"layer_map": [[1, 2], [2, 3]]}


@pytest.mark.parametrize("name", ["mobilebert", "internal"])
def test_a_map_is_learned_where_the_widths_differ_and_only_there(name: str) -> None:
    narrow, wide = (ModelInfo("model", 3, width, 2, 3) for width in (8, 12))
    loss = get_loss(name, **MAP)
    assert loss.make_module(narrow, narrow) is None
    module = loss.make_module(narrow, wide)
    assert module is not None and {p.shape for p in module.parameters()} == {(12, 8), (12,)}
