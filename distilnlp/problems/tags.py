"""Tags of words and the entities that they stand for: schemes, reading, and repair of broken sequences.

Source: the shared task of CoNLL 2000 and its scoring script, which takes a tag that cannot continue the entity before
it for the beginning of one. seqeval and the token-classification pipeline of transformers read tags the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from distilnlp.errors import RequestError

__all__ = ["OUTSIDE", "Span", "count_broken", "entities_of", "scheme_of", "split_tag", "tags_of", "without_prefix"]

OUTSIDE = "O"
PREFIXES = ("B", "I", "E", "S", "L", "U")  # BILOU's last and unit are the end and the single word of BIOES
SIGNS = "-_"


@dataclass(frozen=True, order=True)
class Span:
    """An entity: the words ``start`` to ``end`` (the last excluded) of a text, and its type."""

    start: int
    end: int
    type: str


@lru_cache(maxsize=4096)
def split_tag(tag: str) -> tuple[str, str]:
    """``B-person`` as ``("B", "person")``; ``O`` as ``("O", "")``; a type without a prefix (IO) as ``("I", type)``."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if len(tag) > 2 and tag[1] in SIGNS and tag[0] in PREFIXES:
        return {"L": "E", "U": "S"}.get(tag[0], tag[0]), tag[2:]
    return "I", tag


def scheme_of(names: Sequence[str]) -> str | None:
    """``IO``, ``BIO`` or ``BIOES``, by the tags that there are; None where they are no tags of entities.

    Tags without ``O`` mark every word, as parts of speech do, and stand for no entities.
    """
    if OUTSIDE not in names:
        return None
    prefixes = {split_tag(name)[0] for name in names} - {OUTSIDE}
    if prefixes & {"E", "S"}:
        return "BIOES"
    return "BIO" if "B" in prefixes else "IO"


def without_prefix(names: Iterable[str]) -> frozenset[str]:
    """The tags that lack the prefix and type of the others, such as ``person`` and ``B-`` beside ``B-person``.

    Empty where no tag has a prefix (IO), and without ``O`` where no type has two: parts of speech may look like that.
    """
    given = set(names)
    with_prefix = {name for name in given - {OUTSIDE} if split_tag(name)[1] != name}
    bare = frozenset(given - with_prefix - {OUTSIDE})
    if OUTSIDE in given:
        return (
            bare if with_prefix else frozenset(name for name in bare if name[:1] in PREFIXES and name[1:] in (*SIGNS,))
        )
    types = [split_tag(name)[1] for name in with_prefix]
    return bare if len(set(types)) < len(types) else frozenset()


def entities_of(tags: Sequence[str]) -> list[Span]:
    """The entities of one text, in order; a tag that cannot continue the one before it begins a new one.

    Args:
        tags: one a word, of any scheme.
    """
    found: list[Span] = []
    start, kind = 0, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, name = split_tag(tag)
        goes_on = kind and prefix in ("I", "E") and name == kind
        if kind and not goes_on:
            found.append(Span(start, place, kind))
            kind = ""
        if prefix == OUTSIDE:
            continue
        if not goes_on:
            start, kind = place, name
        if prefix in ("E", "S"):
            found.append(Span(start, place + 1, kind))
            kind = ""
    return found


def tags_of(entities: Iterable[Span], words: int) -> list[str]:
    """The BIO tags of a text of so many words.

    Raises:
        RequestError: two entities overlap, or one lies outside of the words.
    """
    tags = [OUTSIDE] * words
    for entity in sorted(entities):
        if not 0 <= entity.start < entity.end <= words:
            raise RequestError(f"the entity {entity.type} ({entity.start} to {entity.end}) lies outside of the text")
        if any(tag != OUTSIDE for tag in tags[entity.start : entity.end]):
            raise RequestError(f"the entity {entity.type} overlaps another one: a word has one tag only")
        tags[entity.start : entity.end] = [f"B-{entity.type}", *[f"I-{entity.type}"] * (entity.end - entity.start - 1)]
    return tags


def count_broken(tags: Sequence[str], scheme: str) -> int:
    """How many tags of a text cannot follow the one before them in their scheme.

    Args:
        scheme: as `scheme_of` tells it; every sequence is possible in IO.
    """
    if scheme == "IO":
        return 0
    broken, before = 0, (OUTSIDE, "")
    for tag in [*tags, OUTSIDE]:
        now = split_tag(tag)
        continues = now[0] in ("I", "E")
        open_before = before[0] in ("B", "I")
        if continues:
            broken += not (open_before and before[1] == now[1])
        elif scheme == "BIOES":
            broken += open_before  # an entity that never ends
        before = now
    return broken
