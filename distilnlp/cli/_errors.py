"""From an exception to an exit status and one line."""

import errno

import typer

from distilnlp.cli._signals import Stopped
from distilnlp.errors import DistilError
from distilnlp.hub_token import without_tokens

__all__ = ["GOES_ON", "explain"]

# Of a recipe that saves no checkpoints (the quickstart's, say) the stages that are finished are kept.
GOES_ON = "the same command goes on from what it has kept: finished stages and checkpoints"

# The base of what Typer raises for a wrong option: its own class since 0.2x, that of click before.
_Usage = typer.BadParameter.__mro__[2]
_NO_SPACE = "No space left on device"


def explain(error: BaseException) -> tuple[int, str]:
    """The exit status for ``error`` and the line that says what happened and what to do."""
    if isinstance(error, _Usage):
        message = error.format_message()  # type: ignore[attr-defined]  # _Usage is found at run time
        # Without any argument the "error" is the help itself.
        return 2, message if message.startswith("Usage:") else _line(f"{message.rstrip('.')} (see --help)")
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return 130, f"distilnlp: interrupted; {GOES_ON}"
    if isinstance(error, Stopped):
        status = error.code if isinstance(error.code, int) else 1
        return status, f"distilnlp: stopped by {error.name}; {GOES_ON}"
    if _disk_full(error):
        return 1, _line("the disk is full: free some space and start the same command again, it goes on from there")
    if isinstance(error, DistilError):
        return error.exit_status, _line(str(error))
    hint = "set DISTILNLP_DEBUG=1 for the traceback"
    if isinstance(error, OSError):
        return 1, _line(f"{error} ({hint})")
    return 1, _line(f"unexpected {type(error).__name__}: {error} ({hint})")


def _line(message: str) -> str:
    return f"distilnlp: error: {' '.join(without_tokens(message).split())}"


def _disk_full(error: BaseException | None) -> bool:
    """Whether it or what caused it is a full disk; writers outside Python say so in their text only."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or _NO_SPACE in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
