"""Answers batches with a graph of OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from distilnlp.models.exported_backend import ExportedBackend
from distilnlp.openvino_file import need_openvino, read_ir

if TYPE_CHECKING:
    import openvino
    from numpy.typing import NDArray

__all__ = ["OpenVinoBackend"]

# One request at a time, in float32 where a weight is no int8: some processors would take bf16 for it, and answer
# otherwise than the model. Threads that are bound to a core stand in each other's way where several processes ask.
SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}


@cache
def _core() -> openvino.Core:
    """The one of this process, which is never let go of.

    A core gives the thread that first compiles with it another stack for its signals, and frees that when it is let
    go of. Where the garbage collector does so in another thread, the next signal of the first one ends the process
    without a word (SIGSEGV).
    """
    import openvino

    return openvino.Core()


class OpenVinoBackend(ExportedBackend):
    """A model in a graph of OpenVINO, with its weights beside it; else as `ExportedBackend`."""

    runtime = "OpenVINO"

    def _open(self) -> tuple[list[str], list[str]]:
        need_openvino()
        graph = read_ir(self.path)
        self._precision, self._sizes = graph.precision, graph.count_weights()
        settings = {**SETTINGS, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        core = _core()
        compiled = core.compile_model(core.read_model(str(self.path)), "CPU", settings)
        self._request = compiled.create_infer_request()
        return [each.any_name for each in compiled.inputs], [each.any_name for each in compiled.outputs]

    def _run(self, feed: dict[str, NDArray[Any]], answers: Sequence[str]) -> list[NDArray[Any]]:
        found = self._request.infer(feed, share_inputs=True)
        return [found[name] for name in answers]

    @property
    def dtype(self) -> str:
        """As `ExportedBackend.dtype`."""
        return self._precision

    def count_parameters(self) -> tuple[int, int]:
        """As `ExportedBackend.count_parameters`."""
        return self._sizes
