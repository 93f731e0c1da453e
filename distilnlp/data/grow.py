"""Label sets that grow from one task to the next: the old labels keep their places, the new ones come after them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from datasets import Dataset

from distilnlp.data.arrow import column_values, with_label
from distilnlp.data.task import Task
from distilnlp.errors import RequestError
from distilnlp.label_names import find_name

__all__ = ["grow_labels", "grown_names"]


def grown_names(own: Sequence[str], old: Sequence[str]) -> tuple[str, ...]:
    """The labels of a task that goes on from another: the ``old`` ones, and after them the new ones of its ``own``.

    Names are compared as `distilnlp.label_names.find_name` says.

    Raises:
        RequestError: labels that are numbers, of which nobody knows whether they mean the same in both; two labels of
            one task that are one of the other.
    """
    for names in (own, old):
        if all(name.strip().lstrip("+-").isdigit() for name in names):
            raise RequestError(
                f"the labels {', '.join(names)} are numbers, which may mean something else in each task: name them"
                " with label_names"
            )
    meant = [find_name(name, old) for name in own]
    twice = next((name for name in meant if name is not None and meant.count(name) > 1), None)
    if twice is not None:
        both = [name for name, known in zip(own, meant, strict=True) if known == twice]
        raise RequestError(
            f"the labels {' and '.join(both)} would both be the label {twice} that the model has already: give them"
            " names that tell them apart"
        )
    return (*old, *(name for name, known in zip(own, meant, strict=True) if known is None))


def grow_labels(task: Task, old: Sequence[str] | None) -> Task:
    """A task with its labels put after those that a model has already.

    Args:
        task: of exclusive classes, of texts or of words.
        old: the labels of the model, in the order of its logits; None where they have no names.
    Raises:
        RequestError: another kind of task; labels without names; as `grown_names`.
    """
    if not task.problem.exclusive_classes or task.problem.rows not in ("text", "token") or task.label_names is None:
        raise RequestError(f"labels that grow are of exclusive classes, and task {task.name} is {task.problem.name}")
    if old is None:
        raise RequestError("the labels of the model that it starts from have no names, so that none can be kept")
    names = grown_names(task.label_names, old)
    places = np.array([names.index(find_name(name, old) or name) for name in task.label_names])
    train, validation = (
        None if data is None else _renumbered(data, task, names, places) for data in (task.train, task.validation)
    )
    extra = {name: _renumbered(data, task, names, places) for name, data in task.extra.items()}
    return replace(task, label_names=names, train=train, validation=validation, extra=extra)


def _renumbered(data: Dataset, task: Task, names: Sequence[str], places: np.ndarray) -> Dataset:
    if "label" not in data.column_names:
        return data

    def new(label: Any) -> Any:
        if isinstance(label, Sequence | np.ndarray):
            return [new(each) for each in label]
        return int(places[label]) if label >= 0 else int(label)  # below 0 there is none

    values = np.empty(len(data), dtype=object if task.problem.rows == "token" else np.int64)
    for row, label in enumerate(column_values(data, "label")):
        values[row] = new(label)
    return with_label(data, values, task.problem.feature(names))
