"""Weights of a graph in 8 or 16 bits, by the tools of ONNX Runtime; which of its layers, the caller says."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distilnlp.export.graph import scopes
from distilnlp.export.tracing import group_of, refused
from distilnlp.onnx_file import Processor

if TYPE_CHECKING:
    import onnx_ir
    from onnx import ModelProto
    from torch import Tensor

__all__ = ["halved", "processor_of", "quantisable", "quantised"]

_VNNI = {"avx512_vnni", "avx_vnni"}


def processor_of(flags: Collection[str]) -> Processor:
    """Which variant of int8 fits a processor.

    Without VNNI two products of 8 bits are added up in 16, which overflow: there weights have 7 bits.

    Args:
        flags: what the processor can, as Linux names it.
    """
    if platform.machine() in ("aarch64", "arm64"):
        return "arm64"
    return "vnni" if _VNNI & {*flags} else "avx2"


def quantisable(graph: onnx_ir.Model) -> dict[str, list[str]]:
    """What can be quantised, in groups that are left out as one: name of the group -> the nodes in it.

    A node is in one (`group_of`) where it multiplies by a matrix of weights or looks up a table of them. Layers that
    share their weights share their groups.
    """
    groups: dict[str, list[str]] = {}
    place = scopes(graph)
    for node in graph.graph.all_nodes():
        weight = {"MatMul": 1, "Gemm": 1, "Gather": 0}.get(node.op_type)
        value = None if weight is None or len(node.inputs) <= weight else node.inputs[weight]
        constant = None if value is None else value.const_value
        if constant is not None and len(constant.shape) == 2 and constant.dtype.is_floating_point():
            groups.setdefault(group_of(place[str(node.name)]), []).append(str(node.name))
    return groups


def quantised(
    graph: onnx_ir.Model,
    *,
    left_out: Iterable[str] = (),
    processor: Processor = "avx2",
    calibration: Sequence[Mapping[str, Tensor]] | None = None,
) -> onnx_ir.Model:
    """A graph with weights in int8, one scale a channel; the graph itself stays as it is.

    Args:
        graph: as `trace` gives it.
        left_out: names of nodes whose weights stay in fp32 (`quantisable`).
        processor: for which it is made.
        calibration: batches by which the range of each activation is fixed (static int8); None: each batch has its own
            (dynamic int8).
    Raises:
        RequestError: the quantiser cannot do it, with what it says.
    """
    from transformers.exporters import (
        ExportFormat,
        OnnxRuntimeDynamicConfig,
        OnnxRuntimeQuantizer,
        OnnxRuntimeStaticConfig,
    )

    # Gemm is made MatMul first, under another name.
    excluded = [name for each in left_out for name in (each, f"{each}_MatMul")]
    settings: dict[str, Any] = {"per_channel": True, "reduce_range": processor == "avx2", "nodes_to_exclude": excluded}
    config: OnnxRuntimeDynamicConfig | OnnxRuntimeStaticConfig = OnnxRuntimeDynamicConfig(**settings)
    samples = None
    if calibration is not None:
        weights = {node for nodes in quantisable(graph).values() for node in nodes}
        others = [str(node.name) for node in graph.graph.all_nodes() if node.name not in weights]
        settings["nodes_to_exclude"] = [*excluded, *others]
        config = OnnxRuntimeStaticConfig(op_types_to_quantize=["MatMul", "Gemm", "Gather"], **settings)
        samples = [dict(batch) for batch in calibration]
    with refused("be quantised"):
        quantizer = OnnxRuntimeQuantizer(config, samples)
        quantizer.validate_environment(ExportFormat.ONNX)
        made: onnx_ir.Model = quantizer.quantize(graph, {}, ExportFormat.ONNX)
    return made


def halved(model: ModelProto) -> ModelProto:
    """A graph with its weights and its work in fp16; its inputs and outputs are as they were.

    Raises:
        RequestError: it cannot be, with what the converter says.
    """
    with refused("be put into fp16"):
        from onnxruntime.transformers.float16 import convert_float_to_float16

        made: ModelProto = convert_float_to_float16(model, keep_io_types=True)
    return made
