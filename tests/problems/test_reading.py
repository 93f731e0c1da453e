"""Long texts in windows, and their logits joined to one answer a text."""

from itertools import pairwise

import numpy as np
import pytest
from datasets import Dataset

from distilnlp.data.tokenize import tokenize
from distilnlp.errors import RequestError
from distilnlp.models.backend import TorchBackend
from distilnlp.models.predictor import Predictor
from distilnlp.models.reading import remember_reading
from distilnlp.problems import get_problem
from distilnlp.problems.reading import TextReader, WindowReader, text_reader
from tests.tiny import tiny_model, tiny_tokenizer

LONG = "the film is good " * 8  # 32 tokens
WINDOWS = {"long": "windows", "window": 12, "stride": 4}


def reader(**settings: object) -> WindowReader:
    made = text_reader(tiny_tokenizer(), 20, {**WINDOWS, **settings})
    assert isinstance(made, WindowReader)
    return made


def test_windows_cover_the_text_and_share_the_stride() -> None:
    encoded = reader().encode({"text": ["good", LONG]})
    assert encoded.example == [0, 1, 1, 1, 1, 1] and encoded.cut == []
    windows = [ids[1:-1] for ids in encoded.columns["input_ids"][1:]]  # [CLS] and [SEP] are each window's own
    assert all(len(ids) <= 10 for ids in windows)
    assert all(before[-4:] == after[:4] for before, after in pairwise(windows))
    whole = tiny_tokenizer()(LONG, add_special_tokens=False, truncation=False)["input_ids"]
    assert [*windows[0], *(token for ids in windows[1:] for token in ids[4:])] == whole


@pytest.mark.parametrize(("join", "expected"), [("mean", [1.0, 2.0]), ("max", [2.0, 4.0])])
def test_the_logits_of_windows_become_one_row_a_text(join: str, expected: list[float]) -> None:
    made = reader(join=join)
    encoded = made.encode({"text": ["good", "the film is good " * 4]})
    assert encoded.example == [0, 1, 1]
    rows = made.join(encoded, [np.array([9.0, 9.0]), np.array([0.0, 4.0]), np.array([2.0, 0.0])]).rows
    assert [row.tolist() for row in rows] == [[[9.0, 9.0]], [expected]]


def test_each_window_has_the_label_and_the_weight_of_its_text() -> None:
    rows = Dataset.from_dict({"text": ["good", LONG], "label": [0, 2], "example_weight": [1.0, 3.0]})
    tokens = tokenize(rows, tiny_tokenizer(), 20, problem=get_problem("single_label_classification"), settings=WINDOWS)
    assert tokens["labels"][:] == [0, 2, 2, 2, 2, 2]
    assert tokens["example_weight"][:] == [1.0, 3.0, 3.0, 3.0, 3.0, 3.0]


@pytest.mark.parametrize("join", ["mean", "max"])
def test_a_model_answers_as_its_config_says_whatever_the_length_asked_for(join: str) -> None:
    model = tiny_model("bert")
    remember_reading(model.config, {**WINDOWS, "join": join})
    answers = [
        Predictor(TorchBackend(model, model.device), tiny_tokenizer(), max_length=length).logits([(LONG,), ("good",)])
        for length in (12, None)
    ]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6)
    parts = reader(join=join).encode({"text": [LONG]}).columns["input_ids"]
    texts = [(tiny_tokenizer().decode(ids[1:-1]),) for ids in parts]
    plain = Predictor(TorchBackend(tiny_model("bert"), model.device), tiny_tokenizer()).logits(texts)
    joined = plain.mean(axis=0) if join == "mean" else plain.max(axis=0)
    np.testing.assert_allclose(answers[0][0], joined, atol=1e-5)


def test_without_the_setting_a_text_is_cut() -> None:
    assert isinstance(text_reader(tiny_tokenizer(), 20, {}), TextReader)
    assert len(text_reader(tiny_tokenizer(), 20, {"long": "truncate"}).encode({"text": [LONG]}).example) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"long": "window"}, "did you mean 'windows'"),
        ({"join": "sum"}, "unknown value of join"),
        ({"stride": 10}, "room for 10 of the text and share fewer: give 0 to 9"),
        ({"stride": -1}, "a whole number from 0"),
        ({"window": "12"}, "a whole number from 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        reader(**settings)


def test_the_second_text_of_a_pair_is_read_in_windows_and_the_first_stays_whole() -> None:
    encoded = reader().encode({"text": ["good film", "book", "good"], "text_pair": [LONG, "a red book", LONG]})
    tokens = tiny_tokenizer()
    texts = [tokens.convert_ids_to_tokens(ids) for ids in encoded.columns["input_ids"]]
    firsts, seconds = zip(*[" ".join(text[1:-1]).split(" [SEP] ") for text in texts], strict=True)
    assert set(zip(encoded.example, firsts, strict=True)) == {(0, "good film"), (1, "book"), (2, "good")}
    assert max(map(len, texts)) == 12 and encoded.cut == []
    for example, whole in enumerate([LONG, "a red book", LONG]):
        windows = [second.split() for second, own in zip(seconds, encoded.example, strict=True) if own == example]
        assert all(before[-4:] == after[:4] for before, after in pairwise(windows))
        assert [*windows[0], *(word for words in windows[1:] for word in words[4:])] == whole.split()
    segments = encoded.columns["token_type_ids"]
    assert all(sum(own) == len(second.split()) + 1 for own, second in zip(segments, seconds, strict=True))


def test_a_model_of_pairs_joins_its_windows() -> None:
    model = tiny_model("bert")
    remember_reading(model.config, {**WINDOWS, "join": "max"})
    predictor = Predictor(TorchBackend(model, model.device), tiny_tokenizer())
    parts = reader().encode({"text": ["good film"], "text_pair": [LONG]}).columns["input_ids"]
    pairs = [tuple(tiny_tokenizer().decode(ids[1:-1]).split(" [SEP] ")) for ids in parts]
    plain = Predictor(TorchBackend(tiny_model("bert"), model.device), tiny_tokenizer()).logits(pairs)
    joined = predictor.logits([("good film", LONG), ("good", "a red book")])
    np.testing.assert_allclose(joined[0], plain.max(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (
            "the film was good very",
            "has 5 tokens and leaves 4 of a window's 12 for the second, which has 32 and .* 4:",
        ),
        (LONG, "has 32 tokens and leaves 0 of a window's 12"),
    ],
)
def test_a_first_text_that_leaves_no_room_is_refused(first: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        reader().encode({"text": ["good", first], "text_pair": ["film", LONG]})
    short = reader().encode({"text": ["the film was good very"], "text_pair": ["a red book"]})
    assert len(short.example) == 1  # all of it fits, so that no window is needed
