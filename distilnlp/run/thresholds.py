"""The decision thresholds of a stage's model: chosen on training rows that are kept from the training for it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from datasets import Dataset

from distilnlp.data.label_sets import label_array
from distilnlp.data.task import Task
from distilnlp.errors import RequestError
from distilnlp.models.labels import drop_thresholds
from distilnlp.models.predictor import Predictor
from distilnlp.problems import DECISION_THRESHOLDS
from distilnlp.recipe import DataSpec
from distilnlp.run.evaluation import texts_of

__all__ = ["check_thresholds", "keep_rows", "set_thresholds"]

KEPT_SHARE = 0.1
KEPT_LEAST = 100  # rows; of small data never more than a fifth
FEWEST_ROWS = 200  # of the training data: below that none are kept, for so few tell nothing of a threshold


def check_thresholds(data: DataSpec, task: Task) -> None:
    """Raise RequestError for thresholds that are asked for where no label has one."""
    if data.decision_thresholds is not None and not _wanted(task):
        raise RequestError(
            "data.decision_thresholds is for several labels a text, or questions of which some have no answer, and"
            f" {task.name} is {task.problem.name} without such: leave it out"
        )


def _wanted(task: Task) -> bool:
    """Whether a model for the task has thresholds of its own."""
    data = task.train if task.train is not None else task.validation
    if data is None or "label" not in data.column_names:
        return task.problem.several_labels
    return task.problem.wants_thresholds(lambda: label_array(data, task.problem))


def keep_rows(task: Task, data: DataSpec) -> tuple[Task, Dataset | None]:
    """Take the rows that the thresholds will be chosen on out of the training data.

    A tenth of them, at least 100 rows but never more than a fifth, drawn by ``data.seed``, so that all stages on the
    same data keep the same ones; equal texts stay on one side. None where the task needs no thresholds, where a number
    is given for them, where rows have no label, or where there are fewer than 200 training rows or too few different
    texts in them.

    Returns:
        The task without those rows, and the rows.
    """
    wanted = _wanted(task) and not isinstance(data.decision_thresholds, float)
    unlabelled = not task.is_labelled or task.labelled() is not task
    if task.train is None or not wanted or unlabelled or len(task.train) < FEWEST_ROWS:
        return task, None
    texts: dict[object, int] = {}
    group = np.array([texts.setdefault(text, len(texts)) for text in texts_of(task.train)])
    count = min(max(round(len(group) * KEPT_SHARE), KEPT_LEAST), len(group) // 5)
    order = np.random.default_rng((data.seed, 1)).permutation(len(texts))  # 1: not as the held-out rows were drawn
    order = order[np.bincount(group)[order] <= count]  # a text in more rows than are to be kept stays in train
    kept = np.isin(group, order[np.cumsum(np.bincount(group)[order]) <= count])
    if not kept.any():
        return task, None
    parts = (task.train.select(np.flatnonzero(rows), keep_in_memory=True) for rows in (~kept, kept))
    train, rows = parts
    return replace(task, train=train), rows


def set_thresholds(
    predictor: Predictor,
    task: Task,
    rows: Dataset | None,
    data: DataSpec,
    say: Callable[[str], object],
    teacher: Any = None,
) -> None:
    """Give a model that has been trained its own decision thresholds; those that it started with are dropped.

    Args:
        predictor: of the model, whose config is changed.
        task: what it was trained on.
        rows: as `keep_rows` gives them.
        data: says how they are chosen.
        say: shows one line of text to the user.
        teacher: its config, whose threshold for no answer a model has that learns without labels.
    """
    config, asked = predictor.backend.config, data.decision_thresholds
    drop_thresholds(config)
    if task.problem.rows == "span" and not task.is_labelled and getattr(teacher, DECISION_THRESHOLDS, None):
        setattr(config, DECISION_THRESHOLDS, getattr(teacher, DECISION_THRESHOLDS))
    if not _wanted(task):
        return
    if isinstance(asked, float) or rows is None:
        threshold = asked if isinstance(asked, float) else 0.5
        if threshold != task.problem.unset_threshold:
            count = len(predictor.label_names) if task.problem.several_labels else 1
            setattr(config, DECISION_THRESHOLDS, [threshold] * count)
        if not isinstance(asked, float):
            say(
                f"fewer than {FEWEST_ROWS} training rows, or too few different texts in them, to choose decision"
                " thresholds on: 0.5 is used"
            )
    else:
        chosen = predictor.choose_thresholds(texts_of(rows), label_array(rows, predictor.problem), one=asked == "one")
        low, high = min(chosen), max(chosen)
        shown = f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"
        say(f"decision thresholds {shown}, chosen on {len(rows)} training rows that were not trained on")
