"""Cutting a weight down to a narrower model's shape."""

from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.models.units import STACKED

__all__ = ["check_smaller", "cut"]


def check_smaller(name: str, weight: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a student that is larger than its teacher in some dimension. Raises RequestError."""
    if weight.dim() != len(shape) or any(new > old for new, old in zip(shape, weight.shape, strict=True)):
        raise RequestError(
            f"the student's {name} is {list(shape)} and the teacher's {list(weight.shape)}: a student cut from its "
            "teacher cannot be larger; ask for smaller sizes, or init='random'"
        )


def cut(name: str, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The leading part of ``weight`` that fills ``shape``.

    Rows of a query, key or value matrix are ordered head by head, so that as long as teacher and student have equal
    head sizes the leading rows are whole heads.

    Args:
        name: the weight's name in the student; tells the stacked matrices apart.
    Shapes:
        weight: any, of as many dimensions as ``shape`` and at least its size in each.
    Raises:
        RequestError: the student is larger than the teacher in some dimension.
    """
    check_smaller(name, weight, shape)
    parts = next((parts for part, parts in STACKED.items() if part in name), 1)
    stacked = weight.unflatten(0, (parts, -1))  # (parts, rows, ...)
    kept = (slice(None), slice(shape[0] // parts), *(slice(size) for size in shape[1:]))
    part: Tensor = stacked[kept]
    return part.flatten(0, 1)
