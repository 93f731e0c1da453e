"""Texts are drawn of whole words, in the shares that are asked for, and follow from the seed alone."""

from collections import Counter

import numpy as np
import pytest

from distilnlp.data.generate import UnreadRows, WordTable, whole_words
from distilnlp.errors import RequestError, RunError
from tests.tiny import VOCAB, tiny_tokenizer


def test_whole_words_are_the_pieces_that_are_read_again_as_themselves() -> None:
    assert whole_words(tiny_tokenizer()) == VOCAB[5:]


def test_a_text_has_the_words_that_were_asked_for_and_well_formed_tokens() -> None:
    tokenizer = tiny_tokenizer()
    texts = WordTable.of_vocabulary(tokenizer).texts([1, 4, 30], np.random.default_rng(0))

    assert [len(text.split()) for text in texts] == [1, 4, 30]
    for ids in tokenizer(texts)["input_ids"]:
        assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert not {*ids[1:-1]} & {*tokenizer.all_special_ids}


def test_equal_seeds_give_equal_texts() -> None:
    table = WordTable.of_vocabulary(tiny_tokenizer())
    one, same, other = (table.texts([9] * 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same and one != other


def test_ranked_words_fall_as_zipf_says() -> None:
    table = WordTable.of_vocabulary(tiny_tokenizer(), ranked=True)
    assert table.shares[0] / table.shares[10] == pytest.approx(12.7 / 2.7)
    assert "a" in VOCAB and "a" not in table.words
    assert table.shares.sum() == pytest.approx(1)


def test_words_of_a_file_are_drawn_as_often_as_they_stand_there(tmp_path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("red red red blue\n[SEP] x[MASK]\n")
    table = WordTable.of_file(path, tiny_tokenizer())
    drawn = Counter(" ".join(table.texts([4000], np.random.default_rng(0))).split())

    assert table.words == ("blue", "red") and table.shares.tolist() == [0.25, 0.75]
    assert drawn["red"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_one_word_gives_no_texts(tmp_path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("red\nred\n")
    with pytest.raises(RequestError, match="1 different words"):
        WordTable.of_file(path, tiny_tokenizer())


@pytest.mark.parametrize("ask", [len, list, lambda rows: rows[0], lambda rows: rows.column_names])
def test_rows_that_nobody_may_read_refuse_whatever_is_asked(ask) -> None:
    with pytest.raises(RunError, match="training examples of mrpc were to be read"):
        ask(UnreadRows("mrpc"))
