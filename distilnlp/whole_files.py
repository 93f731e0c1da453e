"""Files that are complete or absent, whenever the process is killed: written beside their place, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["temporary_name", "whole_file", "write_text"]


def temporary_name(name: str) -> str:
    """What a file is called until it is complete; a process that is killed leaves one behind."""
    return f".{name}.tmp"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; what stands there at the end takes the place of ``path`` in one step, or nothing does.

    Args:
        path: in a folder that is there. The temporary file is hidden beside it, so that both are on one disk.
    """
    temporary = path.with_name(temporary_name(path.name))
    temporary.unlink(missing_ok=True)  # one that a kill has left could be anything, a link to another file say
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 so that it is complete or absent."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
