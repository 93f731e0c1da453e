"""What a model answered on the held-out examples, kept beside it: any later analysis needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilnlp.errors import RequestError
from distilnlp.whole_files import whole_file

__all__ = ["Predictions", "predictions_file", "read_predictions", "write_predictions"]


@dataclass(frozen=True)
class Predictions:
    """A model's answers on one data set.

    Shapes:
        rows: ``(examples,)`` int64, each example's place in the held-out data as the recipe loads it, from 0.
        labels: ``(examples,)`` class ids or numbers, or ``(examples, labels)`` of 0 and 1.
        logits: ``(examples, classes)`` float32, in the order of the task's labels.
    """

    rows: NDArray[np.int64]
    labels: NDArray[Any]
    logits: NDArray[np.float32]

    @classmethod
    def of(cls, labels: Sequence[Any], logits: NDArray[np.float32]) -> Predictions:
        """Of a whole data set, in its order."""
        return cls(np.arange(len(logits)), np.asarray(labels), logits)

    def matched(self, other: Predictions, names: tuple[str, str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The logits of both on the same examples, in the order of these.

        Raises:
            RequestError: they are not of the same examples.
        """
        order = np.argsort(other.rows, kind="stable")
        places = order[np.searchsorted(other.rows, self.rows, sorter=order).clip(max=len(order) - 1)]
        if len(self.rows) != len(other.rows) or not np.array_equal(other.rows[places], self.rows):
            raise RequestError(
                f"{names[0]} and {names[1]} answered other examples ({len(self.rows)} and {len(other.rows)} rows), so "
                "their agreement cannot be told: measure both on the same held-out data"
            )
        return self.logits, other.logits[places]


def predictions_file(folder: Path, further: str | None = None) -> Path:
    """Where the answers of the model in ``folder`` are; ``further``: those on a further set, such as mismatched."""
    return folder / ("predictions.parquet" if further is None else f"predictions-{further}.parquet")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write ``row``, ``label`` and ``logits`` as parquet, complete or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "row": pa.array(predictions.rows),
            "label": pa.array(predictions.labels.tolist()),
            "logits": pa.array(list(predictions.logits), type=pa.list_(pa.float32())),
        }
    )
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
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"the answers in '{path}' cannot be read ({reason}): run the recipe again") from error
    return Predictions(np.asarray(rows), np.asarray(labels), np.asarray(logits, dtype=np.float32))
