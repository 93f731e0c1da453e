"""A column that says how much each training example counts."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, IterableDataset

from distilnlp.data.collate import make_collator
from distilnlp.data.example_weights import has_example_weights, read_weights, scale_weights
from distilnlp.data.load import load_task
from distilnlp.data.tokenize import tokenize
from distilnlp.errors import RequestError
from tests.tiny import tiny_tokenizer

ROWS = ["text,label,trust"] + [f"text number {i},{'yes' if i % 2 else 'no'},{i % 3}" for i in range(40)]


def csv(folder: Path, rows: list[str] = ROWS) -> Path:
    path = folder / "faq.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_the_training_rows_have_the_weights_and_the_held_out_ones_none(tmp_path: Path) -> None:
    task = load_task(csv(tmp_path), weight="trust")
    assert task.train is not None and task.validation is not None
    assert task.columns is not None and task.columns.weight == "trust"
    assert all(row["example_weight"] == int(row["text"].split()[-1]) % 3 for row in task.train)
    assert "example_weight" not in task.validation.column_names


def test_without_it_every_row_counts_alike(tmp_path: Path) -> None:
    task = load_task(csv(tmp_path))
    assert not has_example_weights(task.train)


def test_a_file_of_held_out_rows_needs_no_weights(tmp_path: Path) -> None:
    held_out = tmp_path / "dev.csv"
    held_out.write_text("text,label\nsome text,yes\nsome other,no\n")
    task = load_task(csv(tmp_path), weight="trust", validation=held_out)
    assert has_example_weights(task.train) and len(task.validation) == 2


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("-1", "row 41 has .*-1.*: the weight of an example is a number of 0 or more"),
        ("nan", "row 41 has 'nan'"),
        ("inf", "row 41 has 'inf'"),
        ("much", "row 41 has 'much'"),
        ("", "row 41 has no weight"),
    ],
)
def test_a_weight_that_is_none_is_refused_with_its_row(tmp_path: Path, weight: str, message: str) -> None:
    with pytest.raises(RequestError, match=f"faq.csv, column 'trust': {message}"):
        load_task(csv(tmp_path, [*ROWS, f"one more,yes,{weight}"]), weight="trust")


def test_weights_of_zero_throughout_are_refused(tmp_path: Path) -> None:
    rows = [row.rsplit(",", 1)[0] + (",trust" if i == 0 else ",0") for i, row in enumerate(ROWS)]
    with pytest.raises(RequestError, match="every weight is 0: nothing would be trained"):
        load_task(csv(tmp_path, rows), weight="trust")


def test_a_column_that_is_not_there_or_has_another_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no column 'trsut' for weight: did you mean 'trust'"):
        load_task(csv(tmp_path), weight="trsut")
    with pytest.raises(RequestError, match="one column is named twice"):
        load_task(csv(tmp_path), text="text", label="trust", weight="trust")
    with pytest.raises(RequestError, match="weight= is for your own data"):
        load_task("mrpc", weight="trust")


def test_weights_written_as_numbers_or_as_text_are_the_same() -> None:
    numbers = Dataset.from_dict({"w": [0.5, 2.0, 0.5]})
    assert read_weights(numbers, "w", "data").tolist() == [0.5, 2.0, 0.5]
    assert read_weights(Dataset.from_dict({"w": ["0.5", "2", "0.5"]}), "w", "data").tolist() == [0.5, 2.0, 0.5]
    with pytest.raises(RequestError, match="row 1 has True"):
        read_weights(Dataset.from_dict({"w": [True, False]}), "w", "data")


def test_training_weights_have_a_mean_of_one() -> None:
    scaled = scale_weights(Dataset.from_dict({"text": ["a", "b", "c"], "example_weight": [1, 3, 2]}), "train_dataset")
    assert scaled["example_weight"][:] == pytest.approx([0.5, 1.5, 1.0])
    plain = Dataset.from_dict({"text": ["a"]})
    assert scale_weights(plain, "train_dataset") is plain


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -2.0], "row 2 of train_dataset has the example_weight -2.0"),
        ([1.0, None], "row 2 of train_dataset has the example_weight None"),
        ([0.0, 0.0], "every weight is 0"),
        (["heavy", "light"], "a number of 0 or more"),
    ],
)
def test_weights_that_are_none_are_refused_in_the_trainer_too(weights: list[object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        scale_weights(Dataset.from_dict({"text": ["a", "b"], "example_weight": weights}), "train_dataset")


def test_weights_go_through_tokens_into_the_batch_in_float32() -> None:
    tokenizer = tiny_tokenizer()
    rows = Dataset.from_dict({"text": ["the film", "good"], "label": [0, 1], "example_weight": [0.5, 1.5]})
    features = [*tokenize(rows, tokenizer)]
    batch = make_collator(tokenizer)(features)
    assert batch["example_weight"].tolist() == [0.5, 1.5]
    assert str(batch["example_weight"].dtype) == "torch.float32"


def test_a_stream_s_weights_are_checked_in_the_batch() -> None:
    tokenizer = tiny_tokenizer()
    rows = IterableDataset.from_generator(
        lambda: iter([{"text": "good", "label": 0, "example_weight": -1.0}, {"text": "the film", "label": 1}])
    )
    feature = {**next(iter(rows)), **tokenizer("good")}
    with pytest.raises(RequestError, match="example_weight of an example is a number of 0 or more"):
        make_collator(tokenizer)([feature])
    assert not np.isnan(scale_weights(rows, "train_dataset") is rows)
