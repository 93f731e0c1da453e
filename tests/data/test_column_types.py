import decimal

import numpy as np
import pyarrow as pa
import pytest

from distilnlp.data.column_types import plain_array, plain_type

TEXTS = pa.array(["a", None, "b"])
LISTS = [["a", "b"], None, []]


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (TEXTS.cast(pa.large_string()), ["a", None, "b"]),
        (TEXTS.cast(pa.string_view()), ["a", None, "b"]),
        (TEXTS.dictionary_encode(), ["a", None, "b"]),
        (TEXTS.cast(pa.large_string()).dictionary_encode(), ["a", None, "b"]),
        (pa.ExtensionArray.from_storage(pa.json_(pa.string()), TEXTS), ["a", None, "b"]),
        (pa.array([decimal.Decimal("1.5"), None], pa.decimal128(5, 1)), [1.5, None]),
        (pa.array([np.float16(0.5)], pa.float16()), [0.5]),
        (pa.array(LISTS, pa.large_list(pa.large_string())), LISTS),
        (pa.array(LISTS, pa.list_view(pa.string())), LISTS),
        (pa.array([[0, 1], None, [1, 1]], pa.list_(pa.int8(), 2)), [[0, 1], None, [1, 1]]),
        (pa.array([["b"], *LISTS], pa.large_list(pa.string_view())).slice(1), LISTS),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_however_it_is_stored_the_values_are_the_same(array, values):
    plain = plain_array(array)
    assert plain.type == plain_type(array.type)
    assert plain.to_pylist() == values


@pytest.mark.parametrize(
    "kind",
    [
        pa.map_(pa.string(), pa.int64()),
        pa.struct([("a", pa.binary())]),
        pa.struct([("a", pa.struct([("b", pa.int64())]))]),
        pa.list_(pa.struct([("a", pa.list_(pa.int64()))])),
        pa.binary(),
        pa.uuid(),
        pa.date32(),
        pa.timestamp("us"),
        pa.list_(pa.list_(pa.string())),
        pa.list_(pa.binary()),
    ],
    ids=str,
)
def test_what_is_neither_text_nor_label_has_no_plain_type(kind):
    assert plain_type(kind) is None


def test_objects_become_objects_of_plain_values_and_lists_of_them_lists():
    rows = [{"start": 1, "label": "a"}, None, {"start": 2, "label": None}]
    kind = pa.struct([("start", pa.int32()), ("label", pa.dictionary(pa.int8(), pa.large_string()))])
    array = pa.array(rows, kind)
    assert plain_array(array).to_pylist() == rows
    assert plain_type(kind) == pa.struct([("start", pa.int32()), ("label", pa.string())])
    lists = pa.array([rows[:1], [], None], pa.large_list(kind))
    assert plain_array(lists).to_pylist() == [rows[:1], [], None]
    answers = pa.struct([("text", pa.list_(pa.large_string())), ("answer_start", pa.list_(pa.int64()))])
    texts = pa.array([{"text": ["b"], "answer_start": [0]}], answers)
    assert plain_array(texts).to_pylist() == texts.to_pylist()


def test_bytes_that_are_no_text_are_not_taken_for_it():
    with pytest.raises(pa.ArrowInvalid):
        plain_array(pa.array([b"a\xff"]).view(pa.string()))
