"""What people hand over in place of a data set is taken, or one line says what is needed."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, List, Value

from distilnlp.data.accept import as_dataset, as_datasets, check_class_ids, count_labels_as
from distilnlp.errors import RequestError

ROWS = [{"text": "a good film", "label": 1}, {"text": "a bad film", "label": 0}]
COLUMNS = {"text": ["a good film", "a bad film"], "label": [1, 0]}


@pytest.mark.parametrize(
    "given", [ROWS, tuple(ROWS), COLUMNS, pd.DataFrame(ROWS, index=[7, 3]), pa.table(COLUMNS), Dataset.from_list(ROWS)]
)
def test_tables_rows_and_columns_become_the_same_data_set(given: Any) -> None:
    made = as_dataset(given, "train_dataset")
    assert isinstance(made, Dataset) and made.to_list() == ROWS


def test_what_is_ready_or_of_torch_is_left_alone() -> None:
    class OfTorch:
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"input_ids": [1], "labels": index}

    stream = Dataset.from_list(ROWS).to_iterable_dataset()
    for given in (None, stream, [{"input_ids": [1, 2], "labels": 0}], OfTorch()):
        assert as_dataset(given, "train_dataset") is given


def test_several_splits_are_taken_where_several_may_be_given() -> None:
    splits = DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS))
    assert set(as_datasets(splits, "eval_dataset")) == {"train", "test"}
    assert as_datasets({"small": ROWS}, "eval_dataset")["small"].to_list() == ROWS
    with pytest.raises(RequestError, match=r"train_dataset has the splits train, test: give one .*\['train'\]"):
        as_dataset(splits, "train_dataset")


@pytest.mark.parametrize(
    "given",
    [
        "data.csv",
        b"x",
        3,
        ["a text"],
        [("a text", 1)],
        [],
        object(),
        {},
        [{"text": "a"}, {"text": 1}],
        {"text": [1, "a"]},
    ],
)
def test_anything_else_is_refused_with_what_is_needed(given: Any) -> None:
    with pytest.raises(RequestError, match=r"train_dataset .*(columns text|give one of them)") as caught:
        as_dataset(given, "train_dataset")
    assert "\n" not in str(caught.value)


def classes(names: list[str], ids: list[int]) -> Dataset:
    features = Features(text=Value("string"), label=ClassLabel(names=names))
    return Dataset.from_dict({"text": ["x"] * len(ids), "label": ids}, features=features)


@pytest.mark.parametrize("stream", [False, True])
def test_classes_in_another_order_or_case_are_put_into_ours(stream: bool) -> None:
    data: Any = classes(["POS", "neg"], [0, 1, 1, -1])
    data = data.to_iterable_dataset() if stream else data
    counted = count_labels_as(data, ["neg", "pos"], "eval_dataset")
    assert [row["label"] for row in counted] == [1, 0, 0, -1]
    assert counted.features["label"].names == ["neg", "pos"]
    assert isinstance(counted, IterableDataset) == stream


def test_some_of_our_classes_are_enough_and_others_are_refused() -> None:
    assert count_labels_as(classes(["c", "a"], [0, 1]), ["a", "b", "c"], "eval_dataset")["label"][:] == [2, 0]
    with pytest.raises(RequestError, match="the labels of eval_dataset are c, d and those of the training are a, b"):
        count_labels_as(classes(["c", "d"], [0, 1]), ["a", "b"], "eval_dataset")
    with pytest.raises(RequestError, match="eval_dataset are Pos, POS"):  # both would be the same class of ours
        count_labels_as(classes(["Pos", "POS"], [0, 1]), ["pos", "neg"], "eval_dataset")


def test_multi_hot_rows_of_whole_numbers_become_fractions() -> None:
    counted = count_labels_as(Dataset.from_dict({"label": [[1, 0, 1], [0, 1, 0]]}), None, "train_dataset")
    assert counted.features["label"] == List(Value("float32"))
    assert np.array_equal(counted["label"][:], [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize("rows", [[[1, 0], [1]], [[1, 2], [0, 1]], [[0, -1], [0, 1]], [[1, 0], None]])
def test_other_lists_of_whole_numbers_are_refused(rows: Any) -> None:
    with pytest.raises(RequestError, match="one number a label is needed, 1 where it holds"):
        count_labels_as(Dataset.from_dict({"label": rows}), None, "train_dataset")


def test_a_class_id_without_a_logit_is_named() -> None:
    check_class_ids(Dataset.from_dict({"labels": [0, 2, -100]}), 3, "train_dataset")
    check_class_ids(Dataset.from_dict({"labels": [0.5, 7.0]}), 1, "train_dataset")
    for wrong in (3, -1):
        with pytest.raises(RequestError, match=f"train_dataset has the label {wrong} and the head has 3 classes"):
            check_class_ids(Dataset.from_dict({"labels": [0, wrong]}), 3, "train_dataset")
