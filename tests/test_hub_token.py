"""Each kind of access token is known, and nothing that a vocabulary or a program holds."""

import pytest

from distilnlp.hub_token import holds_token, is_secret_key, without_tokens

RANDOM = "aB3" * 12


@pytest.mark.parametrize("token", [f"hf_{RANDOM}", f"hf_oauth_{RANDOM}", f"hf_jwt_{RANDOM}"])
def test_a_token_is_found_and_taken_out_wherever_it_stands(token):
    assert holds_token(f'\x00{{"a": "{token}"}}'.encode())
    assert without_tokens(f"https://host/?token={token}&a") == "https://host/?token=(removed)&a"
    assert without_tokens(f"{token} {token}", "<token>") == "<token> <token>"


@pytest.mark.parametrize("text", ["", "hf_hub_download", "hf_", f"hf {RANDOM}", "hf_" + "a" * 29])
def test_other_words_stay(text):
    assert not holds_token(text.encode())
    assert without_tokens(text) == text


@pytest.mark.parametrize("address", ["http://ada:s3cret@host:9/x", "https://s3cret@host", "http://a:s3@cret@host/"])
def test_an_address_loses_user_and_password(address):
    said = without_tokens(f"cannot reach '{address}'")
    assert "s3" not in said
    assert "cret" not in said
    assert "://(removed)@host" in said


def test_an_address_without_them_stays():
    for text in ("http://host/a@b", "see https://host and mail ada@host", "ada@host"):
        assert without_tokens(text) == text


def test_the_token_of_the_environment_is_taken_out_whatever_it_looks_like(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "no-usual token")
    assert without_tokens("header b'Bearer no-usual token'") == "header b'Bearer (removed)'"
    monkeypatch.setenv("HF_TOKEN", "short")
    assert without_tokens("a short text") == "a short text"


def test_keys_of_secrets_are_known():
    secret = ("hub_token", "token", "api_key", "API-KEY", "password", "aws_secret", "credentials")
    assert all(map(is_secret_key, secret))
    assert not any(map(is_secret_key, ("pad_token_id", "tokenizer", "keys", "monkey", "keep_adapter")))
