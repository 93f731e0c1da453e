"""The tokens of two tokenizers are aligned by the smallest pieces of text that both cut alike."""

import random
from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerBase

from distilnlp.data.alignment import align_tokens, stretch
from distilnlp.problems.reading import Places
from tests.tiny import VOCAB, byte_tokenizer, piece_tokenizer, tiny_tokenizer

MAKERS = {"words": tiny_tokenizer, "pieces": piece_tokenizer, "bytes": byte_tokenizer}
Make = Callable[[], PreTrainedTokenizerBase]


def encoded(make: Make, *texts: str, limit: int = 64) -> Places:
    found = make()(*texts, truncation=True, max_length=limit).encodings
    assert found is not None
    return found[0]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("texts", [("the very good film",), ("a film", "the book, and it's dull")])
def test_equal_tokens_are_aligned_one_by_one_special_ones_included(make: Make, texts: tuple[str, ...]) -> None:
    tokens = encoded(make, *texts)
    own, theirs = align_tokens(tokens, encoded(make, *texts), texts)
    assert own == theirs
    assert [piece for piece in own if piece >= 0] == [*range(max(own) + 1)]
    spaces = [place for place, (start, end) in enumerate(tokens.offsets) if start == end > 0]
    assert [place for place, piece in enumerate(own) if piece < 0] == spaces


def test_the_pieces_of_a_word_belong_to_it_and_special_tokens_to_one_another() -> None:
    text = "the very dull film"
    words, pieces = encoded(tiny_tokenizer, text), encoded(piece_tokenizer, text)
    assert piece_tokenizer().tokenize(text, add_special_tokens=True) == [
        "[CLS]",
        "th",
        "##e",
        "ve",
        "##ry",
        "du",
        "##ll",
        "fi",
        "##lm",
        "[SEP]",
    ]
    assert align_tokens(words, pieces, [text]) == ([0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 2, 3, 3, 4, 4, 5])
    assert align_tokens(pieces, words, [text]) == ([0, 1, 1, 2, 2, 3, 3, 4, 4, 5], [0, 1, 2, 3, 4, 5])


def test_where_neither_cuts_a_word_as_the_other_does_the_whole_word_is_a_piece() -> None:
    """Cut as sup|erb and as su|pe|rb."""

    class Cut:
        def __init__(self, *offsets: tuple[int, int]) -> None:
            self.offsets, self.sequence_ids = offsets, [0] * len(offsets)

    one, other = Cut((0, 3), (3, 6), (7, 9)), Cut((0, 2), (2, 4), (4, 6), (7, 9))
    assert align_tokens(one, other, ["superb it"]) == ([0, 0, 1], [0, 0, 0, 1])


def test_more_special_tokens_between_two_texts_are_one_piece() -> None:
    texts = ("a film", "it")
    own, theirs = align_tokens(encoded(tiny_tokenizer, *texts), encoded(byte_tokenizer, *texts), texts)
    assert own == [0, 1, 2, 3, 4, 5]  # [CLS] a film [SEP] it [SEP]
    assert [theirs[0], theirs[1], theirs[-1]] == [0, 1, 5] and theirs.count(3) == 2  # </s></s>


def test_equal_words_of_two_texts_are_told_apart() -> None:
    texts = ("film", "film")
    own, theirs = align_tokens(encoded(tiny_tokenizer, *texts), encoded(piece_tokenizer, *texts), texts)
    assert own == [0, 1, 2, 3, 4] and theirs == [0, 1, 1, 2, 3, 3, 4]


@pytest.mark.parametrize("text", ["\u00e9t\u00e9  \u4e2d\u6587 film", "\U0001f600 it", " the\tfilm "])
def test_letters_of_several_bytes_accents_and_spaces_are_no_trouble(text: str) -> None:
    """A letter in bytes is one piece, and a space is never a letter of the token behind it."""
    own, theirs = align_tokens(encoded(tiny_tokenizer, text), encoded(byte_tokenizer, text), [text])
    assert set(own) - {-1} == set(theirs) - {-1} == set(range(max(own) + 1))
    assert own == sorted(own)


def test_what_one_of_the_two_has_not_read_is_no_piece() -> None:
    text = "the film was very good"
    short, whole = encoded(tiny_tokenizer, text, limit=4), encoded(piece_tokenizer, text)
    own, theirs = align_tokens(short, whole, [text])
    assert own == [0, 1, 2, 3] and theirs[:5] == [0, 1, 1, 2, 2] and set(theirs[5:-1]) == {-1} and theirs[-1] == 3


def test_a_stretch_of_the_text_is_aligned_by_where_it_begins() -> None:
    text = "the film was very good"
    windows = tiny_tokenizer()(text, truncation=True, max_length=4, return_overflowing_tokens=True).encodings
    assert windows is not None
    start, end = stretch(windows[1], 0)
    assert text[start:end] == "was very"
    own, theirs = align_tokens(windows[1], encoded(piece_tokenizer, text[start:end]), [text], [start])
    assert own == [0, 1, 2, 3] and theirs == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("pair", [(one, other) for one in MAKERS for other in MAKERS])
def test_a_piece_is_the_same_stretch_of_text_in_both(pair: tuple[str, str]) -> None:
    rng = random.Random(0)
    for _ in range(20):
        text = "".join(rng.choice([*VOCAB[5:], " ", " ", "'", ".", "s"]) for _ in range(12)).strip()
        tokens = [encoded(MAKERS[name], text) for name in pair]
        aligned = align_tokens(*tokens, [text])
        spans: list[dict[int, str]] = [{}, {}]
        for found, side, pieces in zip(spans, tokens, aligned, strict=True):
            for (start, end), own, piece in zip(side.offsets, side.sequence_ids, pieces, strict=True):
                if own is not None and piece >= 0:
                    found[piece] = found.get(piece, "") + text[start:end].strip()
        spans = [{piece: letters for piece, letters in found.items() if letters} for found in spans]
        assert spans[0] == spans[1]
        assert "".join(spans[0].values()) == "".join(text.split())
