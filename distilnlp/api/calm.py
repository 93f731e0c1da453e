"""Keeps the libraries' notices out of a notebook while we work, and leaves everything as it was."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from distilnlp.models.loading import quiet_transformers
from distilnlp.run.view import VARIABLE

__all__ = ["calm"]


@contextmanager
def calm(*, without_progress: bool = False) -> Iterator[None]:
    """Without bars and warnings of other libraries: what matters of them, ours says. Errors are raised as ever.

    Args:
        without_progress: show none of ours either.
    """
    loggers = [logging.getLogger(name) for name in ("accelerate", "evaluate", "fsspec", "peft", "torch")]
    levels = [each.level for each in loggers]
    bars, progress = not are_progress_bars_disabled(), os.environ.get(VARIABLE)
    disable_progress_bars()
    if without_progress:
        os.environ[VARIABLE] = "off"
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
        if bars:
            enable_progress_bars()
        if without_progress and progress is None:
            del os.environ[VARIABLE]
        elif without_progress and progress is not None:
            os.environ[VARIABLE] = progress
