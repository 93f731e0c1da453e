"""What a model answered on the held-out examples, kept beside it: any later analysis needs no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilnlp.errors import RequestError
from distilnlp.problems import DECISION_THRESHOLDS, Problem
from distilnlp.report.schema import again
from distilnlp.whole_files import whole_file

__all__ = [
    "Predictions",
    "model_of",
    "predictions_file",
    "read_predictions",
    "teacher_file",
    "teacher_files",
    "write_predictions",
]

MODEL = "model"  # the key of a file's metadata that names who has answered, where the folder does not


@dataclass(frozen=True)
class Predictions:
    """A model's answers on one data set.

    Shapes: one row an example, or several of a kind that answers more than once for each (the words of a text)
        rows: ``(rows,)`` int64, the place of the row's example in the held-out data as the recipe loads it, from 0.
        labels: ``(rows,)`` class ids or numbers, tuples of texts that are right, or ``(rows, labels)`` of 0 and 1.
        logits: ``(rows, classes)`` float32, in the order of the task's labels.
    Args:
        thresholds: the probability above which the model lets each label hold, where it has its own.
        found: the text that each row is about, of a kind whose answers are texts.
    Raises:
        RequestError: arrays that are not of the same examples, or no numbers.
    """

    rows: NDArray[np.int64]
    labels: NDArray[Any]
    logits: NDArray[np.float32]
    thresholds: tuple[float, ...] | None = None
    found: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        shapes = [self.rows.shape, self.labels.shape, self.logits.shape]
        if not len(self.rows) == len(self.labels) == len(self.logits) or self.rows.ndim != 1 or self.logits.ndim != 2:
            raise RequestError(f"rows, labels and logits of the same examples needed; got the shapes {shapes}")
        if self.rows.dtype.kind not in "iu" or self.labels.dtype.kind not in ("iufb" if self.found is None else "Of"):
            raise RequestError(f"rows and labels have to be numbers; got {self.rows.dtype} and {self.labels.dtype}")

    @classmethod
    def of(
        cls,
        labels: Sequence[Any] | NDArray[Any],
        logits: NDArray[np.float32],
        thresholds: tuple[float, ...] | None = None,
        rows: NDArray[np.int64] | None = None,
        found: Sequence[str] | None = None,
    ) -> Predictions:
        """Of a whole data set, in its order; ``rows``: where an example has several."""
        texts = None if found is None else tuple(found)
        return cls(np.arange(len(logits)) if rows is None else rows, np.asarray(labels), logits, thresholds, texts)

    def decisions(self, problem: Problem) -> NDArray[Any]:
        """What the model decided, as `Problem.decide` with its own thresholds.

        Args:
            problem: the kind of task.
        """
        return problem.decided_by(self.thresholds).decisions(self.logits, self.found)

    def matched(self, other: Predictions, names: tuple[str, str]) -> tuple[Predictions, Predictions]:
        """Both on the same examples, in the order of these.

        Raises:
            RequestError: they are not of the same examples.
        """
        own, others = (np.argsort(rows, kind="stable") for rows in (self.rows, other.rows))
        if not np.array_equal(self.rows[own], other.rows[others]):
            raise RequestError(
                f"{names[0]} and {names[1]} answered other examples ({len(self.rows)} and {len(other.rows)} rows), so "
                "their agreement cannot be told: measure both on the same held-out data"
            )
        order = others[np.argsort(own)]
        found = None if other.found is None else tuple(other.found[place] for place in order)
        return self, Predictions(other.rows[order], other.labels[order], other.logits[order], other.thresholds, found)


def predictions_file(folder: Path, further: str | None = None) -> Path:
    """Where the answers of the model in ``folder`` are; ``further``: those on a further set, such as mismatched."""
    return folder / ("predictions.parquet" if further is None else f"predictions-{further}.parquet")


def teacher_file(folder: Path, number: int) -> Path:
    """Where the answers of a teacher that is no stage are, in the folder of a stage that it teaches."""
    return folder / f"teacher-{number}.parquet"


def teacher_files(folder: Path) -> list[Path]:
    """All that are there."""
    return sorted(folder.glob("teacher-*.parquet"))


def model_of(path: Path) -> str:
    """Who has given the answers in a file, as `write_predictions` was told. Raises as `read_predictions`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return str(pq.read_schema(path).metadata[MODEL.encode()].decode())
    except (OSError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def write_predictions(path: Path, predictions: Predictions, model: str | None = None) -> None:
    """Write ``row``, ``label`` and ``logits`` as parquet, complete or not at all; thresholds in its metadata.

    Of a kind whose answers are texts, ``label`` has the right ones and ``found`` the model's.

    Args:
        path: of the file.
        predictions: the answers.
        model: whose they are, where the folder does not tell.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = predictions.found
    table = pa.table(
        {
            "row": pa.array(predictions.rows),
            "label": pa.array(
                predictions.labels.tolist(), pa.list_(pa.string()) if predictions.labels.dtype == object else None
            ),
            "logits": pa.array(list(predictions.logits), type=pa.list_(pa.float32())),
            **({} if texts is None else {"found": pa.array(texts, pa.string())}),
        }
    )
    known = {} if predictions.thresholds is None else {DECISION_THRESHOLDS: json.dumps(predictions.thresholds)}
    known |= {} if model is None else {MODEL: model}
    if known:
        table = table.replace_schema_metadata(known)
    with whole_file(path) as temporary:
        pq.write_table(table, temporary)


def read_predictions(path: Path) -> Predictions:
    """What `write_predictions` wrote.

    Raises:
        RequestError: the file is not there, damaged, or of another kind.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        rows, labels, logits = (table[name].to_pylist() for name in ("row", "label", "logits"))
        thresholds = (table.schema.metadata or {}).get(DECISION_THRESHOLDS.encode())
        texts = table["found"].to_pylist() if "found" in table.column_names else None
        return Predictions(
            np.asarray(rows),
            _tuples(labels) if labels and isinstance(labels[0], list) and texts is not None else np.asarray(labels),
            # float64 first: None would become NaN in one step, and a text that looks like a number that number.
            np.asarray(logits).astype(np.float32, casting="same_kind"),
            None if thresholds is None else tuple(json.loads(thresholds)),
            None if texts is None else tuple(map(str, texts)),
        )
    except (OSError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RequestError:
    reason = " ".join(str(error).split())
    return RequestError(f"the answers in '{path}' cannot be read ({reason}): {again(path.parent)}")


def _tuples(values: Sequence[Sequence[str]]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = [tuple(value) for value in values]
    return array
