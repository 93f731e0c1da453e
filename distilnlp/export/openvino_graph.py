"""A model of transformers as a graph of OpenVINO, by the exporter of transformers; in fewer bits, by NNCF."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.export.tracing import group_of, refused, traceable, tracing
from distilnlp.openvino_file import need_openvino

if TYPE_CHECKING:
    import openvino

__all__ = ["quantisable", "quantised", "trace", "write"]

_WEIGHT = {"MatMul": (0, 1), "Gather": (0,)}  # where an operator may have a matrix of weights


def trace(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> tuple[openvino.Model, dict[str, str]]:
    """The graph of a model, for batches of any size and texts of any length that the model takes.

    Its outputs are those of `traceable`.

    Args:
        model: in evaluation mode, on the CPU, in float32. The graph reads its weights, so that it has to outlive it.
        inputs: two texts or more of different lengths, as the model reads them, ``(texts, tokens)`` each.
    Returns:
        the graph, and the modules of the model by what the graph calls their weights.
    Raises:
        RequestError: the model cannot be exported, with what the exporter says of it.
    """
    need_openvino()
    from transformers.exporters import OpenVINOConfig, OpenVINOExporter

    whole = traceable(model)
    with tracing(model):
        exported: Any = OpenVINOExporter().export(whole, dict(inputs), OpenVINOConfig(dynamic=True))  # type: ignore[arg-type]
    # Before 5.23 transformers gives the graph itself.
    graph: openvino.Model = getattr(exported, "program", exported)
    modules = {}
    for name, _ in whole.named_parameters(remove_duplicate=False):
        modules[name.replace(".", "_").lower()] = name.rpartition(".")[0]
    return graph, modules


def quantisable(graph: openvino.Model, modules: Mapping[str, str]) -> dict[str, list[str]]:
    """What can be quantised, in groups that are left out as one: name of the group -> the nodes in it.

    A node is in one (`group_of`) where it multiplies by a matrix of weights or looks up a table of them. Layers that
    share their weights share their groups.

    Args:
        graph, modules: as `trace` gives them.
    """
    groups: dict[str, list[str]] = {}
    for node in graph.get_ordered_ops():
        for place in _WEIGHT.get(node.get_type_name(), ()):
            weight = node.input_value(place)
            shape = weight.get_partial_shape()
            if weight.get_node().get_type_name() != "Constant" or len(shape) != 2:
                continue
            if weight.get_element_type().is_real():
                groups.setdefault(group_of(_module(weight, modules)), []).append(str(node.get_friendly_name()))
    return groups


def _module(weight: Any, modules: Mapping[str, str]) -> str:
    """The graph ends the name of a weight with a count and a port: ``bert_pooler_dense_weight_0:0``."""
    named = [str(name).partition(":")[0].rpartition("_")[0] for name in weight.get_names()]
    return next((modules[name] for name in named if name in modules), "")


def quantised(
    graph: openvino.Model, *, left_out: Iterable[str], calibration: Sequence[Mapping[str, Tensor]]
) -> openvino.Model:
    """A graph with weights and activations in int8; the graph itself stays as it is.

    Args:
        graph: as `trace` gives it.
        left_out: names of nodes whose weights stay in fp32 (`quantisable`).
        calibration: batches by which the range of each activation is fixed.
    Raises:
        RequestError: NNCF cannot do it, with what it says.
    """
    need_openvino()
    with refused("be quantised"):
        import nncf
        from transformers.exporters import ExportFormat, NNCFOpenVINOQuantizer, NNCFQuantizationConfig

        samples = [dict(batch) for batch in calibration]
        config = NNCFQuantizationConfig(
            ignored_scope=nncf.IgnoredScope(names=[*left_out]), subset_size=max(len(samples), 1)
        )
        quantizer = NNCFOpenVINOQuantizer(config, samples)
        made: openvino.Model = quantizer.quantize(graph.clone(), {}, ExportFormat.OPENVINO)
    gc.collect()  # what NNCF has compiled, in the thread that did: see `distilnlp.models.openvino_backend`
    return made


def write(graph: openvino.Model, path: Path, *, half: bool = False) -> None:
    """Write a graph, and its weights beside it.

    Args:
        graph: in fp32 or quantised; it stays as it is.
        path: of the graph.
        half: put the weights that are in fp32 into fp16.
    """
    import openvino

    openvino.save_model(graph, str(path), compress_to_fp16=half)
