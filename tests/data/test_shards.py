"""Parts of a data set: nothing is lost, and no text is in two."""

import pytest
from datasets import Dataset

from distilnlp.data.shards import row_texts, shard_of
from distilnlp.errors import RequestError


def rows(count: int = 50, repeated: int = 10) -> Dataset:
    texts = [f"text {number % (count - repeated)}" for number in range(count)]
    return Dataset.from_dict({"text": texts, "label": [number % 2 for number in range(count)]})


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_parts_are_all_of_it_and_have_no_text_in_common(count: int) -> None:
    data = rows()
    parts = [shard_of(data, place, count, 0) for place in range(1, count + 1)]
    assert sorted(row for part in parts for row in part["text"]) == sorted(data["text"])
    texts = [set(row_texts(part)) for part in parts]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 40
    assert max(map(len, texts)) - min(map(len, texts)) <= 1


def test_the_same_seed_draws_the_same_and_rows_stay_in_their_order() -> None:
    data = rows().add_column("place", list(range(50)))
    assert (
        shard_of(data, 1, 3, 0)["place"]
        == shard_of(data, 1, 3, 0)["place"]
        == sorted(shard_of(data, 1, 3, 0)["place"])
    )
    assert shard_of(data, 1, 3, 0)["place"] != shard_of(data, 1, 3, 1)["place"]


def test_pairs_and_words_are_told_apart_as_a_whole() -> None:
    data = Dataset.from_dict({"text": ["a", "a", "a"], "text_pair": ["x", "y", "x"]})
    assert row_texts(data) == [("a", "x"), ("a", "y"), ("a", "x")]
    words = Dataset.from_dict({"text": [["a", "b"], ["a b"]]})
    assert len(set(row_texts(words))) == 2


def test_more_parts_than_texts_are_refused() -> None:
    with pytest.raises(RequestError, match="40 different texts, fewer than 41 parts"):
        shard_of(rows(), 1, 41, 0)
