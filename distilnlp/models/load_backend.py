"""A model by name, ready to answer: its weights in torch, or an ONNX file that was exported of it."""

from pathlib import Path

import torch

from distilnlp.errors import RequestError
from distilnlp.models.backend import Backend, TorchBackend, best_device
from distilnlp.models.checks import is_exported
from distilnlp.models.loading import (
    READ,
    exiting_backend,
    load_classifier,
    load_config,
    local_folder,
    onnx_file_of,
)
from distilnlp.models.onnx_backend import OnnxBackend
from distilnlp.onnx_file import FOLDER, MODEL, QUANTISED, onnx_files
from distilnlp.problems import Problem

__all__ = ["load_backend", "with_exits"]


def load_backend(
    name: str | Path,
    *,
    problem: Problem | None = None,
    pooling: str | None = None,
    device: torch.device | None = None,
) -> Backend:
    """What answers for a fine-tuned model.

    Args:
        name: a folder or Hub id; or an ONNX file. A folder with ONNX files and no weights of torch stands for its
            quantised file, or, without one, for the other.
        problem, pooling: as for `load_classifier`.
        device: of a model in torch; default: the accelerator where there is one. An exported one is on the CPU.
    Raises:
        RequestError: no such model, or one without a head of its own; as `OnnxBackend`.
    """
    file = onnx_file_of(name)
    if file is None:
        folder = local_folder(name)
        if not Path(name).is_dir() and not any(folder.glob("*.safetensors")):  # on the Hub as ONNX files alone
            folder = local_folder(name, [*READ, f"{FOLDER}/{QUANTISED}", f"{FOLDER}/{MODEL}"])
        file = onnx_files(folder)[0] if is_exported(folder) else None
    if file is not None:
        return OnnxBackend(file, load_config(name, problem=problem, pooling=pooling), str(name))
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
