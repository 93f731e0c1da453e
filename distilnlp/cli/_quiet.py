"""Keeps the libraries' notices off the screen of the command line; errors stay. The Python API is left alone."""

import logging
import os
import sys
import warnings

from distilnlp.hub_token import without_tokens

__all__ = ["quiet_libraries"]


def quiet_libraries() -> None:
    """Call before the first heavy import of a command. What the user has set in the environment wins."""
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    # Loading a local model is no wait worth a bar; that of a training is our own.
    for name in ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    # Forked workers would warn about it; tokenising is parallel through its own processes or not at all.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait in a loop cost as much as threads that work: on two virtual processors that are one real core a
    # training step took twice as long with it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if os.environ["TRANSFORMERS_VERBOSITY"] == "error":
        warnings.simplefilter("ignore")
        for name in ("accelerate", "evaluate", "fsspec", "huggingface_hub", "peft", "torch"):
            logging.getLogger(name).setLevel(logging.ERROR)

    _show_our_notices()


class _Notices(logging.Handler):
    """Shows what our own parts tell; a warning once: every stage tokenises the same examples and would repeat it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = without_tokens(record.getMessage())
        if record.levelno < logging.WARNING:
            print(message, file=sys.stderr)
        elif message not in self.said:
            self.said.add(message)
            print(f"distilnlp: warning: {message}", file=sys.stderr)


def _show_our_notices() -> None:
    logger = logging.getLogger("distilnlp")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Notices) for handler in logger.handlers):
        logger.addHandler(_Notices())
