"""A file that a command writes at its end: whether it can be is found out at its start."""

import os
from pathlib import Path

from distilnlp.errors import RequestError

__all__ = ["make_way"]


def make_way(file: Path) -> None:
    """Make the folder of a file that is to be written, as a run makes its own.

    Raises:
        RequestError: there cannot be such a folder or such a file in it.
    """
    if file.is_dir():
        raise RequestError(f"--output {file} is a folder: give the file to be written, like {file / 'output'}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is in the way" if in_the_way else error.strerror
        raise RequestError(f"--output {file}: there can be no folder {file.parent}: {reason}") from error
    if not os.access(file.parent, os.W_OK):
        raise RequestError(f"--output {file}: nothing may be written in {file.parent}: give another folder")
