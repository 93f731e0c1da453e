"""Which layers are kept: the published choices, and refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.errors import RequestError
from distilnlp.students import kept_layers
from distilnlp.students.layers import KEEP_MAPS


@pytest.mark.parametrize(
    ("name", "student", "teacher", "expected"),
    [
        ("uniform", 4, 12, (3, 6, 9, 12)),
        ("uniform", 3, 6, (2, 4, 6)),
        ("uniform", 1, 6, (6,)),
        ("skip", 6, 12, (1, 3, 5, 8, 10, 12)),
        ("skip", 1, 6, (1,)),
        ("first", 3, 12, (1, 2, 3)),
        ("last", 3, 12, (10, 11, 12)),
        ("uniform", None, 4, (1, 2, 3, 4)),
    ],
)
def test_named_maps_are_the_published_ones(
    name: str, student: int | None, teacher: int, expected: tuple[int, ...]
) -> None:
    assert kept_layers(name, student, teacher) == expected


@given(st.sampled_from([name for name in KEEP_MAPS if name != "cadence"]), st.integers(1, 48), st.data())
def test_named_maps_give_as_many_ascending_layers_as_asked_for(name: str, teacher: int, data: st.DataObject) -> None:
    student = data.draw(st.integers(1, teacher))
    kept = kept_layers(name, student, teacher)
    assert len(kept) == student
    assert list(kept) == sorted(set(kept))
    assert kept[0] >= 1
    assert kept[-1] <= teacher
    assert kept_layers(kept, None, teacher) == kept
    if student == teacher:
        assert kept == tuple(range(1, teacher + 1))


def test_a_misspelt_name_is_told() -> None:
    with pytest.raises(RequestError, match=r"did you mean 'uniform'.*skip, first, last"):
        kept_layers("unifrom", 2, 4)


@pytest.mark.parametrize("count", [0, -1, 5, True, 2.0])
def test_a_number_of_layers_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(RequestError, match="teacher of 4: ask for 1 to 4"):
        kept_layers("uniform", count, 4)


@pytest.mark.parametrize("layers", [[], [0, 1], [1, 5], [2, 2], [3, 1], [1, "2"], [True]])
def test_a_list_that_cannot_be_is_refused(layers: list[int]) -> None:
    with pytest.raises(RequestError, match="once, ascending, from 1 to 4"):
        kept_layers(layers, None, 4)


def test_a_list_that_contradicts_the_number_is_refused() -> None:
    with pytest.raises(RequestError, match=r"\[1, 3\] make 2 layers and not 3"):
        kept_layers([1, 3], 3, 4)


def in_threes(layers: int) -> list[str]:
    """The kinds of ModernBERT's layers: global attention in the first and in every third after it."""
    return ["local" if place % 3 else "global" for place in range(layers)]


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (4, 12, (1, 5, 8, 10)),
        (3, 22, (1, 11, 21)),
        (6, 22, (1, 5, 9, 13, 18, 21)),
        (8, 22, (1, 3, 6, 10, 12, 15, 19, 21)),
        (1, 22, (1,)),
        (22, 22, tuple(range(1, 23))),
    ],
)
def test_cadence_keeps_layers_of_the_kinds_that_the_teacher_begins_with(
    student: int, teacher: int, expected: tuple[int, ...]
) -> None:
    assert kept_layers("cadence", student, teacher, in_threes(teacher)) == expected


@given(st.lists(st.sampled_from(["global", "local"]), min_size=2, max_size=24), st.data())
def test_cadence_gives_the_student_the_teacher_s_order_of_kinds(types: list[str], data: st.DataObject) -> None:
    student = data.draw(st.integers(1, len(types)))
    if len(set(types)) < 2:
        with pytest.raises(RequestError, match="all of one kind"):
            kept_layers("cadence", student, len(types), types)
        return
    kept = kept_layers("cadence", student, len(types), types)
    assert [types[layer - 1] for layer in kept] == types[:student]
    assert list(kept) == sorted(set(kept))


def test_the_other_maps_can_leave_one_kind_of_attention_out() -> None:
    """What cadence is for: of ModernBERT-base, skip keeps eight layers of global attention and none of local."""
    types = in_threes(22)
    assert {types[layer - 1] for layer in kept_layers("skip", 8, 22, types)} == {"global"}


def test_cadence_is_refused_for_layers_that_are_all_alike() -> None:
    with pytest.raises(RequestError, match="all of one kind: use 'uniform' or 'skip'"):
        kept_layers("cadence", 3, 6)
