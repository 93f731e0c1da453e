"""Temporary folders that are gone when the process is, however it ends: what a killed one leaves, the next removes."""

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["PREFIX", "new_folder", "remove_left_behind"]

PREFIX = "distilnlp-data-"  # of the one folder of a process, in which all of its temporary folders are

_own: dict[int, tuple[Path, int]] = {}  # the process that made it -> the folder, and the descriptor that holds it


def new_folder() -> Path:
    """A new folder for temporary files, in that of this process; it is removed at exit, if not before.

    It lies in the folder of temporary files, which TMPDIR chooses.

    Raises:
        OSError: it cannot be made.
    """
    held = _own.get(os.getpid())  # a process that was forked has a copy of its parent's
    if held is None or not held[0].is_dir() or held[0].parent != Path(tempfile.gettempdir()):
        remove_left_behind()
        _own.clear()
        held = _own[os.getpid()] = _hold()
        atexit.register(_remove, held[0], os.getpid())
    return Path(tempfile.mkdtemp(dir=held[0]))


def remove_left_behind() -> None:
    """Remove the folders of this user's processes that were killed.

    Each process holds a lock on its folder, of which the kernel lets go even after kill -9, when the processes that it
    has forked have ended too. Where a disk knows no locks, nothing is removed.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or another user's
            continue
        try:
            if os.fstat(descriptor).st_uid == os.getuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its process lives
            continue
        finally:
            os.close(descriptor)


def _hold() -> tuple[Path, int]:
    """Make this process's folder and hold it; again where another took it for left behind before it was held."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # a disk without locks: then nobody can hold it, and so nobody removes it
            return folder, descriptor
        if folder.is_dir() and os.path.samestat(os.stat(folder), os.fstat(descriptor)):
            return folder, descriptor
        os.close(descriptor)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
