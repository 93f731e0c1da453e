"""What a model is exported to: each format is one object, which traces a model and writes its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from distilnlp import onnx_file, openvino_file
from distilnlp.errors import RequestError, unknown
from distilnlp.export import graph as onnx_graph
from distilnlp.export import openvino_graph
from distilnlp.export.quantise import halved, quantisable, quantised
from distilnlp.exported_file import ONNX, OPENVINO, FileFormat
from distilnlp.onnx_file import Processor

if TYPE_CHECKING:
    import onnx_ir
    import openvino

__all__ = ["FORMATS", "Format", "Int8", "Kind", "Traced", "get_format"]

Kind = Literal["dynamic", "static"]


@dataclass(frozen=True)
class Int8:
    """How a graph is put into 8 bits.

    Args:
        left_out: the groups that stay in fp32.
        processor: for which it is made; of a format with variants.
        calibration: batches that fix the ranges of activations (static); None: each batch has its own (dynamic).
    """

    left_out: Sequence[str] = ()
    processor: Processor = "avx2"
    calibration: Sequence[Mapping[str, Tensor]] | None = None


class Traced(Protocol):
    """A model as a graph of a format, in fp32; writing it in fewer bits leaves it as it is.

    Attributes:
        opset: version of the format's operators; None where they have none that one may choose.
        groups: what can be quantised, each by name -> the nodes in it.
    """

    opset: int | None
    groups: Mapping[str, Sequence[str]]

    def write(self, path: Path) -> None:
        """In fp32."""
        ...

    def write_half(self, path: Path) -> None:
        """With weights in 16 bits."""
        ...

    def write_int8(self, path: Path, how: Int8) -> None:
        """With weights in 8 bits, but for the groups that are left out."""
        ...


@dataclass(frozen=True)
class Format:
    """A format that models are exported to.

    Args:
        file: where its files lie, and how they are read.
        need: raises RequestError where what makes and runs it is not installed.
        trace: a model, with two texts as it reads them, and the version of operators that was asked for (None: the
            newest), as a graph; raises RequestError where the model cannot be exported.
        fp32, fp16, int8: the names of its files.
        kinds: how the ranges of activations in int8 may be found; the first is what is done where it is not said.
        sentence_names: the names of its int8 file that sentence-transformers looks for, where these are others and
            depend on the processor; a format without them has no variants and no opsets either.
    """

    file: FileFormat
    need: Callable[[], None]
    trace: Callable[[PreTrainedModel, Mapping[str, Tensor], int | None], Traced]
    fp32: str
    fp16: str
    int8: str
    kinds: tuple[Kind, ...]
    sentence_names: Mapping[Processor, str]

    @property
    def name(self) -> str:
        """By which a user asks for it."""
        return self.file.name

    def refuse(self, **settings: object) -> None:
        """Raise RequestError for a setting, by its name, that means nothing in a format without variants."""
        given = next((f"{name}={value}" for name, value in settings.items() if value), None)
        if given is not None and not self.sentence_names:
            raise RequestError(
                f"{given} is for ONNX, and {self.file.title} has one file for all processors, under the name that "
                "others look for: leave it out, or export to onnx"
            )


class _Onnx:
    """A graph of ONNX."""

    def __init__(self, model: PreTrainedModel, inputs: Mapping[str, Tensor], opset: int | None) -> None:
        self.graph: onnx_ir.Model = onnx_graph.trace(model, inputs, opset=opset)
        self.opset: int | None = onnx_graph.opset_of(self.graph)
        self.groups: Mapping[str, Sequence[str]] = quantisable(self.graph)

    def write(self, path: Path) -> None:
        onnx_graph.write(onnx_graph.tidied(self.graph), path)

    def write_half(self, path: Path) -> None:
        onnx_graph.write(halved(onnx_graph.tidied(self.graph)), path)

    def write_int8(self, path: Path, how: Int8) -> None:
        nodes = [node for group in how.left_out for node in self.groups[group]]
        made = quantised(self.graph, left_out=nodes, processor=how.processor, calibration=how.calibration)
        onnx_graph.write(onnx_graph.tidied(made), path)


class _OpenVino:
    """A graph of OpenVINO, which reads the weights of the model that it was made of."""

    def __init__(self, model: PreTrainedModel, inputs: Mapping[str, Tensor], opset: int | None) -> None:
        self.model = model
        self.opset: int | None = None
        self.graph: openvino.Model
        self.graph, modules = openvino_graph.trace(model, inputs)
        self.groups: Mapping[str, Sequence[str]] = openvino_graph.quantisable(self.graph, modules)

    def write(self, path: Path) -> None:
        openvino_graph.write(self.graph, path)

    def write_half(self, path: Path) -> None:
        openvino_graph.write(self.graph, path, half=True)

    def write_int8(self, path: Path, how: Int8) -> None:
        nodes = [node for group in how.left_out for node in self.groups[group]]
        made = openvino_graph.quantised(self.graph, left_out=nodes, calibration=how.calibration or ())
        openvino_graph.write(made, path)


FORMATS = {
    each.name: each
    for each in (
        Format(
            file=ONNX,
            need=onnx_file.need_onnx,
            trace=_Onnx,
            fp32=onnx_file.MODEL,
            fp16=onnx_file.HALF,
            int8=onnx_file.QUANTISED,
            kinds=("dynamic", "static"),
            sentence_names=onnx_file.SENTENCE_NAMES,
        ),
        Format(
            file=OPENVINO,
            need=openvino_file.need_openvino,
            trace=_OpenVino,
            fp32=openvino_file.MODEL,
            fp16=openvino_file.HALF,
            int8=openvino_file.QUANTISED,
            kinds=("static",),  # what it knows else, weights alone in 8 bits, is slower on a CPU
            sentence_names={},
        ),
    )
}


def get_format(name: str) -> Format:
    """The format of a name. Raises RequestError for one that there is not, with those that there are."""
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    return FORMATS[name]
