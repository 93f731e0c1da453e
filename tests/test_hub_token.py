"""Each kind of access token is known, and nothing that a vocabulary or a program holds."""

import pytest

from distilnlp.hub_token import holds_token, without_tokens

RANDOM = "aB3" * 12


@pytest.mark.parametrize("token", [f"hf_{RANDOM}", f"hf_oauth_{RANDOM}", f"hf_jwt_{RANDOM}"])
def test_a_token_is_found_and_taken_out_wherever_it_stands(token):
    assert holds_token(f'\x00{{"a": "{token}"}}'.encode())
    assert without_tokens(f"https://user:{token}@host/") == "https://user:(removed)@host/"
    assert without_tokens(f"{token} {token}", "<token>") == "<token> <token>"


@pytest.mark.parametrize("text", ["", "hf_hub_download", "hf_", f"hf {RANDOM}", "hf_" + "a" * 29])
def test_other_words_stay(text):
    assert not holds_token(text.encode())
    assert without_tokens(text) == text
