"""What a page is made of: sections of paragraphs, tables and pictures, as data; the template writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

__all__ = [
    "Block",
    "Cell",
    "Code",
    "Facts",
    "LeftOut",
    "Notes",
    "Paragraph",
    "Picture",
    "Pictures",
    "Section",
    "Table",
    "Tile",
    "Warning_",
]


@dataclass(frozen=True)
class Paragraph:
    """One or more sentences."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Warning_:
    """What a reader should not pass over."""

    kind: ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True)
class Code:
    """Text as it is, in a box that can be folded away."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A drawing.

    Args:
        svg: a whole ``<svg>`` element, as `distilnlp.html.drawing.to_svg` makes it.
        says: what is to be seen in it, in words, for whoever does not see it.
        caption: below it.
    """

    kind: ClassVar[str] = "picture"
    svg: Markup
    says: str
    caption: str = ""


@dataclass(frozen=True)
class Pictures:
    """Drawings that belong together: beside each other where there is room, else one below the other."""

    kind: ClassVar[str] = "pictures"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: what stands in it.
        value: what it is sorted by; None: by its text.
        shade: 0 to 1, how dark its ground is.
        strong: whether it is stressed.
        note: in small print below the text.
        foreign: whether somebody else has written it, so that it may be of any length and any direction.
    """

    text: str
    value: float | None = None
    shade: float | None = None
    strong: bool = False
    note: str = ""
    foreign: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its name.

    Args:
        caption: says what it shows.
        header: of the columns.
        rows: as many cells each.
        sorts: whether a reader may sort it, where scripts run.
        numbers: how many of the first columns are texts; all others stand to the right.
        folded: whether it is folded away at first.
    """

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    sorts: bool = False
    texts: int = 1
    folded: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and what belongs to each."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Notes:
    """Lines in small print."""

    kind: ClassVar[str] = "notes"
    lines: Sequence[str]


Block = Paragraph | Notes | Warning_ | Code | Picture | Pictures | Table | Facts


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Args:
        name: in the page's address.
        title: its heading.
        blocks: in their order.
    """

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


@dataclass(frozen=True)
class LeftOut:
    """A section for which there is nothing to show, and why."""

    title: str
    why: str


@dataclass(frozen=True)
class Tile:
    """A number at the head of the page.

    Args:
        number: as it is shown; label: what it is; note: what it is made of.
        tone: ``good``, ``bad`` or ``plain``.
    """

    number: str
    label: str
    note: str = ""
    tone: str = "plain"
