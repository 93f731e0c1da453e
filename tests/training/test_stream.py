"""Training on a stream, whose rows are read, tokenised and batched as they come."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, Features, IterableDataset, Value

from distilnlp.data import make_collator, tokenize
from distilnlp.data.sampler import bucket_stream
from distilnlp.errors import RequestError
from tests.runs import NAMES, dataset, make_trainer, snapshot, teacher_model
from tests.tiny import tiny_tokenizer


def stream(rows: int = 200, **changes: Any) -> IterableDataset:
    return dataset(rows, **changes).to_iterable_dataset(num_shards=2)


def without_names(rows: int = 200) -> IterableDataset:
    """As many streams come: nothing declared, not even the columns."""

    def generate() -> Iterator[dict[str, object]]:
        yield from dataset(rows)

    return IterableDataset.from_generator(generate)


@pytest.mark.parametrize("make", [stream, without_names])
def test_a_stream_trains_the_student_and_logs_every_term(tmp_path: Path, make: Any) -> None:
    trainer = make_trainer(tmp_path, train_dataset=make(), eval_dataset=dataset(30, seed=1), args={"max_steps": 6})
    before = snapshot(trainer.student)
    trainer.train()
    assert trainer.state.global_step == 6
    assert all(not torch.equal(value, before[name]) for name, value in trainer.student.named_parameters())
    logged = trainer.state.log_history[0]
    assert {"raw/hard_label", "raw/soft_target", "raw/hidden_state", "raw/attention_scores"} <= set(logged)
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1


def test_a_stream_is_tokenised_by_the_same_rules() -> None:
    kept, streamed = tokenize(dataset(30), tiny_tokenizer(), 12), tokenize(stream(30), tiny_tokenizer(), 12)
    assert list(streamed) == list(kept)
    assert streamed.features == kept.features


def test_the_order_of_a_streams_labels_is_checked(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="counts its labels"):
        make_trainer(tmp_path, train_dataset=stream(names=tuple(reversed(NAMES))), args={"max_steps": 2})
    teacher = teacher_model(label_names=None, num_labels=3)  # an untrained one without names: no better than chance
    with pytest.raises(RequestError, match="the teacher's labels have no names"):
        make_trainer(tmp_path, train_dataset=stream(), teacher=teacher, args={"max_steps": 2}).train()


def test_a_stream_can_be_evaluated_on(tmp_path: Path) -> None:
    kept = make_trainer(tmp_path, eval_dataset=dataset(30, seed=1)).evaluate()
    streamed = make_trainer(tmp_path, eval_dataset=stream(30, seed=1)).evaluate()
    assert streamed["eval_accuracy"] == kept["eval_accuracy"]


def test_a_stream_is_read_again_when_it_ends(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, train_dataset=stream(20), args={"max_steps": 7})
    trainer.train()
    assert trainer.state.global_step == 7


def test_batches_of_a_stream_have_like_lengths_and_every_row_once() -> None:
    tokens = tokenize(stream(2000), tiny_tokenizer())

    def padding(rows: list[dict[str, Any]]) -> int:
        batches = [rows[start : start + 8] for start in range(0, len(rows), 8)]
        return sum(max(row["length"] for row in batch) - row["length"] for batch in batches for row in batch)

    plain, ordered = list(tokens), list(bucket_stream(tokens, 8))
    assert padding(ordered) < 0.2 * padding(plain)
    key = str
    assert sorted(map(key, ordered)) == sorted(map(key, plain))
    assert max(plain[:400], key=lambda row: row["length"])["length"] == ordered[0]["length"]


def test_a_stream_reaches_the_model_padded_to_the_batch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, train_dataset=stream(), args={"max_steps": 1})
    widths = {batch["input_ids"].shape[1] for batch in trainer.get_train_dataloader()}
    assert len(widths) > 1
    assert trainer.train_dataset.features == tokenize(dataset(), tiny_tokenizer()).features
    assert set(make_collator(tiny_tokenizer())(list(trainer.train_dataset.take(2)))) >= {"input_ids", "labels"}


def empty() -> IterableDataset:
    return IterableDataset.from_generator(lambda: iter(()))


@pytest.mark.parametrize(
    ("make", "args", "said"),
    [
        (stream, {}, "max_steps= how long"),
        (lambda: stream().rename_column("text", "sentence"), {"max_steps": 1}, "no column 'text'.*sentence"),
        (lambda: stream().remove_columns("label"), {"max_steps": 1}, "no label column"),
        (lambda: stream().cast_column("label", Value("string")), {"max_steps": 1}, "holds names"),
        (empty, {"max_steps": 1}, "stream without rows"),
    ],
)
def test_what_would_be_wrong_is_refused_before_the_first_step(tmp_path: Path, make: Any, args: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        make_trainer(tmp_path, train_dataset=make(), args=args)


def test_a_stream_whose_first_rows_are_all_cut_is_refused() -> None:
    features = Features({"text": Value("string"), "label": Value("int64")})
    rows = Dataset.from_dict({"text": ["good " * 30] * 200, "label": [0, 1] * 100}, features=features)
    with pytest.raises(RequestError, match="100 of 100 rows are longer than max_length=8"):
        tokenize(rows.to_iterable_dataset(), tiny_tokenizer(), 8)
