"""Columns of texts that are lists, written as text by a program that knew no other way: a csv of words, for one."""

from collections.abc import Iterable

from datasets import Dataset, Value

from distilnlp.data.arrow import column_values
from distilnlp.problems.written import parse_list

__all__ = ["are_written_lists", "holds_written_lists"]


def holds_written_lists(dataset: Dataset, column: str, of_texts: bool = True) -> bool:
    """Whether each text of a column, but for missing ones, is a list, and one of them has something in it.

    Args:
        dataset, column: which.
        of_texts: whether only texts may be in the lists, no numbers.
    """
    feature = dataset.features[column]
    if not isinstance(feature, Value) or "string" not in feature.dtype:
        return False
    return are_written_lists(column_values(dataset, column), of_texts)


def are_written_lists(values: Iterable[str | None], of_texts: bool = True) -> bool:
    """As `holds_written_lists`, of the texts themselves."""
    found = False
    for value in values:
        items = parse_list(value) if value else []
        if items is None or (of_texts and not all(isinstance(each, str) for each in items)):
            return False
        found = found or bool(items)
    return found
