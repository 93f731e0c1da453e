"""What is learned and measured: `Task`, whatever it was loaded from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from datasets import Dataset

from distilnlp.data.columns import Columns
from distilnlp.data.label_sets import labelled_rows, rows_without_label
from distilnlp.problems import Problem

__all__ = ["Task", "with_notes"]


@dataclass(frozen=True)
class Task:
    """Examples and what is to be learned from them.

    Args:
        name: the task's name, or the stem of the file.
        train, validation: columns ``text``, optional ``text_pair``, ``label`` (``ClassLabel``, float32, or, of several
            labels, a list of ``ClassLabel``).
        extra: further evaluation sets, e.g. ``mismatched``.
        label_names: position = label id; None where the problem has none (a regression).
        problem: the kind of task.
        metrics, main_metric: names as ``compute_metrics`` reports them.
        source: where the data are from, for the model card: a Hub id or a file's name; what sets the data apart from
            the official ones, and how many texts stand there several times or in both splits.
        dataset_id: the Hub id for the card's metadata, or None.
        columns: where texts and labels stand in the data as they were given; where it names a column of weights,
            ``train`` has them as ``example_weight``, and no other set has.
        recorded: what to call the teacher whose answers stand in the column ``teacher_logits``; None without one.
    """

    name: str
    train: Dataset | None
    validation: Dataset | None
    label_names: tuple[str, ...] | None
    problem: Problem
    metrics: tuple[str, ...]
    main_metric: str
    source: str
    dataset_id: str | None = None
    columns: Columns | None = None
    extra: dict[str, Dataset] = field(default_factory=dict)
    recorded: str | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether any training row has a label, or is one itself."""
        return self.train is not None and (self.problem.labels_itself or "label" in self.train.column_names)

    def labelled(self) -> "Task":
        """The task with those training rows that have a label."""
        if self.train is None or not rows_without_label(self.train):
            return self
        has_one = np.flatnonzero(labelled_rows(self.train))
        return replace(self, train=self.train.select(has_one, keep_in_memory=True))


def with_notes(source: str, notes: Sequence[str]) -> str:
    """The source of a task, with what is to be known of its texts."""
    return f"{source} ({'; '.join(notes)})" if notes else source
