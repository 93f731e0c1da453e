"""Which stages of a recipe are meant: ``a``, ``a..b``, ``a..``, ``..b``, and several of these with commas."""

from collections.abc import Sequence

from distilnlp.errors import RequestError, nearest

__all__ = ["RANGE", "select_stages"]

RANGE = ".."


def select_stages(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """The stages that a text selects, in their order.

    Args:
        text: ``ta``, ``ta..student`` with both ends, ``ta..``, ``..ta``, or several of these: ``ta,student``.
        names: of all stages, in their order.
    Raises:
        RequestError: an unknown stage (with the nearest match), a range whose end comes before its beginning, or none.
    """
    chosen: set[str] = set()
    for part in text.split(","):
        first, is_range, last = (each.strip() for each in part.partition(RANGE))
        if not is_range and not first:
            raise RequestError(f"--stages {text}: should be stages, as a, a..b, a.., ..b or a,c: {', '.join(names)}")
        begin = _place(first, names, text) if first else 0
        end = begin if not is_range else _place(last, names, text) if last else len(names) - 1
        if end < begin:
            raise RequestError(f"--stages {text}: '{last}' comes before '{first}'; the order is {', '.join(names)}")
        chosen.update(names[begin : end + 1])
    return tuple(name for name in names if name in chosen)


def _place(name: str, names: Sequence[str], text: str) -> int:
    if name not in names:
        match = nearest(name, names)
        hint = f"did you mean '{match}'?" if match else f"stages: {', '.join(names)}"
        raise RequestError(f"--stages {text}: unknown stage '{name}': {hint}")
    return names.index(name)
