"""What a teacher reads that has a tokenizer, or a text, of its own."""

import torch
from datasets import Dataset
from transformers import BertTokenizer, PreTrainedTokenizerBase

from distilnlp.data.collate import make_collator
from distilnlp.data.teacher_inputs import own_batch, own_dataset, own_rows
from distilnlp.data.tokenize import tokenize
from distilnlp.problems.reading import TextReader
from tests.tiny import VOCAB, tiny_tokenizer

TEXTS = Dataset.from_dict(
    {"text": ["a film", "the very good book", "a film was"], "teacher_text": ["it", "the book", "it"]}
)


def other_tokenizer() -> PreTrainedTokenizerBase:
    """The same words under other numbers."""
    return BertTokenizer(
        vocab={word: index for index, word in enumerate([*VOCAB[:5], *reversed(VOCAB[5:])])}, model_max_length=64
    )


def tokens(texts: Dataset = TEXTS) -> Dataset:
    return tokenize(texts, tiny_tokenizer(), 16, teacher=TextReader(other_tokenizer(), 16))


def test_a_row_has_the_tokens_of_both_each_by_its_own_tokenizer() -> None:
    row = tokens()[1]
    assert row["input_ids"] == tiny_tokenizer()("the very good book")["input_ids"]
    assert row["teacher_input_ids"] == other_tokenizer()("the book")["input_ids"]
    assert row["teacher_attention_mask"] == [1] * 4 and row["length"] == 6


def test_without_a_text_of_its_own_the_teacher_reads_the_students() -> None:
    row = tokens(TEXTS.select_columns(["text"]))[1]
    assert row["teacher_input_ids"] == other_tokenizer()("the very good book")["input_ids"]


def test_in_a_batch_each_text_of_the_teachers_stands_once() -> None:
    batch = make_collator(tiny_tokenizer()).with_teacher(other_tokenizer())(list(tokens()))
    assert batch["input_ids"].shape == (3, 6) and batch["teacher_input_ids"].shape == (2, 4)
    assert batch["teacher_rows"].tolist() == [0, 1, 0]
    own = own_batch(batch)
    torch.testing.assert_close(own["input_ids"][0, :3], torch.tensor(other_tokenizer()("it")["input_ids"]))
    assert own["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_the_texts_to_answer_are_the_teachers_each_once() -> None:
    once = own_dataset(tokens())
    assert once["input_ids"][:] == [other_tokenizer()(text)["input_ids"] for text in ("it", "the book")]
    assert own_rows([tokens()[2]]) == [{name: once[0][name] for name in once.column_names}]
