"""Equal texts are found, by the thousand and without a comparison of each with each."""

import numpy as np
from datasets import Dataset

from distilnlp.data.repeats import Repeats, overlap_note, text_hashes


def test_texts_are_equal_after_trimming_and_pairs_by_both() -> None:
    single = Dataset.from_dict({"text": ["a", " a\n", "b", "A"]})
    assert Repeats.of(text_hashes(single)).groups.tolist() == [0, 0, 1, 2]
    pairs = Dataset.from_dict({"text": ["a", "a", "b", "a"], "text_pair": ["b", "c", "a", "b "]})
    assert Repeats.of(text_hashes(pairs)).groups.tolist() == [0, 1, 2, 0]


def test_groups_are_counted_in_the_order_of_the_data_whatever_the_hashes() -> None:
    for hashes in ([9, 3, 9, 5], [1, 7, 1, 2]):
        repeats = Repeats.of(np.array(hashes, dtype=np.uint64))
        assert repeats.groups.tolist() == [0, 1, 0, 2]
        assert repeats.sizes.tolist() == [2, 1, 1]


def test_what_is_said() -> None:
    repeats = Repeats.of(np.array([1, 1, 2, 2, 2, 3], dtype=np.uint64))
    assert repeats.note() == "2 texts stand in 5 of the 6 rows"
    assert repeats.contradictions(np.array([0, 0, 1, 1, 0, 1])) == "1 of them with labels that contradict each other"
    assert repeats.contradictions(np.array([0, 0, 1, 1, 1, 0])) is None
    assert repeats.contradictions(np.eye(6)) == "2 of them with labels that contradict each other"
    single = Repeats.of(np.arange(4, dtype=np.uint64))
    assert single.note() is None and single.contradictions(np.arange(4)) is None
    hashes = np.arange(4, dtype=np.uint64)
    assert overlap_note(hashes, hashes[2:]) == "2 of the 2 held-out texts are trained on too"
    assert overlap_note(hashes[:2], hashes[2:]) is None
