"""Examples of a task: a GLUE task by name, a file, or a Hub data set; tokenised, and cut into batches."""

from typing import TYPE_CHECKING

from distilnlp.data.glue_table import GLUE, TaskInfo

# Not lazy, unlike the rest: module and function share a name, a later import of the module would hide the function.
from distilnlp.data.tokenize import tokenize

if TYPE_CHECKING:
    from distilnlp.data.collate import make_collator
    from distilnlp.data.label_sets import label_array
    from distilnlp.data.load import load_task
    from distilnlp.data.sampler import LengthBucketSampler
    from distilnlp.data.task import Task

__all__ = [
    "GLUE",
    "LengthBucketSampler",
    "Task",
    "TaskInfo",
    "label_array",
    "load_task",
    "make_collator",
    "tokenize",
]


def __getattr__(name: str) -> object:
    """Torch, transformers and datasets are loaded on first use (PEP 562): listing the tasks must be quick."""
    if name == "Task":
        from distilnlp.data.task import Task

        return Task
    if name == "load_task":
        from distilnlp.data.load import load_task

        return load_task
    if name == "label_array":
        from distilnlp.data.label_sets import label_array

        return label_array
    if name == "make_collator":
        from distilnlp.data.collate import make_collator

        return make_collator
    if name == "LengthBucketSampler":
        from distilnlp.data.sampler import LengthBucketSampler

        return LengthBucketSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
