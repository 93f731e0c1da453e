"""What a command prints while it works, and a file that it writes at its end: can it be, is found out at its start."""

import os
import stat
from pathlib import Path

from distilnlp.errors import RequestError

__all__ = ["make_way", "say"]


def say(line: str) -> None:
    """Print a line at once. Not `typer.echo`, which goes past what a live view has put in the place of the output."""
    print(line, flush=True)


def make_way(file: Path, *inputs: Path | None) -> None:
    """Make the folder of a file that is to be written, as a run makes its own.

    Args:
        file: what stands there now will be replaced; a link by the file, and not what it leads to.
        inputs: what the command reads.
    Raises:
        RequestError: there cannot be such a folder or such a file in it; it is an input, by whatever name; it is no
            plain file.
    """
    for path in inputs:
        if path is not None and file.exists() and path.exists() and os.path.samefile(file, path):
            raise RequestError(f"--output {file} is the file that is read, {path}: give another name")
    try:
        in_place = os.stat(file)
    except FileNotFoundError:
        in_place = None
    except (OSError, ValueError) as error:
        in_place = None
        if not isinstance(error, NotADirectoryError):
            reason = getattr(error, "strerror", None) or error
            raise RequestError(f"--output {file} can be no file ({reason}): give another name") from error
    if in_place is not None and stat.S_ISDIR(in_place.st_mode):
        raise RequestError(f"--output {file} is a folder: give the file to be written, like {file / 'output'}")
    if in_place is not None and not stat.S_ISREG(in_place.st_mode):
        raise RequestError(f"--output {file} is a pipe or a device, and a file is needed: give another name")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is in the way" if in_the_way else error.strerror
        raise RequestError(f"--output {file}: there can be no folder {file.parent}: {reason}") from error
    if not os.access(file.parent, os.W_OK):
        raise RequestError(f"--output {file}: nothing may be written in {file.parent}: give another folder")
