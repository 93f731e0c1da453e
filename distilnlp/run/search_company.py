"""Several processes in the folder of one search: who is there, who works on which student, and who is the last."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distilnlp.errors import RequestError

__all__ = ["Company"]

LOCK = ".lock"


class Company:
    """A process among those that work on the search in a folder. Everything is let go of when it ends, however.

    Args:
        place: of the search.
    Raises:
        RequestError: the folder's disk knows no locks, or its lock cannot be opened.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.is_alone = False
        self._file = _open(place / LOCK)

    def try_alone(self) -> bool:
        """Whether no other process works here; then none can begin, before `join`. Called before any other method."""
        self.is_alone = _lock(self._file, self.place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self.is_alone

    def join(self) -> None:
        """Work here beside others; waits while one is alone."""
        self.is_alone = False
        _lock(self._file, self.place, fcntl.LOCK_SH)

    def wait_alone(self) -> None:
        """Wait until all others have left, and keep others out."""
        self.is_alone = _lock(self._file, self.place, fcntl.LOCK_EX)

    def leave(self) -> None:
        """Let go of the folder."""
        os.close(self._file)

    @contextmanager
    def taking(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Whether this process alone works on what has a name.

        Args:
            name: of a file that holds the lock, beside the folder's own.
            wait: until another process has let go of it.
        """
        file = _open(self.place / name)
        try:
            yield _lock(file, self.place, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        finally:
            os.close(file)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise RequestError(f"{path} cannot be opened ({error.strerror}): delete it") from error


def _lock(file: int, place: Path, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        way_out = "two searches could mix there: give an --output on another disk"
        raise RequestError(f"{place} cannot be locked ({error.strerror}), so {way_out}") from error
    return True
