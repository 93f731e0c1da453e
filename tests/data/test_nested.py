"""Examples with several inputs: one row each, and one input each for the model."""

from datasets import Dataset

from distilnlp.data.nested import flat_dataset, flat_rows, is_nested, nested

ROWS = [
    {"input_ids": [[1, 2], [3]], "attention_mask": [[1, 1], [1]], "labels": [0.0, 1.0], "length": 2},
    {"input_ids": [[4]], "attention_mask": [[1]], "labels": [1.0], "length": 1},
]
FLAT = [
    {"input_ids": [1, 2], "attention_mask": [1, 1]},
    {"input_ids": [3], "attention_mask": [1]},
    {"input_ids": [4], "attention_mask": [1]},
]


def test_inputs_of_an_example_are_put_together_and_taken_apart() -> None:
    columns = {"input_ids": [[1, 2], [3], [4]]}
    assert nested(columns, [5, 5, 7]) == {"input_ids": [[[1, 2], [3]], [[4]]]}
    assert flat_rows(ROWS) == FLAT


def test_rows_with_one_input_stay_as_they_are() -> None:
    assert not is_nested(FLAT[0]) and is_nested(ROWS[0])
    assert flat_rows(FLAT) == FLAT


def test_a_data_set_is_laid_out_by_inputs() -> None:
    dataset = Dataset.from_list(ROWS)
    assert flat_dataset(dataset).to_list() == FLAT
    assert flat_dataset(dataset.select([1])).to_list() == FLAT[2:]
    alone = Dataset.from_list(FLAT)
    assert flat_dataset(alone) is alone
