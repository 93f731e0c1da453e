"""When two spellings of a label's name mean the same label: the one comparison of names that everything uses."""

import re
from collections.abc import Callable, Sequence

__all__ = ["find_name", "match_names"]

_SEPARATORS = re.compile(r"(?<=\w)[\s_./-]+(?=\w)")  # within a name: the sign of -1 and the signs of C++ stand outside
_UNDERSCORES = re.compile(r"(?<=[^\W_])_+(?=[^\W_])")
_BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_])")


def _lower(name: str) -> str:
    return name.strip().casefold()


def _spaced(name: str) -> str:
    return _SEPARATORS.sub(" ", _UNDERSCORES.sub(" ", _lower(name)))


def _joined(name: str) -> str:
    return _BETWEEN_LETTERS.sub("", _spaced(name))


# From the strictest to the most lenient. Digits stay apart: 1-2 is not 12.
_SPELLINGS: tuple[Callable[[str], str], ...] = (str, _lower, _spaced, _joined)


def match_names(reference: Sequence[str], other: Sequence[str]) -> tuple[int, ...] | None:
    """For each reference name its place in another list; None where the two are not the same labels.

    Names are compared as they are first. Where that does not pair them all, upper case does not count, then what
    separates words (spaces, ``_``, ``-``, ``.``, ``/``) does not. A looser comparison is taken only where it keeps all
    names of both lists apart: ``Positive`` and ``POSITIVE`` in one list are two labels. Other signs always count:
    ``-1`` is not ``1``, ``C++`` is not ``C``.

    Args:
        reference, other: names of labels.
    """
    for spell in _SPELLINGS:
        ours = [spell(str(name)) for name in reference]
        theirs = {spell(str(name)): place for place, name in enumerate(other)}
        if len(set(ours)) < len(ours) or len(theirs) < len(other):
            return None  # a looser spelling tells no more of them apart
        if theirs.keys() == set(ours):
            return tuple(theirs[name] for name in ours)
    return None


def find_name(name: str, names: Sequence[str]) -> str | None:
    """The one of ``names`` that is meant by ``name``, compared as in `match_names`; None where there is none.

    Args:
        name: as somebody wrote it.
        names: the labels that there are.
    """
    for spell in _SPELLINGS:
        known = {spell(str(each)): each for each in names}
        if len(known) < len(names):
            return None
        if spell(name) in known:
            return known[spell(name)]
    return None
