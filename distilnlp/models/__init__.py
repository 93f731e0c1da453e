"""Models as the package uses them: loaded by name, their labels read and put into order, their tensors captured.

Importing this loads neither torch nor transformers: the names below are loaded when they are first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distilnlp.models.backend import TorchBackend
    from distilnlp.models.capture import Capture
    from distilnlp.models.labels import align_labels, label_names_of, label_order
    from distilnlp.models.loading import load_classifier, load_tokenizer
    from distilnlp.models.predictor import Predictor
    from distilnlp.models.task_heads import join_tasks, split_task

__all__ = [
    "Capture",
    "Predictor",
    "TorchBackend",
    "align_labels",
    "join_tasks",
    "label_names_of",
    "label_order",
    "load_classifier",
    "load_tokenizer",
    "split_task",
]

_HOMES = {
    "Capture": "capture",
    "Predictor": "predictor",
    "TorchBackend": "backend",
    "align_labels": "labels",
    "join_tasks": "task_heads",
    "label_names_of": "labels",
    "label_order": "labels",
    "load_classifier": "loading",
    "load_tokenizer": "loading",
    "split_task": "task_heads",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
