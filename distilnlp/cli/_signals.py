"""A process that is asked to end does so as after Ctrl-C: what is half-written or temporary is removed first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["Stopped", "stopping_cleanly"]

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Stopped(SystemExit):
    """The process was asked to end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)  # the exit status that shells know
        self.name = signal.Signals(number).name


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `Stopped`, unless somebody handles or ignores them already, as nohup does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    ours = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise Stopped(number)
