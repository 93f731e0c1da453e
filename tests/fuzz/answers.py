"""Calls a case and says how it was answered: as asked, by one of our errors, or by something that no user may see."""

import contextlib
import io
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilnlp.cli._errors import explain

__all__ = ["KINDS", "Answer", "Case", "ask"]

KINDS = ("success", "request", "run", "unexpected")


class Hang(BaseException):
    """The case takes longer than it may; no ``except Exception`` can swallow it."""


@dataclass(frozen=True)
class Case:
    """What is done, in words, and the call that does it."""

    what: str
    call: Callable[[], object]


@dataclass(frozen=True)
class Answer:
    """One of `KINDS`, and the line that a user reads; for what is unexpected the end of the traceback."""

    kind: str
    line: str


def ask(case: Case, seconds: int) -> Answer:
    """Call a case, its output caught, in at most so many seconds."""
    screen = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
            warnings.simplefilter("ignore")
            with _at_most(seconds), _same_folder():
                case.call()
    except Hang:
        return Answer("unexpected", f"no answer in {seconds} s")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _answer_of(error)
    return Answer("success", "")


def _answer_of(error: BaseException) -> Answer:
    status, line = (error.code, "") if isinstance(error, SystemExit) else explain(error)
    if "DISTILNLP_DEBUG" in line or status not in (0, 1, 2):
        return Answer("unexpected", "".join(traceback.format_exception(error)[-6:]))
    if "\n" in line and not line.startswith("Usage:"):
        return Answer("unexpected", f"more than one line: {line}")
    return Answer(KINDS[{0: 0, 2: 1, 1: 2}[status]], line)


@contextlib.contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _same_folder() -> Iterator[None]:
    before = Path.cwd()
    try:
        yield
    finally:
        os.chdir(before)
