"""Whether there is what draws."""

from importlib.util import find_spec

from distilnlp.errors import RequestError

__all__ = ["HOW_TO_DRAW", "can_draw", "need_drawing"]

HOW_TO_DRAW = "pip install 'distilnlp[report]'"


def can_draw() -> bool:
    """Whether the drawing library is installed."""
    return find_spec("matplotlib") is not None


def need_drawing(what: str) -> None:
    """Raise RequestError where the drawing library is not installed.

    Args:
        what: needs it, as ``the report``.
    """
    if not can_draw():
        raise RequestError(f"{what} needs matplotlib, which is not installed: {HOW_TO_DRAW}")
