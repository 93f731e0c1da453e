"""A model by name, ready to answer: its weights in torch, or a file that was exported of it."""

from pathlib import Path

import torch

from distilnlp.errors import RequestError
from distilnlp.exported_file import FILES, ONNX, OPENVINO, exported_files, file_format_of
from distilnlp.models.backend import Backend, TorchBackend, best_device
from distilnlp.models.checks import is_exported
from distilnlp.models.exported_backend import ExportedBackend
from distilnlp.models.loading import (
    READ,
    exiting_backend,
    exported_file_of,
    load_classifier,
    load_config,
    local_folder,
)
from distilnlp.models.onnx_backend import OnnxBackend
from distilnlp.models.openvino_backend import OpenVinoBackend
from distilnlp.problems import Problem

__all__ = ["load_backend", "with_exits"]

BACKENDS: dict[str, type[ExportedBackend]] = {ONNX.name: OnnxBackend, OPENVINO.name: OpenVinoBackend}


def load_backend(
    name: str | Path,
    *,
    problem: Problem | None = None,
    pooling: str | None = None,
    device: torch.device | None = None,
) -> Backend:
    """What answers for a fine-tuned model.

    Args:
        name: a folder or Hub id; or an exported file. A folder with such files and no weights of torch stands for its
            quantised file, or, without one, for another; where it has files of ONNX, for one of these.
        problem, pooling: as for `load_classifier`.
        device: of a model in torch; default: the accelerator where there is one. An exported one is on the CPU.
    Raises:
        RequestError: no such model, or one without a head of its own; as `ExportedBackend`.
    """
    file = exported_file_of(name)
    if file is None:
        folder = local_folder(name)
        if not Path(name).is_dir() and not any(folder.glob("*.safetensors")):  # on the Hub as exported files alone
            for kind in FILES:  # of one format is enough
                folder = local_folder(name, [*READ, *(f"{kind.name}/{file}" for file in kind.published)])
                if exported_files(folder):
                    break
        file = exported_files(folder)[0] if is_exported(folder) else None
    if file is not None:
        return BACKENDS[(file_format_of(file) or ONNX).name](
            file, load_config(name, problem=problem, pooling=pooling), str(name)
        )
    model = load_classifier(name, problem=problem, require_head=True, pooling=pooling)
    return TorchBackend(model, best_device() if device is None else device)


def with_exits(backend: Backend, name: str | Path, threshold: float) -> Backend:
    """A model with the exits beside it, by which texts may leave.

    Args:
        backend: as `load_backend` gave it.
        name: the folder or Hub id that it was loaded from.
        threshold: as for `exiting_backend`.
    Raises:
        RequestError: an exported model, which has none; as `exiting_backend`.
    """
    if not isinstance(backend, TorchBackend):
        raise RequestError(
            f"{name} is an exported model, of which every text runs through all layers: leave the exit threshold out, "
            "or give the model that it was made of"
        )
    return exiting_backend(name, backend.pretrained, threshold, backend.device)
