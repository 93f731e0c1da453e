"""Texts that are their own labels, from whatever file they come."""

import json
import logging
from pathlib import Path

import pytest

from distilnlp.data import load_task
from distilnlp.errors import RequestError
from distilnlp.problems import get_problem

LINES = [f"line {row} has words" for row in range(60)]
KIND = "masked_lm"


def write(folder: Path, name: str, lines: list[str] = LINES) -> Path:
    path = folder / name
    if path.suffix == ".txt":
        path.write_text("\n".join(lines) + "\n")
    else:
        rows = [{"text": line, "label": row % 3, "other": "x"} for row, line in enumerate(lines)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["texts.txt", "texts.jsonl"])
def test_texts_alone_are_read_and_a_part_is_held_out(tmp_path: Path, name: str) -> None:
    task = load_task(write(tmp_path, name), problem_type=KIND)
    assert task.problem == get_problem(KIND) and task.main_metric == "masked_accuracy" and task.label_names is None
    assert task.train.column_names == task.validation.column_names == ["text"]
    assert sorted([*task.train["text"], *task.validation["text"]]) == sorted(LINES)
    assert 0 < len(task.validation) < len(task.train)
    order = [LINES.index(text) for text in task.train["text"]]
    assert order == sorted(order)  # neighbours stay neighbours in a block


def test_empty_texts_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        task = load_task(write(tmp_path, "texts.jsonl", [*LINES, "", "  "]), problem_type=KIND)
    assert len(task.train) + len(task.validation) == len(LINES)
    assert "2 of 62 texts are empty and left out" in caplog.text


@pytest.mark.parametrize("name", ["texts.txt", "texts.jsonl"])
def test_texts_that_are_all_empty_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=r"nothing to learn from|the file is empty"):
        load_task(write(tmp_path, name, ["", " ", ""]), problem_type=KIND)


def test_a_text_that_stands_twice_is_not_on_both_sides(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, "texts.txt", LINES * 2), problem_type=KIND)
    assert not set(task.train["text"]) & set(task.validation["text"])


def test_a_held_out_file_and_a_folder_of_both(tmp_path: Path) -> None:
    write(tmp_path, "train.txt"), write(tmp_path, "validation.txt", ["other words", "and more"])
    for task in (
        load_task(tmp_path, problem_type=KIND),
        load_task(tmp_path / "train.txt", validation=tmp_path / "validation.txt", problem_type=KIND),
    ):
        assert len(task.train) == 60 and task.validation["text"] == ["other words", "and more"]


def test_a_task_of_pairs_gives_its_texts() -> None:
    task = load_task("mnli-sample", problem_type=KIND, max_train=50, max_validation=20)
    assert task.train.column_names == ["text"] and (len(task.train), len(task.validation)) == (50, 20)


def test_the_column_of_texts_can_be_named(tmp_path: Path) -> None:
    task = load_task(
        write(tmp_path, "texts.jsonl"), text="other", problem_type=KIND, validation=write(tmp_path, "held.jsonl")
    )
    assert set(task.train["text"]) == {"x"}


def test_a_column_of_labels_cannot_be_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="learns from the texts alone: leave label="):
        load_task(write(tmp_path, "texts.jsonl"), label="label", problem_type=KIND)


def test_a_column_of_numbers_holds_no_texts(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"column 'label' holds .*, not texts"):
        load_task(write(tmp_path, "texts.jsonl"), text="label", problem_type=KIND)
