"""Files of ONNX: what they are called, and whether one is an ONNX file that stands for itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distilnlp.errors import RequestError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

__all__ = [
    "FOLDER",
    "HALF",
    "MODEL",
    "NAMES",
    "PROCESSORS",
    "QUANTISED",
    "SENTENCE_NAMES",
    "Processor",
    "count_weights",
    "need_onnx",
    "precision",
    "read_onnx",
    "words_of",
]

# As transformers.js and Optimum lay them out: the tokenizer and the config at the root, the graphs in this folder.
FOLDER = "onnx"
MODEL, QUANTISED, HALF = "model.onnx", "model_quantized.onnx", "model_fp16.onnx"
# What int8 is made for. Without VNNI products of 8 bits are added up in 16: there weights have 7 bits.
Processor = Literal["vnni", "avx2", "arm64"]
PROCESSORS: tuple[Processor, ...] = ("vnni", "avx2", "arm64")
# As sentence-transformers names what is quantised, by the processor that it is for.
SENTENCE_NAMES: dict[Processor, str] = {
    "vnni": "model_qint8_avx512_vnni.onnx",
    "avx2": "model_quint8_avx2.onnx",
    "arm64": "model_qint8_arm64.onnx",
}
NAMES = (QUANTISED, *SENTENCE_NAMES.values(), HALF, MODEL)  # in the order in which one is taken for the model
OF_QUANTISER = ("_scale", "_zero_point")  # how onnxruntime ends the names of what stands beside a quantised weight
_TO_INSTALL = "pip install 'distilnlp[onnx]'"


def need_onnx() -> None:
    """Raise RequestError where what reads, makes or runs ONNX files is not installed."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise RequestError(f"{name} is not installed, which ONNX files are made, read and run with: {_TO_INSTALL}")


def read_onnx(path: Path) -> ModelProto:
    """The content of an ONNX file, with its weights.

    Raises:
        RequestError: it is no ONNX file; its weights stand in another file, whose path could lead anywhere; the extra
            ``onnx`` is not installed.
    """
    need_onnx()
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
        external = next(_external(model), None)
        if external is None:
            onnx.checker.check_model(model)
    except RequestError:
        raise
    except Exception as error:  # of protobuf, of onnx, of the disk
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RequestError(f"{path} is no ONNX file, or a damaged one ({reason}): export the model again") from error
    if external is not None:
        raise RequestError(
            f"{path} has its weights in another file ({external!r:.60}): one file with the weights in it is needed, "
            "export the model again"
        )
    return model


def words_of(path: Path) -> bytes:
    """All of an ONNX file but the numbers of its weights: names, notes, texts. Raises RequestError as `read_onnx`."""
    model = read_onnx(path)
    for tensor in _tensors(model):
        for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)
    return bytes(model.SerializeToString())


def precision(model: ModelProto) -> str:
    """In which numbers the weights of a model are: ``int8``, ``float16`` or ``float32``."""
    import onnx

    kinds = {each.data_type for each in _tensors(model) if _is_weight(each)}
    if kinds & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}:
        return "int8"
    return "float16" if onnx.TensorProto.FLOAT16 in kinds else "float32"


def count_weights(model: ModelProto) -> tuple[int, int]:
    """How many numbers the weights of a model are, and how many of them are no tables of embeddings."""
    tables = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    sizes = {each.name: _size(each) for each in _tensors(model) if _is_weight(each)}
    total = sum(sizes.values())
    return total, total - sum(size for name, size in sizes.items() if name in tables)


def _is_weight(tensor: TensorProto) -> bool:
    import onnx

    kinds = onnx.TensorProto
    return tensor.data_type in (kinds.FLOAT, kinds.FLOAT16, kinds.INT8, kinds.UINT8) and not tensor.name.endswith(
        OF_QUANTISER
    )


def _size(tensor: TensorProto) -> int:
    size = 1
    for length in tensor.dims:
        size *= length
    return size


def _external(model: ModelProto) -> Iterator[str]:
    """Where tensors say that their numbers are, of those that do not hold them."""
    import onnx

    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            yield next((each.value for each in tensor.external_data if each.key == "location"), "")


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """All tensors: the weights, and the constants of nodes, in graphs inside of nodes and in functions too."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Any) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _of_graph(graph)
