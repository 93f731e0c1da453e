"""Vocabularies cut to what texts need, and models that give on these texts what they gave before."""

import json
import random
from functools import partial

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertTokenizer,
    AutoModelForMaskedLM,
    AutoTokenizer,
    CamembertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    XLMRobertaTokenizer,
)

from distilnlp.errors import RequestError
from distilnlp.students import build_student, trim_vocabulary
from tests.tiny import (
    BACKBONES,
    CLASS_WORDS,
    FILLER,
    VOCAB,
    byte_tokenizer,
    piece_tokenizer,
    tiny_model,
    tiny_tokenizer,
)

TEXTS = ["the good film was seems very quite lovely", "it was bad", "we saw that book and but on in of to the meal"]
SEEN = " ".join([*FILLER, *(word for words in CLASS_WORDS for word in words)])
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
NAMES |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}


# The classes of SentencePiece's kind, each with its special tokens in the places that its constructor counts on.
PIECES = {
    AlbertTokenizer: ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    CamembertTokenizer: ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "<mask>"),
    DebertaV2Tokenizer: ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"),
    XLMRobertaTokenizer: tuple(SPECIAL),
}


def unigram_tokenizer(kind: type[PreTrainedTokenizerBase] = XLMRobertaTokenizer) -> PreTrainedTokenizerBase:
    """Pieces with a score each, the likeliest of which a text is cut into."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    unknown = "[UNK]" if kind is DebertaV2Tokenizer else "<unk>"
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=[*PIECES[kind]], unk_token=unknown, show_progress=False
    )
    backend.train_from_iterator([SEEN, *TEXTS] * 5, trainer)
    vocabulary = [tuple(each) for each in json.loads(backend.to_str())["model"]["vocab"]]
    return kind(vocab=vocabulary, model_max_length=64)


def letter_tokenizer() -> PreTrainedTokenizerBase:
    """BPE over letters with an end-of-word mark, as of GPT-1 and XLM, whose unknown letters are unknown tokens."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=150, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator([SEEN, *TEXTS] * 5, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **NAMES)


KINDS = {
    "words": tiny_tokenizer,
    "WordPiece": piece_tokenizer,
    "byte-level BPE": byte_tokenizer,
    "BPE of letters": letter_tokenizer,
    **{f"Unigram of {kind.__name__}": partial(unigram_tokenizer, kind) for kind in PIECES},
}


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return KINDS[request.param]()


def tokens_of(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


def pieces(tokenizer: PreTrainedTokenizerBase, text: str, pair: str | None = None) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text, pair)["input_ids"])


def test_texts_of_the_kept_tokens_are_cut_as_before(tokenizer):
    """Also in another order, as pairs, and with the special tokens in their places."""
    small = trim_vocabulary(tokenizer, TEXTS)
    assert len(small) < len(tokenizer)
    assert small.tokenizer.get_vocab().keys() < tokenizer.get_vocab().keys()
    for text in [*TEXTS, "the meal was very good", "film bad"]:
        assert pieces(small.tokenizer, text) == pieces(tokenizer, text)
        assert pieces(small.tokenizer, text, TEXTS[0]) == pieces(tokenizer, text, TEXTS[0])
        ids = small.tokenizer(text)["input_ids"]
        assert small.old_ids(ids) == tokenizer(text)["input_ids"]
        assert small.tokenizer.decode(ids) == tokenizer.decode(tokenizer(text)["input_ids"])


def test_any_text_of_kept_tokens_is_cut_as_before(tokenizer):
    """Also words that no text has: what they are merged from, or how unlikely they are, is as it was."""
    small = trim_vocabulary(tokenizer, TEXTS)
    rng, kept = random.Random(0), {*small.kept} - {tokenizer.unk_token_id}
    words = SEEN.split()
    texts = [" ".join(rng.choices(words, k=3)) for _ in range(200)]
    texts += ["".join(rng.choices(" aeghilmost", k=8)) for _ in range(400)]
    texts += [rng.choice(words)[: rng.randint(1, 4)] + rng.choice(words)[rng.randint(0, 3) :] for _ in range(400)]
    whole, cut = tokenizer(texts)["input_ids"], small.tokenizer(texts)["input_ids"]
    same = [(old, small.old_ids(new)) for old, new in zip(whole, cut, strict=True) if {*old} <= kept]
    assert len(same) > 10
    assert [old for old, _ in same] == [new for _, new in same]


def test_the_ids_are_without_gaps_and_the_special_tokens_are_all_there(tokenizer):
    small = trim_vocabulary(tokenizer, TEXTS).tokenizer
    assert sorted(small.get_vocab().values()) == list(range(len(small)))
    assert small.all_special_tokens == tokenizer.all_special_tokens
    assert pieces(small, "film") == pieces(tokenizer, "film")
    assert small.pad(small(["film", TEXTS[0]]))["input_ids"][0][-1] == small.pad_token_id


def test_a_saved_tokenizer_is_the_one_that_was_made(tokenizer, tmp_path):
    small = trim_vocabulary(tokenizer, TEXTS).tokenizer
    small.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == small.get_vocab()
    assert again(TEXTS)["input_ids"] == small(TEXTS)["input_ids"]


def test_words_of_known_letters_are_cut_and_not_unknown(tokenizer):
    """`doof` stands in no text, and each of its letters in some."""
    small = trim_vocabulary(tokenizer, ["good film"]).tokenizer
    known = [each.unk_token not in pieces(each, "doof") for each in (tokenizer, small)]
    # The two of WordPiece have words, or pieces of two letters, and no letters.
    has_letters = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] != "WordPiece"
    assert known == [has_letters, has_letters]


def test_a_byte_level_vocabulary_knows_every_text_still():
    whole = byte_tokenizer()
    small = trim_vocabulary(whole, TEXTS).tokenizer
    text = "Übung macht den Meister"
    assert "".join(pieces(small, text)) == "".join(pieces(whole, text))


@pytest.mark.parametrize("make", [byte_tokenizer, letter_tokenizer])
def test_merges_whose_pieces_are_gone_are_dropped(make):
    whole = make()
    small = trim_vocabulary(whole, ["the film"]).tokenizer
    model = json.loads(small.backend_tokenizer.to_str())["model"]
    merges = [tuple(each) for each in model["merges"]]
    assert 0 < len(merges) < len(json.loads(whole.backend_tokenizer.to_str())["model"]["merges"])
    assert all({*pair, "".join(pair)} <= model["vocab"].keys() for pair in merges)


def test_a_list_of_tokens_is_kept_beside_the_texts():
    small = trim_vocabulary(tiny_tokenizer(), ["the film"], tokens=["superb"]).tokenizer
    assert tokens_of(small)[5:] == ["the", "film", "superb"]


def test_a_list_alone_is_completed_with_the_special_tokens():
    small = trim_vocabulary(tiny_tokenizer(), tokens=["film"]).tokenizer
    assert tokens_of(small) == [*VOCAB[:5], "film"]


def test_rare_tokens_are_left_out_and_the_commonest_fill_a_size():
    texts = ["the film", "the film", "the book", "a book", "a book", "good"]
    counted = trim_vocabulary(tiny_tokenizer(), texts, min_count=3)
    assert tokens_of(counted.tokenizer)[5:] == ["the", "a", "book"]  # "a" is a letter
    sized = trim_vocabulary(tiny_tokenizer(), texts, size=8)
    assert tokens_of(sized.tokenizer)[5:] == ["the", "a", "book"]


def test_what_is_lost_on_other_texts_is_measured():
    whole = tiny_tokenizer()
    small = trim_vocabulary(whole, ["the film was good"])
    texts = ["the film", "the superb film", "xyz film"]
    found = small.measure(zip(small.tokenizer(texts)["input_ids"], whole(texts)["input_ids"], strict=True))
    assert (found.unknown, found.unknown_before) == (2 / 7, 1 / 7)
    assert (found.cut_alike, found.longer) == (2 / 3, 1.0)


@torch.no_grad()
@pytest.mark.parametrize("kind", BACKBONES)
def test_the_model_gives_on_kept_tokens_the_logits_of_the_whole_one(kind):
    whole, model = tiny_tokenizer(), tiny_model(kind)
    small = trim_vocabulary(whole, TEXTS)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    cut = small.model(model)
    assert cut.get_input_embeddings().weight.shape[0] == cut.config.vocab_size == len(small) < len(VOCAB)
    names = ("input_ids", "attention_mask")
    old, new = (each(TEXTS, padding=True, return_tensors="pt") for each in (whole, small.tokenizer))
    assert torch.equal(
        cut(**{name: new[name] for name in names}).logits, model(**{name: old[name] for name in names}).logits
    )
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert not {weight.data_ptr() for weight in cut.parameters()} & {
        weight.data_ptr() for weight in model.parameters()
    }


@torch.no_grad()
def test_positions_follow_the_number_of_the_padding_token():
    """RoBERTa counts positions from it; here 40 tokens in front of it go."""
    words = {word: index for index, word in enumerate([*VOCAB[5:], *VOCAB[:5]])}
    whole = type(tiny_tokenizer())(vocab=words, model_max_length=20)
    model = tiny_model("roberta", pad_token_id=words["[PAD]"], max_position_embeddings=64)
    small = trim_vocabulary(whole, TEXTS[1:2])
    cut = small.model(model)
    assert cut.config.pad_token_id == small.tokenizer.pad_token_id < words["[PAD]"]
    old, new = (
        each(TEXTS[1:2] * 2, padding="max_length", max_length=9, return_tensors="pt")
        for each in (whole, small.tokenizer)
    )
    old.pop("token_type_ids"), new.pop("token_type_ids")
    assert torch.equal(cut(**new).logits, model(**old).logits)


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "albert", "modernbert", "deberta-v2"])
def test_a_head_for_masked_words_has_a_row_for_each_kept_token(kind, tied):
    whole = tiny_tokenizer()
    config = tiny_model(kind).config
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config).eval()
    small = trim_vocabulary(whole, TEXTS)
    cut = small.model(model)
    head = cut.get_output_embeddings()
    assert (head.weight is cut.get_input_embeddings().weight) == (
        model.get_output_embeddings().weight is model.get_input_embeddings().weight
    )
    old, new = (each(TEXTS[0], return_tensors="pt") for each in (whole, small.tokenizer))
    old.pop("token_type_ids"), new.pop("token_type_ids")
    found = model(**old).logits[..., list(small.kept)]
    torch.testing.assert_close(cut(**new).logits, found, atol=1e-6, rtol=1e-6)
    assert cut(**new).logits.shape[-1] == len(small)


def test_a_student_of_some_layers_has_the_trimmed_vocabulary():
    model, small = tiny_model("bert", layers=3), trim_vocabulary(tiny_tokenizer(), TEXTS)
    student = build_student(model, layers=1, vocabulary=small)
    assert (student.config.num_hidden_layers, student.config.vocab_size) == (1, len(small))
    rows = model.get_input_embeddings().weight[list(small.kept)]
    assert torch.equal(student.get_input_embeddings().weight, rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "there are no texts and no tokens"),
        ({"tokens": ["flim"]}, "the tokenizer has no token 'flim': write it as the tokenizer does"),
        ({"texts": TEXTS, "size": 5}, "a vocabulary of 5 tokens is too small: 6 are kept in any case"),
        ({"texts": TEXTS, "min_count": 0}, "min_count is 0: a number from 1 is needed"),
    ],
)
def test_what_makes_no_vocabulary_is_refused(settings, message):
    with pytest.raises(RequestError, match=message):
        trim_vocabulary(tiny_tokenizer(), **settings)


def test_a_vocabulary_of_another_models_tokenizer_is_refused():
    small = trim_vocabulary(byte_tokenizer(), TEXTS)
    with pytest.raises(RequestError, match="the model has 47 rows of embeddings"):
        build_student(tiny_model("bert"), vocabulary=small)
