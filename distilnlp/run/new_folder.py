"""A folder that a command makes: complete, or not there, and found out before the work whether it can be."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distilnlp.errors import RequestError

__all__ = ["check_new", "new_folder"]


def check_new(output: Path) -> None:
    """Raise RequestError where there can be no new folder: something has its name, or is in the way above it."""
    try:
        os.lstat(output)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{output} can be no folder ({reason}): give another name") from error
    else:
        raise RequestError(f"{output} is there already: give the name of a new folder")
    above = next(each for each in output.absolute().parents if os.path.lexists(each))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = "nothing may be written there" if above.is_dir() else "it is no folder"
        raise RequestError(f"there can be no folder {output} in {above} ({why}): give another name")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """An empty folder to write into, which takes the name ``output`` at the end; where the writing fails nothing does.

    Raises:
        RequestError: as `check_new`.
    """
    check_new(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        made = Path(scratch) / output.name
        made.mkdir()
        yield made
        made.rename(output)
