"""A long text's tokens are the whole text's, and what is behind them is not tokenised."""

import random

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from distilnlp.cut_texts import CutTexts
from tests.tiny import tiny_tokenizer

# fmt: off
PIECES = (
    "the", "film", "was", "good", "unbelievably", "x" * 130, "Straße", "I'm", "don't", "3.14", "1,000", "!?...", "(",
    "夜は短し", "映画", "ภาพยนตร์", "фильм", "فيلم", "e\u0301", "\u0301", "ﬁ", "½", "\u1100\u1161", "각", "ΣΑΣ",
    "\U0001f600", "\U0001f469\u200d\U0001f467", "\u200b", "\u00ad", "\ufffd", "\x07", "[MASK]", "[SEP]", "_", "``",
    "a_b", "\u2581", "#", "Ⅻ", "x\u0308y", "-",
)
GAPS = (
    *(" ",) * 12, "", "  ", " " * 90, "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", ", ", ".\n", " \u0301", "\u2028",
)
# fmt: on


def trained(kind: str) -> PreTrainedTokenizerBase:
    """A tokenizer of a kind of its own, trained on the pieces."""
    special = ["<pad>", "<unk>", "<s>", "</s>", "[MASK]"]
    corpus = [" ".join(random.Random(seed).choices(PIECES, k=40)) for seed in range(30)]
    if kind == "bytes":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    else:
        backend = Tokenizer(models.Unigram())
        steps = [normalizers.NFKC(), normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        backend.normalizer = normalizers.Sequence(steps)
        backend.pre_tokenizer = pre_tokenizers.Metaspace(split=kind != "sentences")
        trainer = trainers.UnigramTrainer(
            vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    backend.train_from_iterator(corpus, trainer)
    ids = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B:1 </s>:1", ids)
    names = {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "mask_token": "[MASK]",
    }
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def words() -> PreTrainedTokenizerBase:
    """BERT's, with every letter of the pieces, so that its words are of many tokens."""
    letters = sorted({letter for piece in PIECES for letter in piece.lower()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "##ably", *letters]
    vocabulary += [f"##{letter}" for letter in letters]
    return BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)})


KINDS = {
    "words": words,
    "bytes": lambda: trained("bytes"),
    "pieces": lambda: trained("pieces"),
    "sentences": lambda: trained("sentences"),  # words are not divided first: nothing can be cut
}


@pytest.fixture(scope="module", params=sorted(KINDS))
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return KINDS[request.param]()


def text(rng: random.Random, longest: int = 200) -> str:
    chosen = rng.choices(PIECES, k=rng.choice([1, 5, 30, longest]))
    return "".join(piece + rng.choice(GAPS) for piece in chosen)


@pytest.mark.parametrize("limit", [8, 9])
def test_the_tokens_of_a_cut_text_are_those_of_the_whole(tokenizer, limit):
    """For letters, marks and spaces of many kinds, and whatever a tokenizer deletes or puts together."""
    rng = random.Random(limit)
    texts = [text(rng) for _ in range(300)]
    expected = tokenizer(texts, truncation=True, max_length=limit)
    assert CutTexts(tokenizer, limit).encode(texts)["input_ids"] == expected["input_ids"]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [9, 10, 15])
def test_pairs_lose_what_the_whole_pairs_lose(tokenizer, limit):
    """Also where one more token is kept of whichever is the longer, and both were cut."""
    rng = random.Random(limit)
    # The tokenizer makes a piece for each two pieces that both texts of a pair lose: none are long
    texts, pairs = ([text(rng, 60) for _ in range(100)] for _ in range(2))
    expected = tokenizer(texts, pairs, truncation=True, max_length=limit)
    got = CutTexts(tokenizer, limit).encode(texts, pairs)
    assert got["input_ids"] == expected["input_ids"]
    assert [got.sequence_ids(row) for row in range(100)] == [expected.sequence_ids(row) for row in range(100)]


def seen(tokenizer, monkeypatch, texts, pairs=None, limit=16):
    """How many characters the tokenizer gets."""
    total = 0
    call = type(tokenizer).__call__

    def counted(self, *columns, **options):
        nonlocal total
        given = [column if isinstance(column, list) else [column] for column in columns if column is not None]
        total += sum(len(text) for column in given for text in column)
        return call(self, *columns, **options)

    monkeypatch.setattr(type(tokenizer), "__call__", counted)
    CutTexts(tokenizer, limit).encode(texts, pairs)
    return total


@pytest.mark.parametrize("long", ["the film was good " * 10_000, "映画" * 50_000])
def test_a_long_text_is_not_tokenised_to_its_end(monkeypatch, long):
    tokenizer = tiny_tokenizer()
    assert seen(tokenizer, monkeypatch, [long, "good"]) < 200
    assert seen(tokenizer, monkeypatch, [long, "good"], [long, "good"]) < 2 * len(long) + 2000
    assert seen(tokenizer, monkeypatch, [long, "good"], ["good", long]) < 1200


def test_a_text_that_was_cut_too_short_is_read_further():
    tokenizer = tiny_tokenizer()
    texts = ["good" + " " * 3000 + "film " * 2000, "\x07" * 5000 + "good film " * 100]
    expected = tokenizer(texts, truncation=True, max_length=12)["input_ids"]
    assert CutTexts(tokenizer, 12).encode(texts)["input_ids"] == expected
    assert all(len(ids) == 12 for ids in expected)


def test_where_words_are_not_known_to_be_independent_the_whole_text_is_read(monkeypatch):
    long = "the film was good " * 100
    spanning = tiny_tokenizer()
    spanning.add_tokens(["was good"])  # a token with a space in it
    for tokenizer in (KINDS["sentences"](), spanning):
        with monkeypatch.context() as patch:
            assert seen(tokenizer, patch, [long]) == len(long)


def test_a_text_that_is_read_from_its_end_is_read_whole():
    tokenizer = tiny_tokenizer()
    tokenizer.truncation_side = "left"
    long = "the film was good " * 100 + "bad"
    ids = CutTexts(tokenizer, 8).encode([long])["input_ids"][0]
    assert tokenizer.decode(ids[-2:-1]) == "bad"
