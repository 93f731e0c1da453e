"""A student that learns while its weights and activations are rounded as those of its int8 file will be."""

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from distilnlp.errors import RequestError, unknown
from distilnlp.onnx_file import PROCESSORS, Processor
from distilnlp.part import Part, Training, register_part
from distilnlp.typed import typed

__all__ = ["Int8", "rounded", "rounded_rows"]

logger = logging.getLogger(__name__)


@register_part("int8")
class Int8(Part):
    """Rounds weights and activations in every forward pass, as the dynamic int8 of ``distilnlp export --int8`` does.

    What is rounded, and how, is that file's scheme (`rounded`, `rounded_rows`): weights of linear layers with a scale
    for each of their outputs, tables of embeddings with one scale and zero point, and what a linear layer reads with
    one scale and zero point for the whole batch, padding included. Everything else stays in floating point, there as
    here. The optimizer moves the weights in float32; gradients pass the rounding as if it was not there. Evaluations
    while the student learns are of the rounded student, so that the best checkpoint is the best in int8. In the end
    the student is a plain model in float32, as it would be without the part.

    A batch decides the range of its activations, so that accumulated batches, or those of several processes, are not
    rounded exactly as one large batch is.

    Args:
        processor: for which the file is exported: ``vnni`` and ``arm64`` have 255 levels of a weight; ``avx2``, the
            default, has 129, and its file runs on the others as well.
        start: the share of the training after which rounding begins, 0 <= start < 1.
    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
        Inference", arXiv:1712.05877, section 3, with the range of each batch in place of a running mean; Bengio et
        al. 2013, arXiv:1308.3432, for the gradient. Rounding and gradient are those of
        ``torch.fake_quantize_per_channel_affine`` and ``torch.fake_quantize_per_tensor_affine``.
    Raises:
        RequestError: a value out of its range; a student with weights that are no linear layer's and no table's
            (convolutions, LSTM), for which the scheme is not imitated; adapters (LoRA); with a ``start`` above 0, the
            best checkpoint as the outcome, which may be one from before.
    """

    name = "int8"

    @typed
    def __init__(self, processor: str = "avx2", start: float = 0.0) -> None:
        if processor not in PROCESSORS:
            raise unknown("processor", processor, PROCESSORS, key=["processor"])
        if not 0 <= start < 1:
            raise RequestError(f"start is a share of the training, 0 <= start < 1; got {start:g}", key=["start"])
        self.processor: Processor = processor
        self.start = float(start)
        self._student: PreTrainedModel | None = None
        self._linear: list[nn.Linear] = []
        self._handles: list[RemovableHandle] = []
        self._progress = 0.0

    def accept(self, student: PreTrainedModel) -> None:
        """Refuse a student with weights of which the int8 file is not imitated."""
        _quantised_modules(student)

    def attach(self, training: Training) -> None:
        """Note the student; nothing is rounded before its first pass, so that copies which are made now are plain."""
        arguments = training.arguments
        if training.model is not training.student:
            raise RequestError(
                "int8 rounds the weights themselves, and adapters are trained beside them: leave lora out"
            )
        if self.start > 0 and arguments is not None and arguments.load_best_model_at_end:
            raise RequestError(
                f"int8 begins after {self.start:.0%} of the training, and the best checkpoint may be one from before:"
                " leave load_best_model_at_end out, or start at 0"
            )
        _quantised_modules(training.student)
        self._student, self._progress = training.student, 0.0

    def on_pass(self, progress: float) -> None:
        """Begin to round, once it is time."""
        self._progress = progress
        if self._student is None or self._handles or progress < self.start:
            return
        self._linear, tables = _quantised_modules(self._student)
        for linear in self._linear:
            linear.__class__ = _ROUNDED[self.processor]
        self._handles = [table.register_forward_hook(_round_rows) for table in tables]

    def finish(self) -> None:
        """Leave the student plain."""
        if self._student is not None and not self._handles and self._progress > 0:
            logger.warning(
                "int8: the training ended after %.0f %%, and weights are rounded after %.0f %%: none were",
                *(100 * self._progress, 100 * self.start),
            )
        for linear in self._linear:
            linear.__class__ = nn.Linear
        while self._handles:
            self._handles.pop().remove()
        self._student, self._linear, self._progress = None, [], 0.0


def rounded(values: Tensor) -> Tensor:
    """Numbers as 256 levels between the smallest and the largest of them, 0 among these, in their own dtype.

    Shapes:
        values: any; returns the same.
    """
    return _to_levels(values, values)


def rounded_rows(weight: Tensor, levels: int) -> Tensor:
    """Each row as ``2 * levels + 1`` levels, as far above 0 as below, the outermost at the row's largest number.

    Shapes:
        weight: ``(outputs, inputs)``; returns the same.
    """
    exact = weight.float()
    scale = exact.detach().abs().amax(dim=1) / levels  # (outputs,)
    scale = torch.where(scale < torch.finfo(torch.float32).tiny, 1.0, scale)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(exact, scale, zero, 0, -levels, levels).to(weight.dtype)


def _to_levels(values: Tensor, among: Tensor) -> Tensor:
    """``values`` as 256 levels between the smallest and the largest number of ``among``, 0 being one of them."""
    if values.numel() == 0:
        return values
    low, high = (each.float() for each in torch.aminmax(among.detach()))
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = (high - low) / 255
    scale = torch.where(scale < torch.finfo(torch.float32).tiny, 1.0, scale)
    zero = torch.round(-low / scale).clamp(0, 255).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(values.float(), scale, zero, 0, 255).to(values.dtype)


class _RoundedLinear(nn.Linear):
    """A linear layer that reads and multiplies rounded numbers; its weight itself stays as it is."""

    levels = 127

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`."""
        return nn.functional.linear(rounded(input), rounded_rows(self.weight, self.levels), self.bias)


class _RoundedTo7Bits(_RoundedLinear):
    """Weights of which two products fit into 16 bits."""

    levels = 64


_ROUNDED: dict[Processor, type[_RoundedLinear]] = {
    "vnni": _RoundedLinear,
    "arm64": _RoundedLinear,
    "avx2": _RoundedTo7Bits,
}


def _round_rows(table: nn.Module, args: Any, rows: Tensor) -> Tensor:
    """The rows that a table gave, by the range of all its rows."""
    weight = table.get_parameter("weight")
    return _to_levels(rows, weight)


def _quantised_modules(student: PreTrainedModel) -> tuple[list[nn.Linear], list[nn.Embedding]]:
    """The linear layers and the tables of what is saved of a student, without what else is trained beside it.

    Raises:
        RequestError: other weights than these.
    """
    saved = {id(tensor) for tensor in student.state_dict(keep_vars=True).values()}
    linear, tables = [], []
    for name, module in student.named_modules():
        for weight in module.parameters(recurse=False):
            if weight.dim() < 2 or id(weight) not in saved:
                continue
            if type(module) is nn.Linear:
                linear.append(module)
            elif isinstance(module, nn.Embedding):
                tables.append(module)
            else:
                raise RequestError(
                    f"int8 knows linear layers and tables of embeddings, and {name} of {type(student).__name__} is a "
                    f"{type(module).__name__}: leave int8 out"
                )
    return linear, tables
