"""Numbers and lists as a csv holds them: as text, in the spelling of whatever program or country wrote them."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distilnlp.errors import RequestError

__all__ = ["DECIMAL", "NumberStyle", "any_reading", "looks_like_list", "nearest_style", "number_style", "parse_list"]

DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")  # not "nan" and "inf", which can be names
LONGEST_NUMBER = 100  # characters: what is longer is no score
LONGEST_LIST = 100_000  # characters

_MINUS = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'"})
# Thousands are marked by the sign that is not the decimal one, by a space, or as in Switzerland.
_STYLES = {
    ".": re.compile(r"[+-]?([1-9]\d{0,2}(?P<mark>[, '])\d{3}((?P=mark)\d{3})*(\.\d*)?|\d+(\.\d*)?|\.\d+)"),
    ",": re.compile(r"[+-]?([1-9]\d{0,2}(?P<mark>[. '])\d{3}((?P=mark)\d{3})*(,\d*)?|\d+(,\d*)?|,\d+)"),
}
_NAMES = {".": "a decimal point", ",": "a decimal comma"}

_ITEM = re.compile(r"\s*('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s,'\"\[\](){}:]+)\s*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ENDS = {"[": "]", "(": ")", "{": "}"}
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class NumberStyle:
    """How the numbers of a column are written.

    Args:
        decimal: the sign before the fraction, ``.`` or ``,``.
        percent: whether each is a share in percent; 45 % is 0.45.
        marks: whether they are written as programs do not write numbers, with other signs than one point.
    """

    decimal: str = "."
    percent: bool = False
    marks: bool = False

    def read(self, value: object) -> float | None:
        """A number, or a text that is one in this style; None for anything else."""
        if not isinstance(value, str):
            return float(value) if isinstance(value, (int, float)) and not self.percent else None
        if not self.marks:
            return float(value) if _is_plain(value) else None
        if len(value) > LONGEST_NUMBER:
            return None
        text = _plain(value)
        if text.endswith("%") is not self.percent:
            return None
        text = text.removesuffix("%").rstrip()
        if not _STYLES[self.decimal].fullmatch(text):
            return None
        other = "," if self.decimal == "." else "."
        for mark in (other, " ", "'"):
            text = text.replace(mark, "")
        number = float(text.replace(self.decimal, "."))
        return number / 100 if self.percent else number


def _plain(value: str) -> str:
    return value.translate(_MINUS).strip()


def number_style(values: Sequence[object], row_of: Callable[[int], int], where: str) -> NumberStyle | None:
    """The one style in which all values of a column are numbers; None where in none they are.

    Args:
        values: as they stand in the column, each once.
        row_of: the row, counted from 1, of the value at a place.
        where: the file and column, for the errors.
    Raises:
        RequestError: two styles fit and give other numbers (1,234), or each value has a style but not all have one.
    """
    plain = NumberStyle()
    if all(not isinstance(value, str) or _is_plain(value) for value in values):
        return plain if all(plain.read(value) is not None for value in values) else None
    if not all(isinstance(value, str) and any_reading(value) is not None for value in values):
        return None
    texts = [_plain(str(value)) for value in values]
    percent = [text.endswith("%") for text in texts]
    if len(set(percent)) > 1:
        with_sign, without = percent.index(True), percent.index(False)
        raise RequestError(
            f"{where}: row {row_of(with_sign)} has '{values[with_sign]}' and row {row_of(without)} has"
            f" '{values[without]}': write all of them in percent, or none"
        )
    styles = [NumberStyle(decimal, percent[0], marks=True) for decimal in _STYLES]
    fitting = [style for style in styles if all(style.read(value) is not None for value in values)]
    if not fitting:
        first, second = (
            next(place for place, value in enumerate(values) if style.read(value) is None)
            for style in reversed(styles)
        )
        raise RequestError(
            f"{where}: row {row_of(first)} has '{values[first]}' with {_NAMES['.']} and row {row_of(second)} has"
            f" '{values[second]}' with {_NAMES[',']}: write all of them alike"
        )
    read = [[style.read(value) for value in values] for style in fitting]
    if len(fitting) > 1 and read[0] != read[1]:
        place = next(place for place in range(len(values)) if read[0][place] != read[1][place])
        raise RequestError(
            f"{where}: row {row_of(place)} has '{values[place]}', which is {read[0][place]:g} or {read[1][place]:g},"
            " and no other row tells which: write numbers with a decimal point and no marks of thousands, or say"
            " problem_type= (--problem-type) where they are names"
        )
    return fitting[0]


def _is_plain(value: str) -> bool:
    return len(value) <= LONGEST_NUMBER and DECIMAL.fullmatch(value) is not None


def nearest_style(values: Sequence[object]) -> NumberStyle:
    """The style in which most values are numbers."""
    marked = [NumberStyle(decimal, percent, marks=True) for percent in (False, True) for decimal in _STYLES]
    return max([NumberStyle(), *marked], key=lambda style: sum(style.read(value) is not None for value in values))


def any_reading(value: object) -> float | None:
    """The number that a value is in any style at all; None where in none."""
    percent = isinstance(value, str) and _plain(value).endswith("%")
    styles = (NumberStyle(), *(NumberStyle(decimal, percent, marks=True) for decimal in _STYLES))
    return next((number for style in styles if (number := style.read(value)) is not None), None)


def parse_list(text: str) -> list[str | int | float | bool] | None:
    """The names or numbers of a list that is written as text; None for a text that is no such list.

    Read are JSON (``["a", "b"]``), what Python prints of a list, tuple or set (``['a', 'b']``), and what numpy prints
    of an array (``['a' 'b']``, ``[1 0 1]``). Nothing is evaluated. Words without quotes are no list: ``[URGENT]`` may
    be a name.

    Args:
        text: of at most 100,000 characters.
    """
    text = text.strip()
    if not 2 <= len(text) <= LONGEST_LIST or _ENDS.get(text[0]) != text[-1]:
        return None
    if text[0] == "[":
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, list):
            return parsed if all(isinstance(each, (str, int, float)) for each in parsed) else None
    return _items(text[1:-1], text[0])


def looks_like_list(text: str) -> bool:
    """Whether a text stands in brackets as lists and mappings do, though `parse_list` may not read it."""
    text = text.strip()
    return len(text) > 1 and _ENDS.get(text[0]) == text[-1] and any(sign in text[1:-1] for sign in "'\",:.[")


def _items(inner: str, opened: str) -> list[str | int | float | bool] | None:
    found: list[str | int | float | bool] = []
    place, commas = 0, 0
    inner = inner.strip()
    while place < len(inner):
        match = _ITEM.match(inner, place)
        item = None if match is None else _item(match[1])
        if match is None or item is None:
            return None
        found.append(item)
        place = match.end()
        if inner[place : place + 1] == ",":
            place += 1
            commas += 1
        elif place < len(inner) and not inner[place - 1].isspace() and inner[place] not in "'\"":
            return None  # 'a'b
    if commas not in (0, len(found) - 1, len(found)):
        return None
    # {} is a mapping, and (1) a number in brackets
    return None if (opened == "{" and not found) or (opened == "(" and len(found) == 1 and not commas) else found


def _item(text: str) -> str | int | float | bool | None:
    if text[0] in "'\"":
        return _ESCAPED.sub(r"\1", text[1:-1])
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if not _is_plain(text):
        return None
    number = float(text)
    return int(number) if math.isfinite(number) and number.is_integer() else number
