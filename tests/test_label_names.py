"""Two spellings are one label where nothing else could be meant; signs always count."""

import pytest

from distilnlp.label_names import find_name, match_names


@pytest.mark.parametrize(
    ("reference", "other", "places"),
    [
        (["a", "b"], ["a", "b"], (0, 1)),
        (["a", "b"], ["b", "a"], (1, 0)),
        (["-1", "0", "1"], ["1", "0", "-1"], (2, 1, 0)),
        (["C", "C++", "C#"], ["C#", "C", "C++"], (1, 2, 0)),
        (["+", "-"], ["-", "+"], (1, 0)),
        (["😀", "😢"], ["😢", "😀"], (1, 0)),
        (["Positive", "POSITIVE"], ["POSITIVE", "Positive"], (1, 0)),
        (["negative", "positive"], ["Positive", "Negative"], (1, 0)),
        (["entailment", "not_entailment"], ["Not Entailment", "ENTAILMENT"], (1, 0)),
        (["not_entailment", "entailment"], ["notEntailment", "entailment"], (0, 1)),
        (["straße", "gasse"], ["GASSE", "STRASSE"], (1, 0)),
    ],
)
def test_the_same_labels_are_paired_whatever_their_order_and_case(reference, other, places):
    assert match_names(reference, other) == places


@pytest.mark.parametrize(
    ("reference", "other"),
    [
        (["-1", "0"], ["1", "0"]),
        (["C", "D"], ["C++", "D"]),
        (["<5", "6"], ["5", "6"]),
        (["1-2", "3"], ["12", "3"]),
        (["a", "b"], ["a"]),
        (["a"], ["a", "b"]),
        (["a", "b"], ["a", "c"]),
        (["Positive", "POSITIVE"], ["positive", "Positive"]),  # which of the two is "positive"?
        (["a", "a"], ["a", "b"]),
        (["+", "-"], ["", " "]),
    ],
)
def test_other_labels_are_not(reference, other):
    assert match_names(reference, other) is None


def test_one_name_is_found_where_only_one_can_be_meant():
    assert find_name("POS", ["neg", "pos"]) == "pos"
    assert find_name("pos", ["POS", "pos"]) == "pos"
    assert find_name("Pos", ["POS", "pos"]) is None
    assert find_name("1", ["-1", "0"]) is None
