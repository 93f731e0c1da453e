"""Names that somebody else has chosen, fit to stand in a text of ours: on one line, visible, and no markdown."""

import re
import unicodedata

__all__ = ["markdown", "one_line", "visible"]

# What turns the direction of the text around it, so that a reader sees something else than what stands there.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_SYNTAX = re.compile(r"[\\`*\[\]<>|#]")


def visible(text: str) -> str:
    """The text with a mark in place of what cannot be seen: control characters, changes of direction, half pairs."""
    return "".join("\ufffd" if _is_hidden(character) else character for character in text)


def one_line(text: str) -> str:
    """The text on one line, and visible."""
    return visible(" ".join(text.split()))


def markdown(text: str) -> str:
    """The text as it is read, wherever it stands in markdown: no cell, heading, link, code or HTML begins or ends."""
    return _SYNTAX.sub(r"\\\g<0>", one_line(text))


def _is_hidden(character: str) -> bool:
    if character in "\n\t":
        return False
    return character in _DIRECTIONS or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
