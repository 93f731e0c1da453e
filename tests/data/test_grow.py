"""Label sets that grow from task to task."""

import csv
from pathlib import Path

import pytest

from distilnlp.data import load_task
from distilnlp.data.grow import grow_labels, grown_names
from distilnlp.errors import RequestError


@pytest.fixture
def task(tmp_path: Path):
    path = tmp_path / "more.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = [(f"text number {row}", ("Sport", "art", "news")[row % 3]) for row in range(30)]
        csv.writer(file).writerows([("text", "label"), *rows])
    return load_task(str(path))


def test_the_old_labels_keep_their_places_and_the_new_ones_come_after_them(task):
    grown = grow_labels(task, ("sport", "politics"))
    assert grown.label_names == ("sport", "politics", "art", "news")
    assert grown.train.features["label"].names == ["sport", "politics", "art", "news"]
    for before, after in ((task.train, grown.train), (task.validation, grown.validation)):
        names = [task.label_names[label].lower() for label in before["label"]]
        assert [grown.label_names[label] for label in after["label"]] == names
        assert after["text"][:] == before["text"][:]


def test_the_order_that_a_task_declares_its_labels_in_does_not_matter(task):
    names = grown_names(("b", "a", "c"), ("a", "b"))
    assert names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("own", "old", "message"),
    [
        (("0", "1"), ("a", "b"), "0, 1 are numbers"),
        (("a", "b"), ("0", "1"), "0, 1 are numbers"),
        (("no_go", "no go", "x"), ("No Go", "yes"), "tell them apart"),
    ],
)
def test_labels_of_which_nobody_knows_what_they_mean_are_refused(own, old, message):
    with pytest.raises(RequestError, match=message):
        grown_names(own, old)


def test_a_kind_of_task_without_classes_does_not_grow(task):
    with pytest.raises(RequestError, match="have no names"):
        grow_labels(task, None)
