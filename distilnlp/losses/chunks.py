"""Loss terms on large tensors, a few examples at a time: value and gradient of a chunk are done before the next."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distilnlp.outputs import at_least_float32

__all__ = ["sum_over_examples"]

# Numbers in the largest tensor of a chunk: 16 MiB in float32, which stays in a processor's cache.
CHUNK = 2**22


def sum_over_examples(
    compare: Callable[[list[Tensor], slice], Tensor], student: Sequence[Tensor], numbers: int
) -> Tensor:
    """``compare`` summed over chunks of examples; ``()``.

    A tensor of the size of an attention map would otherwise stay until the backward pass, once for each mapped layer
    and several times over. A loss is a scalar, so a chunk's gradient needs nothing of what comes later: it is taken at
    once, and what stays is as large as ``student``. Only first derivatives can be taken of the result.

    Args:
        compare: the term's sum over the examples of a slice, from the student's tensors of these examples, ``()``.
        student: tensors ``(batch, ...)`` that gradients flow into; handed over at least in float32.
        numbers: how many numbers an example takes in the largest tensor that ``compare`` makes.
    """
    size = max(1, CHUNK // max(numbers, 1))
    batch = student[0].shape[0]
    if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in student):
        parts = [slice(start, start + size) for start in range(0, batch, size)]
        return torch.stack([compare([tensor[part] for tensor in student], part) for part in parts]).sum()
    total: Tensor = _Chunks.apply(compare, size, *student)  # type: ignore[no-untyped-call]  # torch's
    return total


class _Chunks(torch.autograd.Function):
    """The sum, with the gradient computed along."""

    @staticmethod
    def forward(ctx: Any, compare: Callable[[list[Tensor], slice], Tensor], size: int, *student: Tensor) -> Tensor:
        # At least float32: in half precision a gradient that is not scaled yet would vanish.
        gradients = [torch.empty_like(at_least_float32(tensor)) for tensor in student]
        total = torch.zeros((), dtype=gradients[0].dtype, device=student[0].device)
        for start in range(0, student[0].shape[0], size):
            part = slice(start, start + size)
            leaves = [at_least_float32(tensor[part]).detach().requires_grad_() for tensor in student]
            with torch.enable_grad():
                value = compare(leaves, part)
            for gradient, leaf in zip(gradients, torch.autograd.grad(value, leaves), strict=True):
                gradient[part] = leaf
            total += value.detach()
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [tensor.dtype for tensor in student]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        pairs = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return (None, None, *((gradient * upstream).to(dtype) for gradient, dtype in pairs))
