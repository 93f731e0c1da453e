"""What a loss cites, as data: the command line, `help` and the model card are written from it."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Citation", "source_section"]


@dataclass(frozen=True)
class Citation:
    """A publication, and how the code that cites it differs; ``str()`` is one line of text.

    Args:
        authors: as in a text: ``Hinton et al.``, ``Ba & Caruana``.
        year: of the publication.
        title: of the publication; empty where it is not known for certain.
        id: ``arXiv:...``, ``doi:...``, or where it appeared.
        where: the section or the equation that is meant.
        differs: how ours differs, and which of the authors' choices it takes; whole sentences.
    """

    authors: str
    year: int
    title: str
    id: str
    where: str = ""
    differs: str = ""

    def __str__(self) -> str:
        named = f"{self.authors} {self.year}"
        first = ", ".join(part for part in (named, self.title, self.id, self.where) if part)
        return f"{first}. {self.differs}".rstrip()

    @property
    def short(self) -> str:
        """``Hinton et al. 2015, arXiv:1503.02531``"""
        return f"{self.authors} {self.year}, {self.id}"


def source_section(citations: Sequence[Citation], uncited: str) -> str:
    """The section of a docstring that says where a loss is from; empty where nothing is known.

    Args:
        citations: each begins a new line.
        uncited: why there are none; read only then.
    """
    texts = [str(citation) for citation in citations] or [uncited]
    lines = [line for text in texts for line in textwrap.wrap(text, 107, break_on_hyphens=False)]
    return "\n    ".join(["Source: " + lines[0], *lines[1:]]) if lines else ""
