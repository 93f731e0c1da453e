"""What an access token of the Hub looks like: the one definition, to refuse it by or to take it out."""

import re

__all__ = ["holds_token", "without_tokens"]

# The random part is longer than any word of a vocabulary or name of a function.
_PATTERN = r"hf_(?:oauth_|jwt_)?[A-Za-z0-9]{30,}"
_IN_TEXT, _IN_BYTES = re.compile(_PATTERN), re.compile(_PATTERN.encode())


def holds_token(content: bytes) -> bool:
    """Whether anything in a file looks like an access token."""
    return _IN_BYTES.search(content) is not None


def without_tokens(text: str, instead: str = "(removed)") -> str:
    """The text with ``instead`` in place of anything that looks like an access token."""
    return _IN_TEXT.sub(instead, text)
