"""A graph of ONNX without what attention computes in a roundabout way; what it answers stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["simplify"]

# What takes a condition for all queries as one for each; of others the shape may matter.
_OF_EACH_NUMBER = {"And", "Cast", "Not", "Where"}
_FAR = 2**62  # further than any axis: what Slice is told for "from the first" and "to the last"


def simplify(graph: onnx_ir.Model) -> None:
    """Take out of a graph, in place, what the exporter of torch writes for each attention and no answer needs.

    Keys are turned by one transposition, where the exporter has two, and nodes that find out the shapes between. The
    products of queries and keys are scaled once, where it scales both. The mask is one of keys, ``(texts, 1, 1,
    tokens)``, where the exporter picks its numbers one by one and has the same for each query. A graph without such
    nodes stays as it is.
    """
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    parts = {
        "GatherND": _mask_as_it_is,
        "And": _leave_out_what_is_true,
        "MatMul": _scale_once,
        "Reshape": _turn_at_once,
    }
    for kind, simplified in parts.items():
        for node in list(graph.graph.all_nodes()):
            if node.op_type == kind:
                simplified(node)
    RemoveUnusedNodesPass()(graph)


def _mask_as_it_is(picked: onnx_ir.Node) -> None:
    """Put the mask itself, with two axes more, in the place of what picks its number for each text and key."""
    import onnx_ir as ir

    mask, places = picked.inputs[0], _made_by(picked.inputs[1], "Concat")
    if mask is None or mask.shape is None or len(mask.shape) != 2 or places is None or len(places.inputs) != 2:
        return
    counted = [_counted(_grown_from(each)) for each in places.inputs]
    if [axis for axis, _ in counted] != [0, 3] or counted[1][1] != mask.shape[1] or not _is_an_input(mask):
        return
    between = _constant(np.array([1, 2], np.int64), f"{picked.name}_axes", picked)
    _put_in_place(picked, ir.node("Unsqueeze", [mask, between], name=picked.name))


def _leave_out_what_is_true(both: onnx_ir.Node) -> None:
    """Put one of two conditions in the place of both, where the other always holds; where each key has one, say."""
    import onnx_ir as ir

    told = [_is_true(value) for value in both.inputs]
    used = {use.node.op_type for use in both.outputs[0].uses()}
    other = both.inputs[told.index(False)] if sum(told) == 1 else None
    if other is not None and used <= _OF_EACH_NUMBER:
        ir.convenience.replace_all_uses_with(both.outputs[0], other)


def _turn_at_once(last: onnx_ir.Node) -> None:
    """Put one transposition in the place of what flattens, swaps the last two axes, and undoes the flattening."""
    import onnx_ir as ir

    swap = _made_by(last.inputs[0], "Transpose")
    flat = None if swap is None or _perm(swap) != (0, 2, 1) else _made_by(swap.inputs[0], "Reshape")
    source = None if flat is None else flat.inputs[0]
    if swap is None or flat is None or source is None or source.shape is None:
        return
    flattened, turned = _sizes(flat.inputs[1], source), _sizes(last.inputs[1], source)
    if flattened != [-1, (-2, -1), (-1, None)] or turned != [(None, -2), (-1, None), (-2, -1)]:
        return
    rank = len(source.shape)
    perm = (*range(rank - 2), rank - 1, rank - 2)
    before = _made_by(source, "Transpose")
    if before is not None:
        perm, source = tuple(_perm(before)[axis] for axis in perm), before.inputs[0]
    turn = ir.node("Transpose", [source], {"perm": perm}, name=last.name, metadata_props=dict(swap.metadata_props))
    _put_in_place(last, turn)


def _scale_once(product: onnx_ir.Node) -> None:
    """Multiply the first factor by both numbers, where each factor of a product is multiplied by one."""
    import onnx_ir as ir

    ours, theirs = (_made_by(value, "Mul") for value in product.inputs)
    if ours is None or theirs is None:
        return
    numbers = [_number(each.inputs[1]) for each in (ours, theirs)]
    if numbers[0] is None or numbers[1] is None:
        return
    number = _constant(np.array(numbers[0] * numbers[1], np.float32), f"{product.name}_scale", product)
    name = f"{product.name}_scaled"
    scaled = ir.node("Mul", [ours.inputs[0], number], name=name, metadata_props=dict(ours.metadata_props))
    _graph_of(product).insert_before(product, scaled)
    product.replace_input_with(0, scaled.outputs[0])
    product.replace_input_with(1, theirs.inputs[0])


def _grown_from(place: onnx_ir.Value | None) -> onnx_ir.Value | None:
    """What was expanded to all places, of one of their numbers."""
    last = _made_by(place, "Unsqueeze")
    grown = None if last is None else _made_by(last.inputs[0], "Expand")
    return None if grown is None else grown.inputs[0]


def _counted(value: onnx_ir.Value | None) -> tuple[int | None, object]:
    """Along which axis a value counts 0, 1, 2, ..., and how far; all its others are 1. None where it does not."""
    if value is None or value.shape is None:
        return None, None
    axes = [axis for axis, size in enumerate(value.shape) if size != 1]
    first = value
    while (added := _made_by(first, "Unsqueeze")) is not None and added.inputs[0] is not None:
        first = added.inputs[0]
    count = _made_by(first, "Range")
    if len(axes) != 1 or count is None or (_number(count.inputs[0]), _number(count.inputs[2])) != (0, 1):
        return None, None
    return axes[0], value.shape[axes[0]]


def _is_an_input(mask: onnx_ir.Value) -> bool:
    """Whether a value is what the graph is given, of another type perhaps: then it has as many texts as all of it."""
    cast = _made_by(mask, "Cast")
    return (mask if cast is None or cast.inputs[0] is None else cast.inputs[0]).is_graph_input()


def _is_true(value: onnx_ir.Value | None) -> bool:
    """Whether a condition holds for all, whatever the inputs are."""
    constant = None if value is None else value.const_value
    if constant is not None:
        return bool(constant.numpy().all())
    both, compared = _made_by(value, "And"), _made_by(value, "GreaterOrEqual")
    if both is not None:
        return all(map(_is_true, both.inputs))
    return compared is not None and _counted(compared.inputs[0])[0] is not None and _number(compared.inputs[1]) == 0


def _constant(numbers: np.typing.NDArray[np.generic], name: str, node: onnx_ir.Node) -> onnx_ir.Value:
    """A constant in the graph of a node."""
    import onnx_ir as ir

    made = ir.val(name, const_value=ir.tensor(numbers, name=name))
    _graph_of(node).register_initializer(made)
    return made


def _put_in_place(old: onnx_ir.Node, new: onnx_ir.Node) -> None:
    import onnx_ir as ir

    ir.convenience.replace_nodes_and_values(_graph_of(old), old, [old], [new], old.outputs, new.outputs)


def _graph_of(node: onnx_ir.Node) -> onnx_ir.Graph:
    import onnx_ir as ir

    if not isinstance(node.graph, ir.Graph):
        raise ValueError(f"{node.name} is in no graph")
    return node.graph


def _made_by(value: onnx_ir.Value | None, kind: str) -> onnx_ir.Node | None:
    """The node that a value comes from, where it is of a kind."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == kind else None


def _perm(node: onnx_ir.Node) -> Sequence[int]:
    return tuple(node.attributes["perm"].as_ints())


def _sizes(shape: onnx_ir.Value | None, source: onnx_ir.Value) -> list[object] | None:
    """What a shape is put together of: each part a number, or which axes of another value have these sizes."""
    parts = _made_by(shape, "Concat")
    return None if parts is None else [_size(part, source) for part in parts.inputs]


def _size(part: onnx_ir.Value | None, source: onnx_ir.Value) -> object:
    constant = _numbers(part)
    if constant is not None:
        return constant[0] if len(constant) == 1 else None
    cut = _made_by(part, "Slice")
    whole = None if cut is None or len(cut.inputs) > 3 else _made_by(cut.inputs[0], "Shape")
    if cut is None or whole is None or whole.inputs[0] is not source or _is_part(whole):
        return None
    start, end = (_numbers(value) for value in cut.inputs[1:3])
    if start is None or end is None:
        return None
    return tuple(None if abs(each[0]) >= _FAR else each[0] for each in (start, end))


def _is_part(shape: onnx_ir.Node) -> bool:
    start, end = shape.attributes.get("start"), shape.attributes.get("end")
    return (start is not None and start.as_int() != 0) or end is not None


def _numbers(value: onnx_ir.Value | None) -> list[int] | None:
    constant = None if value is None else value.const_value
    return None if constant is None else [int(each) for each in constant.numpy().reshape(-1)]


def _number(value: onnx_ir.Value | None) -> float | None:
    constant = None if value is None else value.const_value
    return float(constant.numpy().item()) if constant is not None and constant.size == 1 else None
