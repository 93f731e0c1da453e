"""Tokenised examples with several inputs each, a query with its texts: kept in one row, and laid out for a model.

A row is never cut, so that whatever puts rows into batches, micro-batches and processes keeps an example whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["flat_dataset", "flat_rows", "is_nested", "nested"]

Row = Mapping[str, Any]


def is_nested(row: Row) -> bool:
    """Whether a tokenised row has several inputs."""
    ids = row.get("input_ids")
    return isinstance(ids, list) and bool(ids) and isinstance(ids[0], list)


def nested(columns: Mapping[str, Sequence[Any]], example: Sequence[int]) -> dict[str, list[Any]]:
    """The inputs of each example in one list.

    Args:
        columns: a value for each input.
        example: of each input the number of its example; those of one stand together.
    """
    cuts = [0, *(place for place in range(1, len(example)) if example[place] != example[place - 1]), len(example)]
    return {name: [list(values[start:end]) for start, end in pairwise(cuts)] for name, values in columns.items()}


def flat_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every input as a row of its own, in their order: only what each input has; rows that are not nested as is."""
    return [flat for row in rows for flat in (_inputs(row) if is_nested(row) else [dict(row)])]


def _inputs(row: Row) -> Iterator[dict[str, Any]]:
    own = {name: values for name, values in row.items() if _is_of_inputs(values)}
    return (dict(zip(own, values, strict=True)) for values in zip(*own.values(), strict=True))


def _is_of_inputs(values: object) -> bool:
    return isinstance(values, list) and bool(values) and isinstance(values[0], list)


def flat_dataset(dataset: Dataset) -> Dataset:
    """A tokenised data set with a row for each input; one that is not nested as it is."""
    import pyarrow as pa
    from datasets import List

    from distilnlp.data.arrow import BATCH_ROWS, write_dataset

    features = dataset.features
    names = [name for name, kind in features.items() if isinstance(kind, List) and isinstance(kind.feature, List)]
    if "input_ids" not in names:
        return dataset
    batches = dataset.select_columns(names).with_format("arrow").iter(BATCH_ROWS)
    return write_dataset(
        pa.table({name: batch[name].combine_chunks().flatten() for name in names}) for batch in batches
    )
