"""Files of a model of OpenVINO: a graph as XML, its weights beside it; and whether the two are what they seem."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from distilnlp.errors import RequestError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["FOLDER", "HALF", "IR", "MODEL", "NAMES", "QUANTISED", "need_openvino", "read_ir", "weights_beside"]

# As Optimum and sentence-transformers lay them out: tokenizer and config at the root, the graphs in this folder.
FOLDER = "openvino"
MODEL, QUANTISED = "openvino_model.xml", "openvino_model_qint8_quantized.xml"
HALF = "openvino_model_fp16.xml"
NAMES = (QUANTISED, HALF, MODEL)  # in the order in which one is taken for the model
LARGEST = 64_000_000  # bytes of a graph without its weights
VERSIONS = {"10", "11"}  # of the format
OPERATORS = re.compile(r"opset\d+")  # what OpenVINO has of its own; others come with code
WEIGHTS = {"f32": "float32", "f16": "float16", "i8": "int8", "u8": "int8"}
CONSTANT = {"element_type", "shape", "offset", "size"}
# A place in a file system or on the network: a slash or a drive first, or a scheme.
ELSEWHERE = re.compile(r"^(?:/|\\|\.\.|~|[A-Za-z]:[\\/])|://")
# What may stand between a quantised or halved weight and its use.
PASSED_ON = {"Convert", "Multiply", "Subtract", "Reshape", "FakeQuantize"}
SMOOTHED = "nncf_smooth_quant/scale"  # how nncf ends the name of a factor that it takes off activations
_TO_INSTALL = "pip install 'distilnlp[openvino]'"


def need_openvino() -> None:
    """Raise RequestError where what makes or runs models of OpenVINO is not installed.

    Both packages tell Google Analytics what they are used for. From here on they find the package missing that does
    so, and tell nothing.
    """
    for name in ("openvino", "nncf"):
        if importlib.util.find_spec(name) is None:
            raise RequestError(
                f"{name} is not installed, which models of OpenVINO are made and run with: {_TO_INSTALL}"
            )
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is what forbids an import


def weights_beside(path: Path) -> Path:
    """The file that has the numbers of a graph."""
    return path.with_suffix(".bin")


@dataclass(frozen=True)
class IR:
    """A graph of OpenVINO that was read and checked; no number of its weights.

    Args:
        text: the whole file.
        net: its root.
    """

    text: bytes
    net: Element

    @property
    def precision(self) -> str:
        """In which numbers its weights are: ``int8``, ``float16`` or ``float32``."""
        found = {WEIGHTS[kind] for _, kind, shape in self._constants() if len(shape) > 1 and kind in WEIGHTS}
        return next((name for name in ("int8", "float16") if name in found), "float32")

    def count_weights(self) -> tuple[int, int]:
        """How many numbers its weights are, and how many of them are no tables of embeddings.

        What quantising adds (scales, zero points, ranges) is left out, and so are single numbers. Biases of 0 and
        factors of 1, as a model has them before it is trained, are not in a graph.
        """
        graph = _Edges.of(self.net)
        sizes = {place: prod(shape) for place, kind, shape in self._constants() if kind in WEIGHTS and shape}
        whole = {place for place, kind, _ in self._constants() if WEIGHTS.get(kind) == "int8"}
        weights = {place: size for place, size in sizes.items() if not graph.is_of_quantiser(place, whole)}
        total = sum(weights.values())
        return total, total - sum(size for place, size in weights.items() if graph.is_table(place))

    def _constants(self) -> Iterator[tuple[str, str, list[int]]]:
        """Of each constant of the graph its layer, its kind of numbers, and its shape."""
        for layer in self.net.iterfind("./layers/layer[@type='Const']"):
            data = layer.find("data")
            if data is not None:
                shape = [int(size) for size in data.get("shape", "").split(",") if size.strip()]
                yield layer.get("id", ""), data.get("element_type", ""), shape


@dataclass(frozen=True)
class _Edges:
    """What is used where in a graph.

    Args:
        names, types: of each layer.
        uses: layer -> the layers that read it, and at which port.
        sources: layer and port -> the layer that it reads there.
    """

    names: dict[str, str]
    types: dict[str, str]
    uses: dict[str, list[tuple[str, int]]]
    sources: dict[tuple[str, int], str]

    @classmethod
    def of(cls, net: Element) -> _Edges:
        layers = {layer.get("id", ""): layer for layer in net.iterfind("./layers/layer")}
        uses: dict[str, list[tuple[str, int]]] = {}
        sources = {}
        for edge in net.iterfind("./edges/edge"):
            start, end, port = edge.get("from-layer", ""), edge.get("to-layer", ""), int(edge.get("to-port", "0"))
            uses.setdefault(start, []).append((end, port))
            sources[end, port] = start
        names, types = ({place: each.get(key, "") for place, each in layers.items()} for key in ("name", "type"))
        return cls(names, types, uses, sources)

    def is_of_quantiser(self, place: str, whole: set[str]) -> bool:
        """Whether a constant is a range, a scale or a zero point; ``whole`` are the constants of whole numbers."""
        if self.names[place].endswith(SMOOTHED):
            return True
        for end, port in self.uses.get(place, []):
            kind = self.types[end]
            if kind == "FakeQuantize" and port > 0:
                return True
            if kind in ("Multiply", "Subtract") and port == 1 and self._origin(self.sources[end, 0]) in whole:
                return True
            if kind == "Convert" and ("Subtract", 1) in [(self.types[to], at) for to, at in self.uses.get(end, [])]:
                return True
        return False

    def _origin(self, place: str) -> str:
        while self.types[place] in ("Convert", "Subtract"):
            place = self.sources[place, 0]
        return place

    def is_table(self, place: str) -> bool:
        """Whether rows of a constant are looked up."""
        for end, port in self.uses.get(place, []):
            kind = self.types[end]
            if (kind == "Gather" and port == 0) or (kind in PASSED_ON and port == 0 and self.is_table(end)):
                return True
        return False


def read_ir(path: Path) -> IR:
    """A graph of OpenVINO whose weights stand beside it, checked: it is plain data, and the two belong together.

    Raises:
        RequestError: it is no such graph; its weights are missing, or those of another; it names another file, holds
            texts among its numbers, or needs operators that come with code.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"of more than {LARGEST} bytes")
        text = path.read_bytes()
        if b"<!" in text.replace(b"<!--", b""):
            raise ValueError("it declares a document type, which no graph has")
        net = ElementTree.fromstring(text)
        if net.tag != "net" or net.get("version") not in VERSIONS:
            raise ValueError(f"its root is <{net.tag:.40} version={net.get('version')!r:.20}>, not <net version='11'>")
        end = max((_check_layer(layer) for layer in net.iter("layer")), default=0)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(
            f"{path} is no model of OpenVINO, or a damaged one ({reason}): export the model again"
        ) from error
    weights = weights_beside(path)
    if not weights.is_file():
        raise RequestError(f"{path} has no {weights.name} beside it, which holds its weights: export the model again")
    if weights.stat().st_size != end:
        raise RequestError(
            f"{weights} has {weights.stat().st_size} bytes, and {path.name} describes {end}: the two are not of one "
            "model, export it again"
        )
    return IR(text, net)


def _check_layer(layer: Element) -> int:
    """Where the numbers of a layer end in the file of weights; 0 of one that has none.

    Raises:
        ValueError: it is none of OpenVINO's own, or more than numbers.
    """
    kind, name = layer.get("type", ""), layer.get("name", "")
    if not OPERATORS.fullmatch(layer.get("version", "")):
        raise ValueError(f"the operator {kind!r:.40} of {layer.get('version')!r:.40} is none of OpenVINO's own")
    data = layer.find("data")
    fields = {} if data is None else dict(data.attrib)
    place = next((value for value in fields.values() if ELSEWHERE.search(value)), None)
    if place is not None:
        raise ValueError(f"it names {place!r:.60}, and only the weights beside it are read")
    if kind != "Const":
        return 0
    if {*fields} != CONSTANT or fields["element_type"] == "string":
        raise ValueError(f"the constant {name!r:.60} is described by {', '.join(sorted(fields))}, no plain numbers")
    start, size = int(fields["offset"]), int(fields["size"])
    if start < 0 or size < 0:
        raise ValueError(f"the constant {name!r:.60} has {size} bytes at {start}")
    return start + size
