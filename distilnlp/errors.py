"""The errors that a user sees: one line each, saying what was given, what was needed and what to do."""

import difflib
from collections.abc import Iterable

from distilnlp.hub_token import without_tokens

__all__ = ["DistilError", "RequestError", "RunError", "listed", "nearest", "unknown"]

LINE = 2000  # characters of a message
LONG = 60  # characters of a name in a message
MANY = 100  # names in a message


class DistilError(Exception):
    """Base of every error that distilnlp raises on purpose.

    The command line prints its message in one line and leaves with ``exit_status``; no traceback. Whatever looks like
    a secret in the message is taken out: it may quote what a user or another library has said.
    """

    exit_status = 1

    def __init__(self, message: str) -> None:
        message = without_tokens(message)
        super().__init__(message if len(message) <= LINE else f"{message[:LINE]}...")  # it may quote the user's data


class RequestError(DistilError, ValueError):
    """The request cannot be meant: a misspelt name, a missing column, models that do not fit together.

    Args:
        message: one line: what was given, what was needed, what to do.
        key: what it is about, as a path of keys in whatever the raiser was given; empty where it is the whole. Whoever
            hands something on puts its own keys in front (`under`), so that the place in a recipe is never read off
            a message.
    """

    exit_status = 2

    def __init__(self, message: str, key: Iterable[str | int] = ()) -> None:
        super().__init__(message)
        self.key = tuple(key)

    def under(self, *keys: str | int) -> "RequestError":
        """The same error, seen from further out."""
        return RequestError(str(self), (*keys, *self.key))


class RunError(DistilError, RuntimeError):
    """The request was fine and the run failed: not a number in a loss, a full disk, a broken connection."""


def nearest(name: str, accepted: Iterable[str]) -> str | None:
    """The accepted name most like ``name``, or None when nothing is close."""
    close = difflib.get_close_matches(str(name), list(accepted), n=1, cutoff=0.5)
    return close[0] if close else None


def unknown(kind: str, name: str, accepted: Iterable[str], key: Iterable[str | int] = ()) -> RequestError:
    """A `RequestError` for a name that is not in a closed list: names the nearest match and all that is accepted."""
    accepted = list(accepted)
    match = nearest(name, accepted)
    hint = f"did you mean '{match}'? " if match else ""
    return RequestError(f"unknown {kind} '{name!s:.200}': {hint}accepted: {listed(accepted)}", key)


def listed(names: Iterable[str]) -> str:
    """Names for one line: some of them where they are many, and the beginning of those that are long."""
    names = list(names)
    shown = ", ".join(name if len(name) <= LONG else f"{name[:LONG]}..." for name in names[:MANY])
    return f"{shown} and {len(names) - MANY} more" if len(names) > MANY else shown
