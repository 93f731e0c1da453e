"""A model of transformers as a graph of ONNX, by the exporter of transformers; and the file of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.export.simplify import simplify
from distilnlp.export.tracing import traceable, tracing
from distilnlp.onnx_file import need_onnx
from distilnlp.whole_files import whole_file

if TYPE_CHECKING:
    import onnx_ir
    from onnx import ModelProto

__all__ = ["OLDEST_OPSET", "opset_of", "scopes", "tidied", "trace", "write"]

OLDEST_OPSET = 18  # of what the exporter of torch writes
_SCOPES = "pkg.torch.onnx.name_scopes"


def trace(model: PreTrainedModel, inputs: Mapping[str, Tensor], *, opset: int | None = None) -> onnx_ir.Model:
    """The graph of a model, for batches of any size and texts of any length that the model takes.

    Its outputs are those of `traceable`.

    Args:
        model: in evaluation mode, on the CPU, in float32.
        inputs: two texts or more of different lengths, as the model reads them, ``(texts, tokens)`` each.
        opset: version of the operators; None is the newest that the exporter knows.
    Raises:
        RequestError: the model cannot be exported, with what the exporter says of it.
    """
    need_onnx()
    from transformers.exporters import OnnxConfig, OnnxExporter

    with tracing(model):
        config = OnnxConfig(dynamic=True, opset_version=opset)
        exported: Any = OnnxExporter().export(traceable(model), dict(inputs), config)  # type: ignore[arg-type]
    # Before 5.23 transformers gives the program of torch itself.
    made: onnx_ir.Model = exported.model if isinstance(exported, torch.onnx.ONNXProgram) else exported.program
    simplify(made)
    return made


def scopes(graph: onnx_ir.Model) -> dict[str, str]:
    """The name of each node -> in which module it was traced, ``bert.encoder.layer.0.attention.self.query``."""
    import ast

    found = {}
    for node in graph.graph.all_nodes():
        said = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        found[str(node.name)] = said[-2] if len(said) > 1 else ""
    return found


def opset_of(graph: onnx_ir.Model) -> int:
    """The version of ONNX's operators that a graph is made of."""
    return int(graph.opset_imports[""])


def tidied(graph: onnx_ir.Model) -> ModelProto:
    """The graph as it is written: without what the exporter notes at each node, and with names for its sizes.

    The notes hold the lines of code that a node comes from, and so paths of this machine. The graph itself keeps them.
    """
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    copied = onnx_ir.from_proto(onnx_ir.to_proto(graph))
    ClearMetadataAndDocStringPass()(copied)
    model: ModelProto = onnx_ir.to_proto(copied)
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        for size, name in zip(sizes, ("batch", "tokens"), strict=False):
            if not size.HasField("dim_value"):
                size.dim_param = name
    return model


def write(model: ModelProto, path: Path) -> None:
    """Write a graph with its weights as one file, which is complete or absent.

    Raises:
        RequestError: it has more than the 2 GB that one file may have.
    """
    try:
        content = model.SerializeToString()
    except Exception as error:  # the limit of protobuf
        raise RequestError(f"{path.name} would have more than the 2 GB that one file of ONNX may have") from error
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
