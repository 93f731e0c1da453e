"""What a run shows while it runs: one live view on a terminal or in a notebook, plain lines anywhere else."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from distilnlp.errors import unknown
from distilnlp.progress import Watcher, is_watched, watched_by
from distilnlp.run.time_left import as_time

__all__ = ["VARIABLE", "LiveView", "NotebookView", "PlainView", "viewing"]

VARIABLE = "DISTILNLP_PROGRESS"
SETTINGS = ("auto", "plain", "off")
SILENT = 5.0  # seconds after which it is said what is being done
TOLD_AGAIN = 60.0  # seconds between two lines about it


@contextmanager
def viewing() -> Iterator[None]:
    """Show what is done for that time, as the environment variable ``DISTILNLP_PROGRESS`` says, on the standard error.

    ``auto`` (default) is a live view on a terminal, if no CI is there, and in a notebook; ``plain`` is lines, as
    anywhere else; ``off`` shows nothing. Within another one it does nothing.

    Raises:
        RequestError: another word.
    """
    setting = os.environ.get(VARIABLE, "auto") or "auto"
    if setting not in SETTINGS:
        raise unknown(f"{VARIABLE}", setting, SETTINGS)
    if is_watched() or setting == "off":
        yield
        return
    view: LiveView | NotebookView | PlainView
    if setting == "plain":
        view = PlainView()
    elif _in_notebook():
        view = NotebookView()
    else:
        view = LiveView() if _has_terminal(sys.stderr) else PlainView()
    view.open()
    try:
        with watched_by(view):
            yield
    finally:
        view.close()


def _in_notebook() -> bool:
    """Whether this is a notebook's kernel: another library may have imported ipykernel in a plain process."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def _has_terminal(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


@dataclass
class _Doing:
    """What is being done: in words, since when, and how much of how much is done."""

    what: str
    total: int | None
    since: float
    done: int = 0
    told: float | None = None

    def line(self, now: float, within: str = "") -> str:
        took = now - self.since
        if not self.total or not self.done:
            return f"{within}{self.what}, {as_time(took)} so far"
        share = min(1.0, self.done / self.total)
        return f"{within}{self.what}: {share:.0%}, {as_time(took * (1 - share) / share)} left"


class _View(Watcher):
    """What all of them know: what is being done, the innermost last, and what a training looks like."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.stack: list[_Doing] = []
        self.lines: Callable[[], list[str]] | None = None

    def begin(self, what: str, total: int | None) -> None:
        self.stack.append(_Doing(what, total, self.clock()))
        self.changed()

    def advance(self, parts: int) -> None:
        if self.stack:
            self.stack[-1].done += parts
        self.changed()

    def end(self) -> None:
        if self.stack:
            self.stack.pop()
        self.changed()

    def show(self, lines: Callable[[], list[str]] | None) -> None:
        self.lines = lines
        self.changed()

    def tell(self, line: str) -> None:
        pass

    def changed(self) -> None:
        pass

    def text(self) -> list[str]:
        """All that is to be seen now."""
        shown = [] if self.lines is None else self.lines()
        return [*shown, *(line for line, _ in self.innermost())]

    def innermost(self) -> list[tuple[str, _Doing]]:
        """What is being done, within what, and of which of the two the times are; nothing where nothing is."""
        stack = [*self.stack]  # a copy, as another thread may look
        if not stack:
            return []
        *outer, inner = stack
        return [(inner.line(self.clock(), "".join(f"{each.what}, " for each in outer)), inner)]


class LiveView(_View):
    """A few lines at the bottom of a terminal, drawn anew twice a second, and gone at the end.

    What is printed meanwhile stands above them, whole; a stream that leads elsewhere is left alone.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        # soft_wrap: what others print is not broken at the terminal's width.
        self._console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            transient=True,
            refresh_per_second=2,  # models may be timed meanwhile
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )

    def _render(self) -> Group:
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis", style="dim") for line in self.text()))

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()


class NotebookView(_View):
    """The same lines in a cell, where they are replaced; the last ones stay."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._handle: Any = None
        self._drawn = 0.0

    def open(self) -> None:
        pass

    def changed(self) -> None:
        if self.clock() - self._drawn < 0.25:
            return
        self._drawn = self.clock()
        shown = _Plain("\n".join(self.text()))
        if self._handle is None:
            self._handle = import_module("IPython.display").display(shown, display_id=True)  # a notebook has it
        else:
            self._handle.update(shown)

    def close(self) -> None:
        self._drawn = 0.0
        if self._handle is not None:
            self.changed()


class _Plain:
    """Text that a notebook shows as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class PlainView(_View):
    """Lines: a stage's tenths, and what takes longer than some seconds, told once and then every minute.

    Args:
        silent: seconds after which it is said what is being done.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, stream: TextIO | None = None, silent: float = SILENT
    ) -> None:
        super().__init__(clock)
        self._stream, self.silent = stream, silent
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="distilnlp-progress", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def tell(self, line: str) -> None:
        stream = self._stream or sys.stderr
        stream.write(f"{line}\n")
        stream.flush()

    def look(self) -> None:
        """Say what is being done, where nobody has said so for long."""
        for line, each in self.innermost():
            now = self.clock()
            since, wait = (each.since, self.silent) if each.told is None else (each.told, TOLD_AGAIN)
            if now - since >= wait:
                each.told = now
                self.tell(line)

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, self.silent)):
            self.look()
