"""What a loss cites, as data: the command line, `help` and the model card are written from it."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Citation", "source_section", "with_settings"]


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


def with_settings(doc: str, told: Sequence[str], names: Sequence[str]) -> str:
    """The docstring of a loss with the settings that its bases have for many losses, last among its ``Args:``.

    Args:
        doc: of the loss.
        told: the docstrings of its bases, the nearest first.
        names: of these settings; one that the loss tells of itself stays as it is.
    """
    for name in names:
        entry = re.search(rf"^    {name}: .*\n(?:        .*\n?)*", "\n".join(told), re.MULTILINE)
        if entry is None or re.search(rf"^    {name}: ", doc, re.MULTILINE) or "Shapes:" not in doc:
            continue
        before, shapes, after = doc.partition("Shapes:")
        heading = "" if re.search(r"^Args:$", before, re.MULTILINE) else "Args:\n"
        doc = f"{before}{heading}{entry[0].rstrip()}\n{shapes}{after}"
    return doc
