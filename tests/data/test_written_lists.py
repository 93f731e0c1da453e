"""Lists that a csv holds as text are not taken for texts where lists are meant."""

import csv
from pathlib import Path

import pytest
from datasets import Dataset

from distilnlp.data import load_task
from distilnlp.data.written_lists import holds_written_lists
from distilnlp.errors import RequestError


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["['a', 'b']", '["c"]', "['d' 'e']"], True),
        (["['a']", None, "[]"], True),
        (["[]", None], False),
        (["['a']", "a text"], False),
        (["[1]", "[2]"], False),  # marks of footnotes
        (["[URGENT]", "[draft]"], False),
        ([1, 2], False),
        ([["a"], ["b"]], False),
    ],
)
def test_a_column_of_lists_is_told_from_one_of_texts(values: list[object], expected: bool) -> None:
    assert holds_written_lists(Dataset.from_dict({"text": values}), "text") is expected


def test_numbers_in_the_lists_are_taken_where_labels_are_looked_at() -> None:
    assert holds_written_lists(Dataset.from_dict({"tags": ["[0, 1]", "[1]"]}), "tags", of_texts=False)


def written(path: Path, names: list[str], rows: list[list[object]]) -> str:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


@pytest.mark.parametrize("tags", [["O", "B-colour"], [0, 1]])
def test_words_with_tags_in_a_csv_are_not_texts_of_several_labels(tmp_path: Path, tags: list[object]) -> None:
    rows: list[list[object]] = [[["film", f"{row}"], tags if row % 2 else tags[:1] * 2] for row in range(60)]
    path = written(tmp_path / "words.csv", ["tokens", "tags"], rows)
    with pytest.raises(RequestError, match=r"'tokens' and 'tags' hold lists that are written as text: .*conll"):
        load_task(path)
    task = load_task(path, problem_type="multi_label_classification")  # who says so means it
    assert task.problem.several_labels


@pytest.mark.parametrize("column", ["pos", "neg"])
def test_lists_of_texts_in_a_csv_are_not_one_text(tmp_path: Path, column: str) -> None:
    rows: list[list[object]] = []
    for row in range(30):
        texts = {"pos": "a text", "neg": f"another {row}"} | {column: ["one text", f"another {row}"]}
        rows.append([f"query {row}", texts["pos"], texts["neg"]])
    path = written(tmp_path / "queries.csv", ["query", "pos", "neg"], rows)
    with pytest.raises(RequestError, match=f"column '{column}' holds lists that are written as text"):
        load_task(path)
