"""Texts become blocks for a training, inputs of their own for a measurement, and questions where they have blanks."""

import numpy as np
import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.problems import get_problem
from distilnlp.problems.masked_lm import BlankReader, BlockReader, HeldOutReader
from tests.tiny import VOCAB, tiny_tokenizer, toy_dataset

KIND = get_problem("masked_lm")
CLS, SEP, MASK = (VOCAB.index(token) for token in ("[CLS]", "[SEP]", "[MASK]"))
TEXTS = list(toy_dataset(30, 0)["text"])


def tokens(text: str) -> list[int]:
    ids: list[int] = tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]
    return ids


# ---- blocks ----


def test_blocks_are_full_but_for_the_last_and_hold_every_token_in_order() -> None:
    encoded = BlockReader(tiny_tokenizer(), 20).encode({"text": TEXTS})
    blocks = encoded.columns["input_ids"]
    assert {len(block) for block in blocks[:-1]} == {20} and len(blocks[-1]) <= 20
    assert all(block[0] == CLS and block[-1] == SEP for block in blocks)
    inner = [token for block in blocks for token in block[1:-1]]
    expected = [token for text in TEXTS for token in [*tokens(text), SEP]][:-1]
    assert inner == expected
    assert encoded.example[0] == 0 and encoded.example == sorted(encoded.example) and max(encoded.example) < len(TEXTS)


def test_a_block_tells_its_words_from_0_and_special_tokens_are_none() -> None:
    encoded = BlockReader(tiny_tokenizer(), 20).encode({"text": TEXTS})
    for ids, words in zip(encoded.columns["input_ids"], encoded.columns["words"], strict=True):
        assert [word == -1 for word in words] == [token in (CLS, SEP) for token in ids]
        real = [word for word in words if word >= 0]
        assert real[0] == 0 and real == sorted(real)


def test_a_word_is_not_cut_by_the_end_of_a_block() -> None:
    reader = BlockReader(tiny_tokenizer(), 6)  # room for 4
    ids, words = np.arange(10, 17), np.array([0, 1, 2, 3, 3, 3, 4])
    assert [ids[part].tolist() for part in reader._blocks(ids, words)] == [[10, 11, 12], [13, 14, 15, 16]]
    whole = np.zeros(6, dtype=np.int64)  # longer than a block
    assert [part.stop - part.start for part in reader._blocks(np.arange(6), whole)] == [4, 2]


def test_texts_that_are_empty_have_no_part_in_a_block() -> None:
    encoded = BlockReader(tiny_tokenizer(), 20).encode({"text": ["the film", "", "a book"]})
    assert encoded.columns["input_ids"] == [[CLS, *tokens("the film"), SEP, *tokens("a book"), SEP]]


def test_both_texts_of_a_pair_are_read() -> None:
    encoded = BlockReader(tiny_tokenizer(), 20).encode({"text": ["the film"], "text_pair": ["a book"]})
    assert encoded.columns["input_ids"] == [[CLS, *tokens("the film"), SEP, *tokens("a book"), SEP]]


# ---- held-out texts ----


def test_held_out_texts_stand_alone_and_the_same_words_are_hidden_whatever_the_batch() -> None:
    reader = HeldOutReader(tiny_tokenizer(), 20)
    together = reader.encode({"text": TEXTS})
    assert together.example == list(range(len(TEXTS)))
    for row, text in enumerate(TEXTS):
        alone = reader.encode({"text": [text]})
        assert alone.columns["labels"] == [together.columns["labels"][row]]
        assert alone.columns["input_ids"] == [together.columns["input_ids"][row]]
        labels = np.array(alone.columns["labels"][0])
        assert alone.labels[0].tolist() == labels[labels != -100].tolist()
        seen = np.array(alone.columns["input_ids"][0])
        assert (seen[labels != -100] == MASK).all()
        assert np.where(labels == -100, seen, labels).tolist() == [CLS, *tokens(text), SEP]


def test_a_long_text_is_measured_in_pieces_and_their_rows_joined() -> None:
    reader = HeldOutReader(tiny_tokenizer(), 8)
    encoded = reader.encode({"text": ["the film", " ".join(TEXTS[:2])]})
    assert encoded.example.count(1) > 1
    logits = [
        np.full((len([x for x in labels if x != -100]), 3), place)
        for place, labels in enumerate(encoded.columns["labels"])
    ]
    joined = reader.join(encoded, logits).rows
    assert [len(rows) for rows in joined] == [len(labels) for labels in encoded.labels]
    assert sorted(set(joined[1][:, 0])) == list(range(1, len(encoded.example)))


def test_the_share_of_a_training_changes_nothing_in_a_measurement() -> None:
    readers = [KIND.reader(tiny_tokenizer(), 20, settings).measuring() for settings in ({}, {"mask_share": 0.5})]
    first, second = (reader.encode({"text": TEXTS}).columns for reader in readers)
    assert first == second


# ---- blanks ----


def test_a_blank_is_asked_for_and_a_text_without_one_is_told() -> None:
    reader = BlankReader(tiny_tokenizer(), 20)
    encoded = reader.encode({"text": ["the [MASK] was [MASK]"]})
    assert encoded.columns["labels"] == [[-100, -100, MASK, -100, MASK, -100]]
    with pytest.raises(RequestError, match=r"'the film' has no \[MASK\]: write \[MASK\]"):
        reader.encode({"text": ["the film"]})
    with pytest.raises(RequestError, match="in the 5 tokens that are read of it"):
        BlankReader(tiny_tokenizer(), 5).encode({"text": ["the film was very [MASK]"]})


def test_the_likeliest_tokens_of_each_blank_are_named() -> None:
    logits = torch.zeros(1, 2, len(VOCAB))
    logits[0, 0, VOCAB.index("film")], logits[0, 1, VOCAB.index("book")] = 5.0, 9.0
    rows = KIND.kept(logits, None)[0].numpy()
    one, two = KIND.answers_of_texts(rows, VOCAB, np.array([0, 1]), [[], []])
    assert (one.label, two.label) == ("film", "book")
    assert one.blanks is not None and len(one.blanks[0]) == 5 and one.probability == one.blanks[0]["film"]
    (both,) = KIND.answers_of_texts(rows, VOCAB, np.array([0, 0]), [[]])
    assert both.label == "film, book" and both.probability is None and len(both.blanks or ()) == 2


# ---- rows of logits ----


def test_what_is_kept_of_a_row_is_the_likeliest_token_and_two_log_probabilities() -> None:
    logits = torch.randn(2, 3, 11, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 2, -100], [3, 4, 5]])
    kept = KIND.kept(logits, labels)
    logs = logits.log_softmax(-1)
    assert kept.shape == (2, 3, 3)
    torch.testing.assert_close(kept[..., 0], logits.argmax(-1).float())
    torch.testing.assert_close(kept[..., 1], logs.amax(-1))
    torch.testing.assert_close(kept[0, 1, 2], logs[0, 1, 2])
    assert KIND.decide(kept[1].numpy()).tolist() == logits[1].argmax(-1).tolist()


def test_the_number_of_a_token_is_kept_exactly_in_large_vocabularies() -> None:
    logits = torch.zeros(1, 1, 300_001)
    logits[0, 0, 300_000] = 20.0
    assert KIND.decide(KIND.kept(logits, torch.tensor([[1]]))[0].numpy()).tolist() == [300_000]


def test_tokens_with_a_label_stand_side_by_side() -> None:
    labels = torch.tensor([[-100, 7, -100, 8], [-100, -100, 9, -100]])
    chosen = KIND.chosen(labels)
    assert chosen["head_tokens"].tolist() == [[1, 3], [2, 0]]
    assert chosen["labels"].tolist() == [[7, 8], [9, -100]]
    assert chosen["label_mask"].tolist() == [[1, 1], [1, 0]]


def test_agreement_is_that_of_the_likeliest_tokens() -> None:
    student = np.array([[4, -0.5, -0.5], [5, -1.0, -2.0]])
    teacher = np.array([[4, -0.1, -0.1], [6, -1.0, -1.0]])
    found = KIND.agreement(student, teacher)
    assert found["agreement"] == 0.5 and found["mae"] == pytest.approx(0.7)


def test_the_baseline_is_the_commonest_token_and_the_entropy_of_their_shares() -> None:
    ((_, rows),) = KIND.baselines(np.array([5, 5, 5, 9]), 2).items()
    assert rows[:, 0].tolist() == [5, 5]
    assert rows[0, 2] == pytest.approx(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
