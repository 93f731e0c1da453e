"""Columns of any Arrow type as the few kinds that texts and labels are made of."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

__all__ = ["holds_more", "plain_array", "plain_type"]


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    """What a column of a type becomes: text, a number, a truth value, nothing at all; a list or an object of these.

    Text is text however it is stored (large, as a view, as codes into a dictionary), and a decimal number is a float.
    A list may hold objects, and an object lists, once each: entities, answers, a number for each label. None for what
    can be neither a text nor a label: maps, bytes, dates, lists of lists.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if kinds.is_dictionary(kind):
        return plain_type(kind.value_type)
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
        return pa.string()
    if kinds.is_decimal(kind):
        return pa.float64()
    if kinds.is_float16(kind):
        return pa.float32()
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind) or kinds.is_null(kind):
        return kind
    if _is_list(kind):
        inner = plain_type(kind.value_type)
        lists = kinds.is_struct(inner) and any(_is_list(field.type) for field in inner) if inner is not None else False
        nested = inner is not None and (_is_list(inner) or lists)
        return None if inner is None or nested else pa.list_(inner)
    if kinds.is_struct(kind):
        parts = [(field.name, plain_type(field.type)) for field in kind]
        return None if any(part is None or _holds_objects(part) for _, part in parts) else pa.struct(parts)
    return None


def _holds_objects(kind: pa.DataType) -> bool:
    return bool(kinds.is_struct(kind) or (_is_list(kind) and kinds.is_struct(kind.value_type)))


def holds_more(kind: pa.DataType) -> bool:
    """Whether a column holds mappings, or lists of mappings or of lists: a number for each label, of each word."""
    if _is_list(kind):
        return _is_list(kind.value_type) or holds_more(kind.value_type)
    return bool(kinds.is_struct(kind) or kinds.is_map(kind))


def plain_array(array: pa.Array) -> pa.Array:
    """The values of a column whose type `plain_type` knows, in that type.

    Raises:
        pyarrow.ArrowException: values that the type cannot hold, or that are damaged (text that is not UTF-8).
    """
    target: Any = plain_type(array.type)
    array.validate(full=True)
    if array.type == target:
        return array
    if isinstance(array.type, pa.BaseExtensionType):
        return plain_array(array.storage)
    if kinds.is_dictionary(array.type):
        return plain_array(array.dictionary_decode())
    if _is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int32())
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
        return pa.ListArray.from_arrays(offsets, plain_array(pc.list_flatten(array)), mask=array.is_null())
    if kinds.is_struct(array.type):
        parts = [plain_array(part) for part in array.flatten()]
        return pa.StructArray.from_arrays(parts, names=[field.name for field in target], mask=array.is_null())
    return array.cast(target)


def _is_list(kind: pa.DataType) -> bool:
    lists = (
        kinds.is_list,
        kinds.is_large_list,
        kinds.is_fixed_size_list,
        kinds.is_list_view,
        kinds.is_large_list_view,
    )
    return any(is_kind(kind) for is_kind in lists)
