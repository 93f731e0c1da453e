"""Keeps the libraries' notices off the screen of the command line; errors stay. The Python API is left alone."""

import logging
import os
import sys
import warnings

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
    if os.environ["TRANSFORMERS_VERBOSITY"] == "error":
        warnings.simplefilter("ignore")
        for name in ("accelerate", "evaluate", "fsspec", "huggingface_hub", "peft", "torch"):
            logging.getLogger(name).setLevel(logging.ERROR)

    _log_our_warnings()


class _Once(logging.Filter):
    """Every stage tokenises the same held-out examples and would give the same warning."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message in self.said:
            return False
        self.said.add(message)
        return True


def _log_our_warnings() -> None:
    logger = logging.getLogger("distilnlp")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("distilnlp: warning: %(message)s"))
    handler.setLevel(logging.WARNING)
    handler.addFilter(_Once())
    logger.addHandler(handler)
    logger.propagate = False
