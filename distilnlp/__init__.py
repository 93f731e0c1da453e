"""Fine-tune an encoder, distil it into a smaller one, compare the two, publish the result.

Importing this loads neither torch nor transformers: the names below are loaded when they are first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distilnlp.api.calls import distill, finetune, load_run
    from distilnlp.api.run import Run
    from distilnlp.data import load_task
    from distilnlp.layer_map import LayerMap
    from distilnlp.losses import Objective
    from distilnlp.outputs import Outputs
    from distilnlp.students import build_student
    from distilnlp.teachers import load_teacher
    from distilnlp.training.trainer import DistillationTrainer

__version__ = "0.1.0"

__all__ = [
    "DistillationTrainer",
    "LayerMap",
    "Objective",
    "Outputs",
    "Run",
    "__version__",
    "build_student",
    "distill",
    "finetune",
    "load_run",
    "load_task",
    "load_teacher",
]

_HOMES = {
    "DistillationTrainer": "training.trainer",
    "LayerMap": "layer_map",
    "Objective": "losses",
    "Outputs": "outputs",
    "Run": "api.run",
    "build_student": "students",
    "distill": "api.calls",
    "finetune": "api.calls",
    "load_run": "api.calls",
    "load_task": "data",
    "load_teacher": "teachers",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
