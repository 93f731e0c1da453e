"""What a secret looks like, a token of the Hub above all: the one definition, to refuse it by or to take it out."""

import os
import re

__all__ = ["holds_token", "is_secret_key", "without_tokens"]

# The random part is longer than any word of a vocabulary or name of a function.
_PATTERN = r"hf_(?:oauth_|jwt_)?[A-Za-z0-9]{30,}"
_IN_TEXT, _IN_BYTES = re.compile(_PATTERN), re.compile(_PATTERN.encode())
# Up to the last @ before the path: a password may hold one.
_IN_ADDRESS = re.compile(r"(?<=://)[^\s/'\"<>]+(?=@)")
_KEY = re.compile(r"(?:.*[_-])?(?:token|key|password|passwd|passphrase|secret|credentials?)", re.IGNORECASE)
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def holds_token(content: bytes) -> bool:
    """Whether anything in a file looks like an access token."""
    return _IN_BYTES.search(content) is not None


def is_secret_key(name: str) -> bool:
    """Whether a text under this name is a secret: ``hub_token``, ``api_key``, ``password``."""
    return _KEY.fullmatch(name) is not None


def without_tokens(text: str, instead: str = "(removed)") -> str:
    """The text with ``instead`` in place of secrets.

    These are whatever looks like an access token, the token in the environment, whatever it looks like, and user and
    password of an address.
    """
    for token in (os.environ.get(variable, "").strip() for variable in _VARIABLES):
        if len(token) >= 8:  # a shorter one could be a word of the text
            text = text.replace(token, instead)
    return _IN_ADDRESS.sub(instead, _IN_TEXT.sub(instead, text))
