"""What is being done just now, told to whoever shows it; with nobody there, a bar on a terminal where it has parts."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tqdm.auto import tqdm

__all__ = ["Watcher", "doing", "is_watched", "watched_by", "watcher"]

_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


class Watcher(Protocol):
    """Shows what it is told. Nothing of it raises."""

    def begin(self, what: str, total: int | None) -> None:
        """Something has begun that may take a while, and has ``total`` parts where that is known."""

    def advance(self, parts: int) -> None:
        """So many more parts of what was begun last are done."""

    def end(self) -> None:
        """What was begun last is over."""

    def show(self, lines: Callable[[], list[str]] | None) -> None:
        """What a training looks like, made anew whenever somebody looks; None: there is none any more."""

    def tell(self, line: str) -> None:
        """A line for who does not see ``show``."""


class _Bars:
    """Of a training that is no run, whose steps Trainer shows itself."""

    def __init__(self) -> None:
        self.bars: list[Any] = []

    def begin(self, what: str, total: int | None) -> None:
        # None: only on a terminal. Of several processes the first one speaks, and of others whoever has started them.
        first = os.environ.get("LOCAL_RANK", "0") == "0" and multiprocessing.parent_process() is None
        hidden = None if total is not None and first else True
        self.bars.append(tqdm(total=total, desc=what, leave=False, delay=1, disable=hidden, bar_format=_FORMAT))

    def advance(self, parts: int) -> None:
        if self.bars:
            self.bars[-1].update(parts)

    def end(self) -> None:
        self.bars.pop().close()

    def show(self, lines: Callable[[], list[str]] | None) -> None:
        pass

    def tell(self, line: str) -> None:
        pass


_watchers: list[Watcher] = [_Bars()]


def watcher() -> Watcher:
    """Who is told at present."""
    return _watchers[-1]


def is_watched() -> bool:
    """Whether anybody is."""
    return len(_watchers) > 1


@contextmanager
def watched_by(who: Watcher) -> Iterator[None]:
    """Tell ``who``, and nobody else, for that time."""
    _watchers.append(who)
    try:
        yield
    finally:
        _watchers.remove(who)


@contextmanager
def doing(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Let it be shown that something is done, for as long as that takes.

    Args:
        what: in words, as ``tokenising 3668 texts``.
        total: how many parts it has.
    Yields:
        what takes how many more of them are done.
    """
    who = watcher()
    who.begin(what, total)
    try:
        yield who.advance
    finally:
        who.end()
