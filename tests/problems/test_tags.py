"""Tags and the entities that they stand for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.errors import RequestError
from distilnlp.problems.tags import Span, count_broken, entities_of, scheme_of, split_tag, tags_of, without_prefix


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (["O", "B-a", "I-a"], "BIO"),
        (["O", "B-a"], "BIO"),
        (["O", "a", "b"], "IO"),
        (["O", "I-a"], "IO"),
        (["O", "B-a", "I-a", "E-a", "S-a"], "BIOES"),
        (["O", "B-a", "I-a", "L-a", "U-a"], "BIOES"),
        (["NOUN", "VERB"], None),
    ],
)
def test_a_scheme_is_told_by_the_tags(names, scheme):
    assert scheme_of(names) == scheme


@pytest.mark.parametrize(
    ("names", "bare"),
    [
        ("O B-a I-a b", {"b"}),
        ("O I-a a", {"a"}),
        ("O B-a B-", {"B-"}),
        ("O a B-", {"B-"}),
        ("o B-a I-a", {"o"}),  # what the file writes for O, where it is clear that tags have prefixes
        ("O B_a I-a E-b", set()),
        ("O a b", set()),
        ("NOUN B-ADJ VERB", set()),
    ],
)
def test_tags_without_the_prefix_that_others_have_are_told(names, bare):
    assert without_prefix(names.split()) == bare


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("O B-a I-a O", [(1, 3, "a")]),
        ("B-a B-a", [(0, 1, "a"), (1, 2, "a")]),
        ("B-a I-b", [(0, 1, "a"), (1, 2, "b")]),  # a tag that cannot go on begins
        ("I-a I-a O I-a", [(0, 2, "a"), (3, 4, "a")]),
        ("a a b O", [(0, 2, "a"), (2, 3, "b")]),
        ("B-a E-a S-b E-b", [(0, 2, "a"), (2, 3, "b"), (3, 4, "b")]),
        ("B-a L-a U-b", [(0, 2, "a"), (2, 3, "b")]),
        ("S-a I-a", [(0, 1, "a"), (1, 2, "a")]),
        ("O O", []),
    ],
)
def test_entities_are_read_as_conlleval_reads_them(tags, entities):
    assert [(span.start, span.end, span.type) for span in entities_of(tags.split())] == entities


@pytest.mark.parametrize(
    ("tags", "scheme", "broken"),
    [
        ("O I-a", "BIO", 1),
        ("B-a I-b I-b", "BIO", 1),
        ("B-a I-a B-a", "BIO", 0),
        ("I-a I-a", "IO", 0),
        ("B-a E-a S-b", "BIOES", 0),
        ("B-a O", "BIOES", 1),
        ("B-a I-a", "BIOES", 1),
        ("E-a", "BIOES", 1),
    ],
)
def test_tags_that_their_scheme_forbids_are_counted(tags, scheme, broken):
    assert count_broken(tags.split(), scheme) == broken


def test_a_type_may_have_a_hyphen():
    assert split_tag("B-creative-work") == ("B", "creative-work")
    assert split_tag("I_x") == ("I", "x")
    assert split_tag("B") == ("I", "B")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.sampled_from("ab")), max_size=5))
def test_tags_of_entities_are_those_entities_again(parts):
    entities, place = [], 0
    for gap, length, kind in parts:
        entities.append(Span(place + gap, place + gap + length, kind))
        place += gap + length
    tags = tags_of(entities, place + 1)
    assert entities_of(tags) == entities
    assert count_broken(tags, "BIO") == 0


@pytest.mark.parametrize(
    ("entities", "why"),
    [([Span(0, 2, "a"), Span(1, 3, "b")], "overlaps"), ([Span(2, 5, "a")], "outside"), ([Span(1, 1, "a")], "outside")],
)
def test_entities_that_cannot_be_are_refused(entities, why):
    with pytest.raises(RequestError, match=why):
        tags_of(entities, 4)
