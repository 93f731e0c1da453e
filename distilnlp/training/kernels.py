"""Which of PyTorch's kernels computes the student's attention."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import TrainingArguments

__all__ = ["SHORT", "attention_kernel"]

SHORT = 192  # tokens: from here on PyTorch's flash attention works on larger blocks


def attention_kernel(inputs: Mapping[str, Tensor], args: TrainingArguments) -> AbstractContextManager[None]:
    """The context of a student's forward pass in training.

    On a CPU in bf16, flash attention takes two to four times as long for the backward pass of texts below 192 tokens
    (`SHORT`) as the single operations of which it consists: each is a product of blocks of 32 rows. PyTorch computes
    those operations itself where attention has dropout. A pass that is repeated for its gradients (gradient
    checkpointing) is left alone, as its second time is outside this context.

    Args:
        inputs: what the student is given, with input_ids ``(..., tokens)``.
        args: of the training.
    """
    ids = inputs.get("input_ids")
    is_slow = args.bf16 and args.device.type == "cpu" and not args.gradient_checkpointing
    if is_slow and ids is not None and ids.shape[-1] < SHORT:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()
