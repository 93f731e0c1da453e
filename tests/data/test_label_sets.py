"""Several labels a text are the ids of those that hold until the batch; what is read, measured and learned stays."""

import json
import math
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import TrainingArguments

from distilnlp import DistillationTrainer
from distilnlp.data import label_array, load_task, make_collator, tokenize
from distilnlp.data.accept import count_labels_as
from distilnlp.data.inspect import dataset_label_names, dataset_problem, label_counts, to_tokens
from distilnlp.data.label_sets import as_zeros_and_ones, label_keys, rows_with_label, rows_without_label
from distilnlp.data.split import hold_out, subset
from distilnlp.errors import RequestError
from distilnlp.problems import get_problem
from tests.tiny import tiny_model, tiny_tokenizer

NAMES = ["joy", "fear", "anger"]
SETS = [[0], [], [0, 2], [1]]
HOT = [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def labelled(values, feature, times=1, column="label"):
    texts = [f"{word} film" for word in ("good", "the", "bad", "dull")] * times
    features = Features({"text": Value("string"), column: feature})
    return Dataset.from_dict({"text": texts, column: values * times}, features=features)


def sets(times=1):
    return labelled(SETS, List(ClassLabel(names=NAMES)), times)


def dense(times=1):
    return labelled(HOT, List(Value("float32")), times)


def test_a_batch_has_a_0_or_1_for_each_label():
    tokens = tokenize(sets(), tiny_tokenizer())
    assert tokens["label_ids"][:] == SETS
    batch = make_collator(tiny_tokenizer(), num_labels=3)([tokens[row] for row in range(4)])
    assert batch["labels"].tolist() == HOT
    assert "label_ids" not in batch
    stream = tokenize(sets().to_iterable_dataset(), tiny_tokenizer())
    assert make_collator(tiny_tokenizer(), num_labels=3)(list(stream))["labels"].tolist() == HOT


def test_a_batch_needs_to_know_how_many_labels_there_are():
    row = tokenize(sets(), tiny_tokenizer())[2]
    with pytest.raises(RequestError, match="give make_collator"):
        make_collator(tiny_tokenizer())([row])
    with pytest.raises(RequestError, match="has the label 2 and there are 2, counted from 0"):
        make_collator(tiny_tokenizer(), num_labels=2)([row])


def test_whatever_asks_for_the_labels_finds_the_same_as_in_zeros_and_ones():
    assert label_array(sets()).tolist() == label_array(dense()).tolist() == HOT
    assert label_counts(sets()) == label_counts(dense()) == ([2, 1, 1], 4)
    assert label_keys(sets(), get_problem("multi_label_classification")).tolist() == [(0,), (), (0, 2), (1,)]
    assert dataset_problem(sets()) == dataset_problem(dense())
    assert dataset_label_names(sets()) == tuple(NAMES)
    tokens = tokenize(sets(), tiny_tokenizer())
    assert dataset_problem(tokens) == dataset_problem(sets())
    assert label_counts(tokens) == ([2, 1, 1], 4)


def test_rows_are_held_out_as_by_rows_of_zeros_and_ones():
    rng = np.random.default_rng(0)
    hot = rng.random((400, 5)) < 0.3
    keys = np.empty(400, dtype=object)
    for row in range(400):
        keys[row] = tuple(np.flatnonzero(hot[row]).tolist())
    for got, expected in zip(hold_out(keys, 3, "data"), hold_out(hot.astype(np.float32), 3, "data"), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(subset(keys, 70, 1), subset(hot.astype(np.float32), 70, 1))


def test_labels_in_another_order_are_counted_as_the_training_counts_them():
    turned = count_labels_as(sets(), ["anger", "joy", "fear"], "eval_dataset")
    assert turned["label"][:] == [[1], [], [0, 1], [2]]
    with pytest.raises(RequestError, match="labels of eval_dataset are joy, fear, anger and those of the training"):
        count_labels_as(sets(), ["joy", "fear", "hope"], "eval_dataset")


def test_what_is_tokenised_already_is_known_by_its_type():
    tokens = tokenize(sets(), tiny_tokenizer()).rename_column("label_ids", "labels")
    assert to_tokens(tokens, [tiny_tokenizer()], None)["label_ids"][:] == SETS


def test_a_training_on_sets_is_that_on_zeros_and_ones(tmp_path):
    """The same weights and the same scores, whichever the trainer is given."""
    found = []
    for name, data in (("sets", sets), ("dense", dense)):
        student = tiny_model("bert", num_labels=3, label_names=NAMES, problem_type="multi_label_classification")
        args = TrainingArguments(
            str(tmp_path / name), num_train_epochs=2, per_device_train_batch_size=4, report_to=[], use_cpu=True
        )
        trainer = DistillationTrainer(
            model=student, args=args, train_dataset=data(4), eval_dataset=data(1), processing_class=tiny_tokenizer()
        )
        loss = trainer.train().training_loss
        scores = {key: value for key, value in trainer.evaluate().items() if key.endswith(("loss", "f1", "precision"))}
        found.append((loss, scores, student.classifier.weight.tolist()))
    assert found[0] == found[1]
    assert found[0][1]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.float32()], ids=str)
def test_rows_of_zeros_and_ones_in_a_file_become_sets(tmp_path, kind):
    path = tmp_path / "a.parquet"
    hot = [[int(value) for value in row] for row in HOT] * 10
    table = pa.table({"text": [f"text {row}" for row in range(40)], "label": pa.array(hot, pa.list_(kind))})
    pq.write_table(table, path)
    task = load_task(path)
    assert task.label_names == ("0", "1", "2")
    rows = dict(zip(task.train["text"], label_array(task.train).tolist(), strict=True))
    assert all(labels == HOT[int(text.split()[1]) % 4] for text, labels in rows.items())
    other = tmp_path / "b.parquet"
    pq.write_table(pa.table({"text": ["x"], "label": pa.array([[1, 0]], pa.list_(kind))}), other)
    with pytest.raises(RequestError, match="rows of 2 zeros and ones where the training data have 3 labels"):
        load_task(path, validation=other)


@pytest.mark.slow
def test_of_many_labels_only_those_that_hold_are_in_memory(tmp_path):
    """Rows of zeros and ones would take 4 x 2,000 bytes each, several times over."""
    path = tmp_path / "a.jsonl"
    rows = (
        {"text": f"the film was good {row}", "label": [f"l{row % 2000}", f"l{row * 7 % 2000}"]} for row in range(4000)
    )
    path.write_text("\n".join(json.dumps(row) for row in rows))
    tracemalloc.start()
    try:
        task = load_task(path)
        tokens = tokenize(task.train, tiny_tokenizer())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(task.label_names) == 2000
    assert peak / 4000 < 4000
    batch = make_collator(tiny_tokenizer(), 2000)([tokens[row] for row in range(8)])
    assert batch["labels"].shape == (8, 2000)
    assert batch["labels"].sum() >= 8


def test_sets_of_no_row_and_of_no_label_have_their_shape():
    assert as_zeros_and_ones([], 3).shape == (0, 3)
    assert as_zeros_and_ones([[], []], 2).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("values", "has_one"),
    [
        ([0, -100, None, 3], [True, False, False, True]),
        ([0.0, math.nan, None], [True, False, False]),
        ([[0, -100], [-100, -100], [], None], [True, False, True, False]),
        ([[0.0, 2.0], [math.nan, math.nan], [], None], [True, False, True, False]),
        (["a", None], [True, False]),
    ],
)
def test_a_row_without_a_label_is_told_in_every_kind_of_column(values, has_one):
    assert rows_with_label(pa.array(values)).tolist() == has_one
    assert rows_without_label(Dataset.from_dict({"label": values})) == has_one.count(False)
