"""Data in memory become a file that the loader reads, once for the same content."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from distilnlp import load_task
from distilnlp.api.given import as_files
from distilnlp.errors import RequestError

ROWS = [
    {"text": f'a "{kind}" film, number {number}', "label": kind} for number in range(12) for kind in ("bad", "good")
]
IN_MEMORY: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "dicts": list,
    "Dataset": Dataset.from_list,
    "DataFrame": pd.DataFrame,
    "Arrow": pa.Table.from_pylist,
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_what_is_in_memory_is_read_as_its_file_would_be(kind, tmp_path):
    name, held_out = as_files(IN_MEMORY[kind](ROWS), None, tmp_path / "new")
    assert held_out is None
    task = load_task(name)
    assert task.label_names == ("bad", "good")
    assert sorted([*task.train["text"], *task.validation["text"]]) == sorted(row["text"] for row in ROWS)


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_a_file_is_written_once_and_named_by_its_content(kind, tmp_path):
    make = IN_MEMORY[kind]
    (name, _), (again, _) = (as_files(make(ROWS), None, tmp_path) for _ in range(2))
    assert name == again and len([*tmp_path.iterdir()]) == 1
    changed = [*ROWS[:-1], {**ROWS[-1], "label": "bad"}]
    assert as_files(make(changed), None, tmp_path)[0] != name
    assert as_files(make(ROWS[::-1]), None, tmp_path)[0] != name


def test_names_stay_as_they_are(tmp_path):
    assert as_files("mrpc", "v.csv", tmp_path) == ("mrpc", "v.csv")
    assert as_files(Path("a") / "b.csv", None, tmp_path) == ("a/b.csv", None)
    assert [*tmp_path.iterdir()] == []


def test_a_dataset_keeps_the_names_of_its_classes_and_what_is_selected_of_it(tmp_path):
    rows = [{"text": row["text"], "label": int(row["label"] == "good")} for row in ROWS]
    data = Dataset.from_list(rows).cast_column("label", ClassLabel(names=["poor", "fine"]))
    task = load_task(as_files(data.select(range(4, 20)).shuffle(seed=1), None, tmp_path)[0])
    assert task.label_names == ("poor", "fine")
    assert len(task.train) + len(task.validation) == 16


def test_the_splits_of_a_dataset_dict_are_trained_on_and_held_out(tmp_path):
    splits = DatasetDict(train=Dataset.from_list(ROWS[:16]), dev=Dataset.from_list(ROWS[16:20]))
    splits["later"] = Dataset.from_list(ROWS[20:])
    for validation, rows in ((None, ROWS[16:20]), ("later", ROWS[20:]), (ROWS[:2], ROWS[:2])):
        name, held_out = as_files(splits, validation, tmp_path)
        assert load_task(name, validation=held_out).validation["text"][:] == [row["text"] for row in rows]
    with pytest.raises(RequestError, match=r"no split 'test' in the DatasetDict: its splits are train, dev, later"):
        as_files(splits, "test", tmp_path)
    with pytest.raises(RequestError, match="has no split 'train': its splits are dev"):
        as_files(DatasetDict(dev=splits["dev"]), None, tmp_path)


def test_dicts_may_lack_keys_and_hold_what_numpy_holds(tmp_path):
    rows = [{"text": f"text {number}", "label": np.int64(number % 2)} for number in range(20)]
    rows[3]["note"] = np.array([1, 2])
    assert load_task(as_files(rows, None, tmp_path)[0]).problem.name == "single_label_classification"


def test_a_data_frame_has_whatever_index(tmp_path):
    frame = pd.DataFrame(ROWS, index=[f"row {number}" for number in range(len(ROWS))])
    frame["label"] = frame["label"].astype("category")
    assert load_task(as_files(frame, None, tmp_path)[0]).label_names == ("bad", "good")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "the data: no rows"),
        (pd.DataFrame({"text": []}), "the data: no rows"),
        (Dataset.from_dict({"text": []}), "the data: no rows"),
        (["a text"], "item 0 is 'a text', of type str: a list of dicts is needed"),
        ([{"text": "a", "label": object()}], "item 0 has a value that is no text, number or list"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "has the column 'text' more than once"),
        (pd.DataFrame({"text": ["a", 3], "label": [0, 1]}), "of several kinds"),
        (Dataset.from_list(ROWS).to_iterable_dataset(), "is a stream"),
        (7, "the data is 7, of type int: give the name of a task"),
        (b"mrpc", "of type bytes"),
    ],
)
def test_what_holds_no_rows_is_refused(data, said, tmp_path):
    with pytest.raises(RequestError) as caught:
        as_files(data, None, tmp_path)
    assert said in str(caught.value)
    assert [*tmp_path.iterdir()] == []


def test_where_nothing_can_be_written_that_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="the data cannot be written to"):
        as_files(ROWS, None, tmp_path / "file" / "runs")
