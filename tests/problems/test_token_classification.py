"""Words, their first pieces, and windows of long texts."""

import logging
import random

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from distilnlp.data.collate import make_collator
from distilnlp.data.read_labels import read_labels
from distilnlp.data.tokenize import tokenize
from distilnlp.errors import RequestError
from distilnlp.models.backend import TorchBackend
from distilnlp.models.heads import model_from_config
from distilnlp.models.predictor import Predictor
from distilnlp.problems import IGNORED, TEACHER_LOGITS, get_problem
from distilnlp.teachers import RecordedTeacher
from tests.tiny import VOCAB, tiny_model, tiny_tokenizer

TAGS = ("O", "B-film", "I-film", "B-food", "I-food")
KIND = get_problem("token_classification")
WORDS = ["the", "film", "was", "good", ",", "we", "saw", "it", "in", "a", "book", "zzz", "of", "they", "quite", "red"]


def pieces() -> PreTrainedTokenizerBase:
    """Most words are several pieces, each letter one, as byte-level models cut unknown ones."""
    letters = sorted(set("".join(WORDS)))
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = [*letters, "\u0120"]
    trainer = trainers.BpeTrainer(special_tokens=["<pad>", "<unk>"], initial_alphabet=alphabet, vocab_size=0)
    backend.train_from_iterator(WORDS, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    made.model_max_length = 512
    return made


TOKENIZERS = {"wordpiece": tiny_tokenizer, "byte-level": pieces}
every_tokenizer = pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)


@every_tokenizer
@pytest.mark.parametrize("limit", [64, 20, 12, 8])
def test_each_word_is_answered_for_once_at_its_first_piece(make, limit: int) -> None:
    tokenizer = make()
    encoded = KIND.reader(tokenizer, limit, {}).encode({"text": [WORDS], "label": [list(range(len(WORDS)))]})
    words = np.concatenate([words for _, words in encoded.taken])
    assert sorted(words) == list(range(len(WORDS)))
    assert all(len(ids) <= limit for ids in encoded.columns["input_ids"])
    for place, (tokens, words) in enumerate(encoded.taken):
        labels = np.array(encoded.columns["labels"][place])
        assert labels[tokens].tolist() == words.tolist()
        assert (np.delete(labels, tokens) == IGNORED).all()
        for token, word in zip(tokens, words, strict=True):
            first = tokenizer.decode([encoded.columns["input_ids"][place][token]]).strip()
            assert WORDS[word].startswith(first) or first == tokenizer.unk_token


@every_tokenizer
def test_a_list_of_words_is_read_as_the_sentence(make) -> None:
    """A pipeline of transformers sees the sentence."""
    sentence = [word for word in WORDS if word.isalpha()]
    reader = KIND.reader(make(), 64, {})
    both = reader.encode({"text": [sentence, " ".join(sentence)]})
    assert both.columns["input_ids"][0] == both.columns["input_ids"][1]
    assert both.spans[0].tolist() == both.spans[1].tolist()


def test_labels_of_all_pieces_are_those_of_the_first_alone() -> None:
    first, every = (
        KIND.reader(pieces(), 64, {"pieces": each}).encode({"text": [WORDS], "label": [[1] * len(WORDS)]})
        for each in ("first", "all")
    )
    assert first.columns["labels"] == every.columns["labels"]
    assert sum(first.columns["label_mask"][0]) == len(WORDS)
    tokens = pieces().convert_ids_to_tokens(every.columns["input_ids"][0])
    own = [int(token != "\u0120") for token in tokens]  # a space alone is no piece of a word
    assert every.columns["label_mask"][0] == own


@every_tokenizer
@pytest.mark.parametrize("limit", [64, 8])
@pytest.mark.parametrize("counted", ["first", "all"])
def test_a_recorded_answer_goes_to_the_tokens_of_its_word(make, limit: int, counted: str) -> None:
    """In whichever window that answers for the word; the batch has it at the token itself."""
    tokenizer = make()
    answers = [[float(word), -float(word)] for word in range(len(WORDS))]
    rows = Dataset.from_dict({"text": [WORDS, WORDS[3:5]], TEACHER_LOGITS: [answers, answers[3:5]]})
    tokens = tokenize(rows, tokenizer, limit, problem=KIND, settings={"pieces": counted})
    batch = make_collator(tokenizer, 2, KIND.label_padding, KIND)(tokens.to_list())
    given = RecordedTeacher(["O", "B-film"], KIND)(batch).get_logits()  # (windows, tokens, 2)
    assert given.shape == (*batch["input_ids"].shape, 2)
    assert not given[batch["label_mask"] == 0].any()
    own = [[] for _ in range(len(tokens))]
    for window, token in torch.nonzero(batch["label_mask"]).tolist():
        word = int(given[window, token, 0])
        assert given[window, token].tolist() == answers[word]
        piece = tokenizer.decode([int(batch["input_ids"][window, token])]).strip()
        assert piece in WORDS[word] or piece == tokenizer.unk_token
        own[window].append(word)
    assert {word for words in own[:-1] for word in words} == set(range(len(WORDS))) and set(own[-1]) == {3, 4}


def windows_by_hand(
    tokenizer: PreTrainedTokenizerBase, words: list[str], limit: int, stride: int
) -> list[list[tuple[int, int]]]:
    """Token by token: of each window the tokens that begin a word it answers for, and the word."""
    encoded = tokenizer(
        " ".join(words),
        truncation=True,
        max_length=limit,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    spans = [(end - len(word), end) for word, end in zip(words, ends, strict=True)]
    best: dict[int, tuple[int, int, int]] = {}
    for window, offsets in enumerate(encoded["offset_mapping"]):
        before = None
        for token, (start, end) in enumerate(offsets):
            word = next((i for i, (_, last) in enumerate(spans) if end <= last), None) if end > start else None
            word = word if word is not None and end > spans[word][0] else None  # the space in front alone
            if word is not None and word != before and (word not in best or start <= spans[word][0]):
                margin = min(token, len(offsets) - 1 - token)
                if word not in best or margin > best[word][0]:
                    best[word] = (margin, window, token)
            before = word
    owned = [(window, token, word) for word, (_, window, token) in best.items()]
    count = len(encoded["offset_mapping"])
    return [sorted((token, word) for place, token, word in owned if place == window) for window in range(count)]


@every_tokenizer
@pytest.mark.parametrize("seed", range(20))
def test_words_windows_and_labels_of_many_texts_are_those_of_each_by_hand(make, seed: int) -> None:
    choice, tokenizer = random.Random(seed), make()
    limit = choice.choice([8, 12, 20, 64])
    stride = choice.randrange(limit - tokenizer.num_special_tokens_to_add())
    texts = [choice.choices(WORDS, k=choice.choice([1, 3, 40])) for _ in range(4)]
    labels = [[choice.randrange(5) for _ in text] for text in texts]
    encoded = KIND.reader(tokenizer, limit, {"stride": stride}).encode({"text": texts, "label": labels})
    expected = [
        (text, [*pairs])
        for text, words in enumerate(texts)
        for pairs in windows_by_hand(tokenizer, words, limit, stride)
        if pairs
    ]
    found = [[*zip(tokens.tolist(), words.tolist(), strict=True)] for tokens, words in encoded.taken]
    assert [*zip(encoded.example, found, strict=True)] == expected
    for (text, pairs), own, mask in zip(
        expected, encoded.columns["labels"], encoded.columns["label_mask"], strict=True
    ):
        assert {place: tag for place, tag in enumerate(own) if tag != IGNORED} == {
            i: labels[text][w] for i, w in pairs
        }
        assert [place for place, counts in enumerate(mask) if counts] == [token for token, _ in pairs]
    for spans, words in zip(encoded.spans, texts, strict=True):
        assert [" ".join(words)[start:end] for start, end in spans] == words


def test_fewer_tags_than_words_are_told() -> None:
    reader = KIND.reader(tiny_tokenizer(), 16, {})
    with pytest.raises(RequestError, match=r"the label \[1\] has 1 tags, fewer than its text has words"):
        reader.encode({"text": [["the", "film"], ["good"]], "label": [[1], [2]]})


def test_a_word_that_nobody_sees_is_an_unknown_one() -> None:
    encoded = KIND.reader(tiny_tokenizer(), 16, {}).encode({"text": [["the", "\u200b", "", "film"]]})
    assert tiny_tokenizer().convert_ids_to_tokens(encoded.columns["input_ids"][0])[1:-1] == [
        "the", "[UNK]", "[UNK]", "film",
    ]  # fmt: skip


def tagger(seed: int = 0, **changes: object) -> Predictor:
    config = tiny_model("bert", label_names=TAGS, **changes).config
    config.problem_type = KIND.name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_from_config(config).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(40)
    return Predictor(TorchBackend(model), tiny_tokenizer(), batch_size=2)


def test_a_text_has_a_row_for_each_word_in_the_order_of_the_texts() -> None:
    texts = [WORDS, ["the", "film"], WORDS[:5]]
    found = tagger().answered([(text,) for text in texts])
    assert np.bincount(found.example).tolist() == [len(text) for text in texts]
    alone = [tagger().logits([(text,)]) for text in texts]
    np.testing.assert_allclose(found.logits, np.concatenate(alone), atol=1e-5)


def test_a_long_text_is_answered_in_windows_to_its_end() -> None:
    predictor = tagger()
    predictor.reader = KIND.reader(tiny_tokenizer(), 20, {})
    text = WORDS * 6
    logits = predictor.logits([(text,)])
    assert logits.shape == (len(text), len(TAGS)) and (np.abs(logits).max(axis=1) > 0).all()


def test_entities_are_those_of_the_pipeline() -> None:
    from transformers import pipeline

    predictor = tagger()
    texts = ["the film was good, we saw it in a red book", "they quite saw the meal on the green film"]
    judge = pipeline("token-classification", predictor.backend.model, tokenizer=predictor.tokenizer)  # type: ignore[call-overload,attr-defined]
    for strategy in ("first", "simple"):  # each word of these texts is one token
        for text, answer in zip(texts, predictor.answers(texts), strict=True):
            expected = judge(text, aggregation_strategy=strategy)
            assert answer.entities and len(answer.entities) == len(expected)
            for own, other in zip(answer.entities, expected, strict=True):
                assert (own.start, own.end, own.type) == (other["start"], other["end"], other["entity_group"])
                assert own.probability == pytest.approx(other["score"], abs=1e-5)


def test_tags_in_an_order_that_people_expect() -> None:
    labels = read_labels([["I-b", "O", "B-a"], ["B-b", "I-a"]], None, "data", problem=KIND)
    assert labels.names == ("O", "B-a", "I-a", "B-b", "I-b")


def test_broken_sequences_and_numbers_without_a_name_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_labels([["O", "I-a"], ["B-a", "I-a"]], None, "data", problem=KIND)
    assert "the tags of 1 of 2 rows do not follow BIO" in caplog.text
    with caplog.at_level(logging.WARNING):
        read_labels([[0, 1], [1, 2]], None, "data", problem=KIND)
    assert "name them with label_names" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [["O", "B-a"], ["I-a", "B-", "a"]],
            "row 2, word 2 has the tag 'B-', which is no prefix and type as in 'B-a'",
        ),
        ([["O", "B-a"], [True, "B-a"]], "row 2, word 1 has the tag 'True'"),
        ([["B-a", "I-a"], ["I-a", "o"]], "row 2, word 2 has the tag 'o', .* a word of no entity has 'O'"),
    ],
)
def test_a_tag_without_the_prefix_of_the_others_is_refused_with_its_word(
    rows: list[list[object]], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        read_labels(rows, None, "data", problem=KIND)


def test_a_name_without_its_prefix_that_no_row_has_is_no_error() -> None:
    names = ["O", "B-a", "I-a", "a"]
    feature = KIND.feature(names)
    assert read_labels([[0, 1], [2, 0]], feature, "data", problem=KIND).names == tuple(names)
    with pytest.raises(RequestError, match="row 2, word 1 has the tag 'a'"):
        read_labels([[0, 1], [3, 0]], feature, "data", problem=KIND)


def test_parts_of_speech_are_measured_by_word() -> None:
    assert KIND.metrics_for(("NOUN", "VERB")) == ("accuracy", "macro_f1")
    assert KIND.metrics_for(TAGS)[0] == "entity_f1"
    assert KIND.details(np.array([0]), np.array([1]), np.array([0]), ("NOUN", "VERB"), np.empty(0)) == {}


def test_f1_of_each_type() -> None:
    names, examples = ("O", "B-a", "B-b"), np.array([0, 0, 1, 1])
    details = KIND.details(np.array([1, 0, 1, 2]), np.array([1, 2, 0, 2]), examples, names, np.empty(0))
    assert details == {"entity_f1[a]": pytest.approx(2 / 3), "entity_f1[b]": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"stride": 62}, "stride is 62"), ({"stride": -1}, "stride is -1"), ({"pieces": "some"}, "pieces is 'some'")],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(RequestError, match=why):
        KIND.reader(tiny_tokenizer(), 64, settings)


def test_the_vocabulary_of_these_tests_has_the_words() -> None:
    assert {"the", "film", "good", "book"} <= set(VOCAB)
