"""Further processes that try students for a search, begun and ended by the one that the user has begun."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from distilnlp.errors import DistilError

__all__ = ["helped_by"]


@contextmanager
def helped_by(count: int, work: Callable[..., None], *task: Any, say: Callable[[str], object]) -> Iterator[None]:
    """So many further processes beside what is done within; afterwards they are waited for.

    The threads of this process are shared out among all of them.

    Args:
        count: of processes, from 0.
        work, task: a function of a module, and what it is called with in each of them.
        say: shows one line of text to the user.
    """
    if not count:
        yield
        return
    before = torch.get_num_threads()
    threads = max(1, before // (count + 1))
    context = multiprocessing.get_context("spawn")  # a fork would share what the threads of torch hold
    helpers = [context.Process(target=_help, args=(threads, work, task), daemon=True) for _ in range(count)]
    for each in helpers:
        each.start()
    torch.set_num_threads(threads)
    try:
        yield
        for each in helpers:
            each.join()
            if each.exitcode:
                say(f"one of {count} further processes ended early, with exit status {each.exitcode}")
    finally:
        torch.set_num_threads(before)
        for each in helpers:  # where this one was stopped
            if each.is_alive():
                each.terminate()
                each.join()


def _help(threads: int, work: Callable[..., None], task: tuple[Any, ...]) -> None:
    warnings.simplefilter("ignore")  # the first process says them
    torch.set_num_threads(threads)
    try:
        work(*task)
    except DistilError as error:
        sys.stderr.write(f"distilnlp: error: {error}\n")
        sys.exit(1)
