import pickle

import pytest
import torch

from distilnlp.data import make_collator
from distilnlp.errors import RequestError
from tests.tiny import tiny_tokenizer


def feature(length, **columns):
    return {"input_ids": [5] * length, "attention_mask": [1] * length, "length": length, **columns}


@pytest.fixture
def collate():
    return make_collator(tiny_tokenizer())


def test_padding_reaches_the_longest_of_the_batch(collate):
    batch = collate([feature(2, token_type_ids=[0, 1]), feature(4, token_type_ids=[0, 0, 1, 1])])
    assert batch["input_ids"].tolist() == [[5, 5, 0, 0], [5, 5, 5, 5]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch["token_type_ids"].tolist() == [[0, 1, 0, 0], [0, 0, 1, 1]]
    assert all(value.dtype == torch.int64 for value in batch.values())


@pytest.mark.parametrize("side", ["right", "left"])
def test_words_are_padded_with_no_word_on_the_side_of_the_tokens(side):
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = side
    features = [feature(2, words=[-1, 0]), feature(4, words=[-1, 0, 0, 1])]
    batch = make_collator(tokenizer)(features)
    assert batch["words"].tolist() == [[-1, 0, -1, -1] if side == "right" else [-1, -1, -1, 0], [-1, 0, 0, 1]]
    assert features[0]["words"] == [-1, 0]


def test_only_tensors_remain(collate):
    first = feature(2, text="a", names=["x"], nothing=None, labels=1)
    second = feature(3, text="b", names=[], nothing=None, labels=0)
    batch = collate([first, second])
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert all(isinstance(value, torch.Tensor) for value in batch.values())


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([1, 0], torch.int64), ([1.5, 0.0], torch.float32), ([[0.0, 1.0], [1.0, 0.0]], torch.float32)],
)
@pytest.mark.parametrize("name", ["labels", "label"])
def test_labels_keep_their_kind(collate, labels, dtype, name):
    batch = collate([feature(2, **{name: each}) for each in labels])
    assert batch["labels"].dtype == dtype
    assert batch["labels"].tolist() == labels


def test_float64_tensors_become_float32(collate):
    batch = collate([feature(2, labels=torch.tensor(0.5, dtype=torch.float64)) for _ in "ab"])
    assert batch["labels"].dtype == torch.float32


def test_labels_are_not_needed(collate):
    assert set(collate([feature(2), feature(3)])) == {"input_ids", "attention_mask"}


def test_workers_that_are_spawned_can_have_it(collate):
    again = pickle.loads(pickle.dumps(collate))
    assert torch.equal(again([feature(2)])["input_ids"], collate([feature(2)])["input_ids"])


def test_a_tokenizer_without_padding_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(RequestError, match="no padding token"):
        make_collator(tokenizer)
