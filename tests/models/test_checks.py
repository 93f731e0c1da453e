"""A config is one of an encoder in every field, a tokenizer fits its model, and lengths have a limit."""

import json
from pathlib import Path

import pytest

from distilnlp.errors import RequestError
from distilnlp.models.checks import check_fits, read_config, read_json, token_limit, training_limit
from tests.tiny import POSITIONS, VOCAB, tiny_model, tiny_tokenizer


@pytest.fixture
def config(tmp_path: Path) -> Path:
    tiny_model("bert").config.save_pretrained(tmp_path)
    return tmp_path / "config.json"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_size", "32", "'hidden_size' expected int, got str"),
        ("hidden_size", 0, "has hidden_size 0: a whole number from 1 to"),
        ("hidden_size", -32, "has hidden_size -32: a whole number from 1"),
        ("hidden_size", True, "hidden_size"),
        ("hidden_size", 33, "hidden_size 33 and 4 attention heads: one must divide the other|multiple of"),
        ("num_attention_heads", 0, "has num_attention_heads 0: a whole number from 1"),
        ("num_hidden_layers", 10**9, "has num_hidden_layers 1000000000: a whole number from 1 to 1000"),
        ("vocab_size", 0, "has vocab_size 0"),
        ("pad_token_id", 99_999, f"has pad_token_id 99999: one of 0..{len(VOCAB) - 1} is needed"),
        ("pad_token_id", -1, "has pad_token_id -1"),
        ("id2label", ["a", "b", "c"], r"has id2label \['a', 'b', 'c'\]: an object is needed"),
        ("id2label", {"0": "a", "2": "b"}, "names each class 0, 1, ... once"),
        ("id2label", {}, "has id2label {}"),
        ("id2label", {"0": ["a"]}, "has id2label"),
        ("num_labels", 5, "has num_labels 5 and 3 names in id2label: correct one"),
        ("dtype", "nosuch", "has dtype 'nosuch': one of auto, bfloat16"),
        ("torch_dtype", 5, "has torch_dtype 5"),
        ("problem_type", "nosuch", "problem_type"),
        ("quantization_config", {"load_in_8bit": True}, "is of a quantised model"),
        ("model_type", "nosuch", "has the model_type 'nosuch', which transformers does not know"),
        ("model_type", None, "has no model_type"),
        ("model_type", ["bert"], "has the model_type"),
        ("model_type", "gpt2", "is of a decoder"),
        ("model_type", "bart", "decoder"),
        ("model_type", "t5", "decoder"),
        ("model_type", "vit", "is of a vit, which classifies no texts"),
        ("is_decoder", True, "is of a decoder"),
        ("to_dict", 1, "has a key 'to_dict', which is no field of a config"),
    ],
)
def test_a_config_that_no_encoder_can_have_is_refused_by_its_field(
    config: Path, field: str, value: object, message: str
) -> None:
    config.write_text(json.dumps({**json.loads(config.read_text()), field: value}))
    with pytest.raises(RequestError, match=message) as caught:
        read_config(config.parent, "model")
    assert str(config) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is damaged"),
        ("[]", "it holds a list, not an object"),
        ("{", "is damaged"),
        ("[" * 100_000, "it is nested too deep"),
        (" " * (5 * 2**20), "has 5242880 bytes, and at most"),
    ],
    ids=["empty", "list", "cut", "deep", "large"],
)
def test_a_json_file_is_a_small_object(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RequestError, match=message):
        read_json(tmp_path / "config.json")


def test_every_token_has_an_embedding() -> None:
    """More embeddings than tokens are fine: tables are padded to a round number."""
    model, tokenizer = tiny_model("bert"), tiny_tokenizer()
    model.config.vocab_size = 64
    check_fits(model.config, tokenizer)
    model.config.vocab_size = len(VOCAB)
    tokenizer.add_tokens(["xphone"])
    with pytest.raises(RequestError, match=f"token 'xphone' with id {len(VOCAB)} and the model knows {len(VOCAB)}"):
        check_fits(model.config, tokenizer)
    model.resize_token_embeddings(len(tokenizer))
    check_fits(model.config, tokenizer)


def test_the_two_texts_of_a_pair_have_token_types() -> None:
    config = tiny_model("bert", type_vocab_size=1).config
    check_fits(config, tiny_tokenizer())
    with pytest.raises(RequestError, match="numbers the texts of a pair up to 1 and the model knows 1 token types"):
        check_fits(config, tiny_tokenizer(), pair=True)


def test_a_training_is_told_what_evaluation_cuts_in_silence() -> None:
    """Teacher and student read the same tokens, so the smaller of the two decides."""
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = int(1e30)
    large, small = tiny_model("bert").config, tiny_model("bert", max_position_embeddings=32).config
    assert training_limit([large], tokenizer, None) == token_limit(large, tokenizer) == POSITIONS
    assert training_limit([large, small], tokenizer, None) == 32
    assert training_limit([], tokenizer, None) == 512
    with pytest.raises(
        RequestError, match="max_length is 48, but model and tokenizer take 32 tokens at most"
    ) as caught:
        training_limit([large, small], tokenizer, 48)
    assert caught.value.key == ("max_length",)


def test_a_model_of_relative_positions_alone_has_no_limit() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = int(1e30)
    config = tiny_model("bert").config
    del config.max_position_embeddings
    assert token_limit(config, tokenizer) == 512
    assert token_limit(config, tokenizer, 2000) == 2000
