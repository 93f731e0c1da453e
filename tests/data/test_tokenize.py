import logging

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value, are_progress_bars_disabled
from transformers import BertTokenizer

from distilnlp.data import make_collator, tokenize
from distilnlp.data.tokenize import keeping_tokens
from distilnlp.errors import RequestError
from tests.tiny import tiny_tokenizer, toy_dataset

TOKENIZER = tiny_tokenizer()
LONG = " ".join(["good"] * 40)


def rows(texts, **columns):
    return Dataset.from_dict({"text": texts, **columns})


def test_columns_values_and_lengths():
    data = Dataset.from_dict(
        {
            "text": ["the film was good", "a book"],
            "text_pair": ["a meal", "it is bad"],
            "label": [1, 0],
            "extra": [5, 6],
        },
        features=Features(
            {
                "text": Value("string"),
                "text_pair": Value("string"),
                "label": ClassLabel(names=["no", "yes"]),
                "extra": Value("int64"),
            }
        ),
    )
    tokenised = tokenize(data, TOKENIZER)
    assert set(tokenised.column_names) == {"input_ids", "attention_mask", "token_type_ids", "labels", "length"}
    assert TOKENIZER.convert_ids_to_tokens(tokenised[0]["input_ids"]) == [
        *("[CLS]", "the", "film", "was", "good", "[SEP]", "a", "meal", "[SEP]")
    ]
    assert tokenised[0]["token_type_ids"] == [0] * 6 + [1] * 3
    assert tokenised["labels"][:] == [1, 0]
    assert tokenised.features["labels"].names == ["no", "yes"]
    assert tokenised["length"][:] == [9, 8]


def test_words_tell_which_tokens_are_pieces_of_one():
    vocabulary = {
        word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##well", "a"])
    }
    data = rows(["unwell a", "a"], text_pair=["a unwell unwell", "a a"])
    tokenised = tokenize(data, BertTokenizer(vocab=vocabulary, model_max_length=20), words=True)
    # [CLS] un ##well a [SEP] a un ##well un ##well [SEP]
    assert tokenised["words"][:] == [[-1, 0, 0, 1, -1, 2, 3, 3, 4, 4, -1], [-1, 0, -1, 1, 2, -1]]
    stream = tokenize(data.to_iterable_dataset(), BertTokenizer(vocab=vocabulary, model_max_length=20), words=True)
    assert [row["words"] for row in stream] == tokenised["words"][:]


def test_a_tokenizer_that_knows_no_words_is_refused(monkeypatch):
    tokenizer = tiny_tokenizer()
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(RequestError, match="BertTokenizer does not tell which word a token is of: use a fast"):
        tokenize(rows(["good"]), tokenizer, words=True)


@pytest.mark.parametrize("label", [Value("float32"), List(Value("float32"))])
def test_float_labels_stay_float32(label):
    values = [0.5, 2.25] if label == Value("float32") else [[0.0, 1.0], [1.0, 1.0]]
    features = Features({"text": Value("string"), "label": label})
    tokenised = tokenize(Dataset.from_dict({"text": ["good", "bad"], "label": values}, features=features), TOKENIZER)
    assert tokenised.features["labels"] == label
    assert tokenised["labels"][:] == values


def test_unlabelled_rows_have_no_labels():
    assert "labels" not in tokenize(rows(["good", "bad film"]), TOKENIZER).column_names


def test_pairs_lose_tokens_of_the_longer_text_first():
    data = rows([LONG, "good"], text_pair=["bad", "bad"])
    tokens = TOKENIZER.convert_ids_to_tokens(tokenize(data, TOKENIZER, max_length=10)[0]["input_ids"])
    assert tokens == ["[CLS]", *["good"] * 6, "[SEP]", "bad", "[SEP]"]


def test_default_length_is_the_tokenizers_and_512_at_most():
    """62 words and 2 special tokens fit the 64 of the model; a tokenizer that knows no limit gets 512."""
    assert tokenize(rows([" ".join(["good"] * 90), "bad"]), TOKENIZER)["length"][:] == [64, 3]
    unlimited = BertTokenizer(vocab=TOKENIZER.get_vocab())
    assert tokenize(rows([" ".join(["good"] * 900), "bad"]), unlimited)["length"][:] == [512, 3]


@pytest.mark.parametrize(("length", "said"), [(2, "at least 3 are needed"), (65, "takes 64 tokens at most")])
def test_a_length_that_cannot_be_is_refused(length, said):
    with pytest.raises(RequestError, match=said):
        tokenize(rows(["good"]), TOKENIZER, length)


def test_truncated_rows_are_counted(caplog):
    with caplog.at_level(logging.WARNING, logger="distilnlp"):
        tokenize(rows([LONG] * 2 + ["good"] * 8), TOKENIZER, max_length=42)  # fits exactly: not truncated
        tokenize(rows([LONG] + ["good"] * 9), TOKENIZER, max_length=41)  # a tenth: no word about it
        assert not caplog.records
        tokenize(rows([LONG] * 2 + ["good"] * 8), TOKENIZER, max_length=41)
    (record,) = caplog.records
    assert "2 of 10 rows are longer than max_length=41 (the longest has 42 tokens)" in record.getMessage()


def test_truncating_every_row_is_refused_but_one_long_text_can_be_predicted(caplog):
    labelled = rows([LONG, LONG], label=[0, 1])
    with pytest.raises(RequestError, match=r"2 of 2 rows are longer than max_length=8 .*42 tokens"):
        tokenize(labelled, TOKENIZER, max_length=8)
    assert tokenize(labelled.remove_columns("label"), TOKENIZER, max_length=8)["length"][:] == [8, 8]


def test_a_tokenizer_that_knows_no_word_is_refused():
    empty = BertTokenizer(vocab={token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])})
    with pytest.raises(RequestError, match=r"tokens of the first 100 rows are \[UNK\]"):
        tokenize(toy_dataset(200, seed=0), empty)


def test_half_unknown_is_allowed():
    assert len(tokenize(rows(["good zzz", "bad qqq"]), TOKENIZER)) == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"sentence": ["good"]}, "no column 'text'.*sentence"),
        ({"text": ["good"], "labels": [1]}, "'labels' where 'label' is needed"),
        ({"text": []}, "no rows"),
    ],
)
def test_data_that_cannot_be_tokenised_are_refused(data, said):
    with pytest.raises(RequestError, match=said):
        tokenize(Dataset.from_dict(data), TOKENIZER)


def test_nothing_stale_is_read_and_nothing_is_printed(tmp_path, capfd):
    """The same data on disk, tokenised at two lengths: the second is new, and neither leaves a file."""
    toy_dataset(50, seed=0).save_to_disk(tmp_path / "data")
    data = Dataset.load_from_disk(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    capfd.readouterr()
    assert max(tokenize(data, TOKENIZER, 12)["length"]) > max(tokenize(data, TOKENIZER, 9)["length"])
    assert sorted(tmp_path.rglob("*")) == before
    assert capfd.readouterr() == ("", "")
    assert not are_progress_bars_disabled()


def test_a_tokenised_set_goes_through_the_collator():
    tokenised = tokenize(toy_dataset(6, seed=1, pair=True), TOKENIZER)
    batch = make_collator(TOKENIZER)([tokenised[row] for row in range(6)])
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    assert batch["input_ids"].shape == (6, max(tokenised["length"]))


def test_the_same_rows_are_tokenised_once_where_tokens_are_kept_and_anything_else_is_tokenised_anew():
    data, others = rows(["a good film", "a bad book"]), rows(["a good film", "a good meal"])
    small = tiny_tokenizer()
    small.truncation_side = "left"

    with keeping_tokens():
        once = tokenize(data, TOKENIZER, 10)

        assert tokenize(data, tiny_tokenizer(), 10) is once
        assert tokenize(data.remove_columns([]), TOKENIZER, 10)[:] == once[:]
        assert tokenize(others, TOKENIZER, 10)[:] != once[:]
        assert tokenize(data, TOKENIZER, 4)[:] != once[:]
        assert tokenize(data, small, 4)[:] != tokenize(data, TOKENIZER, 4)[:]
        assert "words" in tokenize(data, TOKENIZER, 10, words=True).column_names
        with keeping_tokens():
            assert tokenize(data, TOKENIZER, 10) is not once
        assert tokenize(data, TOKENIZER, 10) is once
    assert tokenize(data, TOKENIZER, 10) is not once


def test_another_vocabulary_is_another_tokenizer():
    """Ids of one tokenizer in a model of another are silently wrong."""
    first, second = (
        BertTokenizer(vocab={word: i for i, word in enumerate(words)}, model_max_length=20)
        for words in (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *own] for own in (["a", "b"], ["b", "a"]))
    )
    data = rows(["a b b", "b a"])

    with keeping_tokens():
        assert tokenize(data, first)[0]["input_ids"] == [2, 5, 6, 6, 3]
        assert tokenize(data, second)[0]["input_ids"] == [2, 6, 5, 5, 3]
