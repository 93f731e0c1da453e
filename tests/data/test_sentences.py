"""Texts to learn vectors from, and scored pairs to measure them on."""

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from distilnlp.data.sentences import scored_pairs, single_texts
from distilnlp.errors import RequestError

PAIRS = Dataset.from_dict({"text": ["a b", "c"], "text_pair": ["d", "e"], "label": [4.5, 1.0]})


def test_the_texts_of_all_columns_come_once_each_and_without_white_space_around_them() -> None:
    data = Dataset.from_dict({"one": ["x ", "y", "x"], "two": ["y", " z", ""], "label": [1, 2, 3]})
    found = single_texts(data, ["one", "two"], "here")
    assert found.rows["text"][:] == ["x", "y", "z"]
    assert found.notes == ("of 6 texts 1 are empty: left out",)


def test_what_is_measured_is_not_learned_from() -> None:
    data = Dataset.from_dict({"text": ["a b", "new", "e", None]})
    found = single_texts(data, ["text"], "here", PAIRS)
    assert found.rows["text"][:] == ["new"]
    assert found.notes == ("of 4 texts 1 are empty and 2 are held out: left out",)


@pytest.mark.parametrize("texts", [["", "  ", "\n"], [None, None]])
def test_texts_that_are_all_empty_are_refused(texts: list[str | None]) -> None:
    with pytest.raises(RequestError, match=rf"here: none of {len(texts)} texts is left .* are empty"):
        single_texts(Dataset.from_dict({"text": texts}), ["text"], "here")


def test_numbers_are_no_texts() -> None:
    with pytest.raises(RequestError, match="not texts"):
        single_texts(Dataset.from_dict({"text": [1, 2]}), ["text"], "here")


def test_scores_stay_as_they_are() -> None:
    found = scored_pairs(PAIRS, "here")
    assert found["label"][:] == [4.5, 1.0] and found.features["label"] == Value("float32")


def test_classes_of_inference_say_how_alike_two_texts_are() -> None:
    names = ["entailment", "neutral", "contradiction"]
    features = Features({"text": Value("string"), "text_pair": Value("string"), "label": ClassLabel(names=names)})
    pairs = Dataset.from_dict({"text": ["a"] * 3, "text_pair": ["b"] * 3, "label": [2, 0, 1]}, features=features)
    assert scored_pairs(pairs, "here")["label"][:] == [0.0, 1.0, 0.5]


REFUSED = {
    "single texts": (PAIRS.remove_columns("text_pair"), "single texts"),
    "one score": (
        Dataset.from_dict({"text": ["a", "b"], "text_pair": ["c", "d"], "label": [1.0, 1.0]}),
        "every score is 1",
    ),
    "other classes": (
        PAIRS.map(lambda _: {"label": 0}).cast_column("label", ClassLabel(names=["no", "yes"])),
        "no, yes",
    ),
    "several labels": (
        PAIRS.map(lambda _: {"label": [1]}, features=Features({**PAIRS.features, "label": Sequence(Value("int64"))})),
        "several labels",
    ),
}


@pytest.mark.parametrize(("pairs", "said"), REFUSED.values(), ids=REFUSED)
def test_pairs_without_an_order_are_refused(pairs: Dataset, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        scored_pairs(pairs, "here")
