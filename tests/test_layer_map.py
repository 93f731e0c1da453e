"""Layer maps: which student layer learns from which teacher layer."""

import pytest

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap


@pytest.mark.parametrize(
    ("name", "student", "teacher", "pairs"),
    [
        ("uniform", 4, 12, [(1, 3), (2, 6), (3, 9), (4, 12)]),
        ("uniform", 3, 6, [(1, 2), (2, 4), (3, 6)]),
        ("uniform", 6, 6, [(k, k) for k in range(1, 7)]),
        ("skip", 6, 12, [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10)]),
        ("last", 6, 12, [(1, 7), (2, 8), (3, 9), (4, 10), (5, 11)]),
        ("final", 6, 12, [(6, 12)]),
        ("middle", 6, 12, [(3, 6)]),
        ("middle", 3, 6, [(2, 4)]),
        ("middle", 1, 6, [(1, 6)]),
    ],
)
def test_the_named_maps_are_those_of_the_papers(
    name: str, student: int, teacher: int, pairs: list[tuple[int, int]]
) -> None:
    assert list(LayerMap.from_spec(name, student, teacher)) == pairs


def test_auto_takes_the_layers_that_the_student_was_built_from() -> None:
    assert list(LayerMap.from_spec("auto", 2, 6, kept=(1, 6))) == [(1, 1), (2, 6)]
    assert list(LayerMap.from_spec("auto", 2, 6)) == [(1, 3), (2, 6)]


def test_auto_ignores_layers_of_another_teacher() -> None:
    """A student built from 12 layers and distilled again from a teacher of 4 has no layer 12 to learn from."""
    assert list(LayerMap.from_spec("auto", 2, 4, kept=(6, 12))) == [(1, 2), (2, 4)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("unifrom", "did you mean 'uniform'"),
        ([], "at least one"),
        ([[1, 2, 3]], "pairs"),
        ([[1, 2], [1, 3]], "once"),
        ([[-1, 2]], ">= 0"),
        ([[4, 2]], "layers 0 to 3"),
        ([[1, 7]], "0 to 6"),
    ],
)
def test_a_map_that_cannot_be_meant_is_refused(spec: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        LayerMap.from_spec(spec, 3, 6)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["skip", "last"])
def test_maps_that_leave_the_last_layer_out_need_two(name: str) -> None:
    with pytest.raises(RequestError, match="has only 1"):
        LayerMap.from_spec(name, 1, 6)


THREES = tuple("local" if place % 3 else "global" for place in range(12))


def test_cadence_pairs_layers_of_one_kind_of_attention() -> None:
    pairs = LayerMap.from_spec("cadence", 4, 12, types=(THREES[:4], THREES))
    assert list(pairs) == [(1, 4), (2, 6), (3, 9), (4, 10)]
    assert all(THREES[student - 1] == THREES[teacher - 1] for student, teacher in pairs)


def test_auto_is_cadence_where_the_kinds_differ_and_nothing_says_what_the_student_was_built_from() -> None:
    types = (THREES[:4], THREES)
    assert LayerMap.from_spec("auto", 4, 12, types=types) == LayerMap.from_spec("cadence", 4, 12, types=types)
    assert list(LayerMap.from_spec("auto", 2, 12, kept=(1, 5), types=(THREES[:2], THREES))) == [(1, 1), (2, 5)]
    assert list(LayerMap.from_spec("auto", 2, 12, types=(None, THREES))) == [(1, 6), (2, 12)]


@pytest.mark.parametrize("types", [(None, None), (None, THREES), (THREES[:4], None), (("chunked", "global"), THREES)])
def test_cadence_is_refused_where_a_kind_is_missing(types: tuple[tuple[str, ...] | None, ...]) -> None:
    with pytest.raises(RequestError, match="pairs layers of one kind of attention"):
        LayerMap.from_spec("cadence", 2, 12, types=types)  # type: ignore[arg-type]
