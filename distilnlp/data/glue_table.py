"""The tasks known by name: columns, label names in the official order, metrics. Imports nothing heavy: the CLI lists
them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from distilnlp.problems import Problem
from distilnlp.problems.classification import Classification
from distilnlp.problems.regression import Regression

__all__ = [
    "DATA_DIR",
    "GLUE",
    "GLUE_ID",
    "PACKAGED",
    "SAMPLE",
    "SENTENCES",
    "TaskInfo",
    "known_name",
    "task_names",
]

GLUE_ID = "nyu-mll/glue"
DATA_DIR = "DISTILNLP_DATA_DIR"  # environment variable: a folder with the GLUE tasks, read instead of the Hub
SAMPLE = "mnli-sample"  # the excerpt of MNLI inside this package
SENTENCES = "found-or-written"  # one sentence of each of its pairs: is it from a source or made up for the corpus?


@dataclass(frozen=True)
class TaskInfo:
    """What is known of a named task before its data are read.

    Args:
        name: the task's name, e.g. ``"mrpc"``.
        text_columns: one column, or two for a pair of texts, as the data set calls them.
        label_names: class names, position = label id; None for regression.
        problem: the kind of task.
        metrics: names as ``compute_metrics`` reports them.
        main_metric: the one of ``metrics`` that a run is judged by.
        splits: official split name -> number of rows in the official data, or in what this package has of them.
    """

    name: str
    text_columns: tuple[str, ...]
    label_names: tuple[str, ...] | None
    problem: Problem
    metrics: tuple[str, ...]
    main_metric: str
    splits: Mapping[str, int]


def _task(
    name: str,
    text_columns: tuple[str, ...],
    label_names: tuple[str, ...] | None,
    rows: tuple[int, ...],
    metrics: tuple[str, ...] = ("accuracy",),
    main_metric: str = "accuracy",
) -> TaskInfo:
    names = ("train", "validation") if len(rows) == 2 else ("train", "validation_matched", "validation_mismatched")
    splits = MappingProxyType(dict(zip(names, rows, strict=True)))
    problem = Classification() if label_names else Regression()
    return TaskInfo(name, text_columns, label_names, problem, metrics, main_metric, splits)


_PAIR = ("sentence1", "sentence2")
_MNLI = ("premise", "hypothesis")
_NLI = ("entailment", "neutral", "contradiction")
_F1 = ("accuracy", "f1")

GLUE: Mapping[str, TaskInfo] = MappingProxyType(
    {
        task.name: task
        for task in (
            _task(
                "cola",
                ("sentence",),
                ("unacceptable", "acceptable"),
                (8551, 1043),
                ("matthews_correlation",),
                "matthews_correlation",
            ),
            _task("sst2", ("sentence",), ("negative", "positive"), (67349, 872)),
            _task("mrpc", _PAIR, ("not_equivalent", "equivalent"), (3668, 408), _F1, "f1"),
            _task("qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), (363846, 40430), _F1, "f1"),
            _task("stsb", _PAIR, None, (5749, 1500), ("pearson", "spearmanr"), "pearson"),
            _task("mnli", _MNLI, _NLI, (392702, 9815, 9832)),
            _task("qnli", ("question", "sentence"), ("entailment", "not_entailment"), (104743, 5463)),
            _task("rte", _PAIR, ("entailment", "not_entailment"), (2490, 277)),
            _task("wnli", _PAIR, ("not_entailment", "entailment"), (635, 71)),
        )
    }
)

PACKAGED: Mapping[str, TaskInfo] = MappingProxyType(
    {
        task.name: task
        for task in (
            _task(SAMPLE, _MNLI, _NLI, (3000, 1000)),
            _task(SENTENCES, ("sentence",), ("found", "written"), (2999, 999)),
        )
    }
)


def task_names() -> tuple[str, ...]:
    """Every name that `load_task` knows without a file or a Hub id."""
    return (*GLUE, *PACKAGED)


def known_name(name: str | Path) -> str | None:
    """The task that a name stands for (``SST-2`` is ``sst2``); None for own data."""
    if isinstance(name, Path):
        return None
    plain = name.lower()
    if plain in PACKAGED:
        return plain
    plain = plain.replace("-", "").replace("_", "")  # SST-2, sst_2
    return plain if plain in GLUE else None
