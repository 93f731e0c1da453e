"""Cutting a weight down to a narrower model's shape."""

from torch import Tensor

from distilnlp.errors import RequestError

__all__ = ["cut"]

# Linear layers of ModernBERT that hold several matrices, one on top of the other: each is cut on its own.
STACKED = {"attn.Wqkv": 3, "mlp.Wi": 2}


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
    if weight.dim() != len(shape) or any(new > old for new, old in zip(shape, weight.shape, strict=True)):
        raise RequestError(
            f"the student's {name} is {list(shape)} and the teacher's {list(weight.shape)}: a student cut from its "
            "teacher cannot be larger; ask for smaller sizes, or init='random'"
        )
    parts = next((parts for part, parts in STACKED.items() if part in name), 1)
    stacked = weight.unflatten(0, (parts, -1))  # (parts, rows, ...)
    kept = (slice(None), slice(shape[0] // parts), *(slice(size) for size in shape[1:]))
    part: Tensor = stacked[kept]
    return part.flatten(0, 1)
