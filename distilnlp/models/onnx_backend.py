"""Answers batches with an ONNX file, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from distilnlp.models.exported_backend import ExportedBackend
from distilnlp.onnx_file import count_weights, precision, read_onnx

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OnnxBackend"]


class OnnxBackend(ExportedBackend):
    """A model in an ONNX file, with its weights in it; else as `ExportedBackend`."""

    runtime = "ONNX Runtime"

    def _open(self) -> tuple[list[str], list[str]]:
        graph = read_onnx(self.path)
        self._precision, self._sizes = precision(graph), count_weights(graph)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        return [each.name for each in inputs], [each.name for each in outputs]

    def _run(self, feed: dict[str, NDArray[Any]], answers: Sequence[str]) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = self._session.run(list(answers), feed)
        return found

    @property
    def dtype(self) -> str:
        """As `ExportedBackend.dtype`."""
        return self._precision

    def count_parameters(self) -> tuple[int, int]:
        """As `ExportedBackend.count_parameters`."""
        return self._sizes
