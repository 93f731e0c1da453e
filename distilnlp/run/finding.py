"""What an analysis hands on: a table, and what follows from it."""

from dataclasses import dataclass, field

__all__ = ["Finding", "Value"]

Value = str | float | int | None


@dataclass(frozen=True)
class Finding:
    """A table of what was found, and what follows from it.

    Args:
        what: the kind of analysis.
        run: folder of the run.
        header, rows: the table; numbers as they are, None where there is none.
        notes: sentences.
    """

    what: str
    run: str
    header: tuple[str, ...]
    rows: list[list[Value]]
    notes: list[str] = field(default_factory=list)
