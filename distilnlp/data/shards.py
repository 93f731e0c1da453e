"""Parts of the training data that have no text in common."""

import numpy as np
from datasets import Dataset

from distilnlp.errors import RequestError

__all__ = ["row_texts", "shard_of"]


def row_texts(data: Dataset) -> list[tuple[object, ...]]:
    """The text, or the pair of texts, of each row; words of a list become a tuple."""
    columns = [data[name][:] for name in ("text", "text_pair") if name in data.column_names]
    return [
        tuple(tuple(each) if isinstance(each, list) else each for each in row) for row in zip(*columns, strict=True)
    ]


def shard_of(data: Dataset, place: int, count: int, seed: int) -> Dataset:
    """One of several parts of a data set: together they are all of it, and no text is in two.

    Args:
        data: with the columns ``text`` and maybe ``text_pair``; rows stay in their order.
        place: which part, from 1.
        count: how many there are; each has an equal share of the different texts, give or take one.
        seed: of the draw, the same for all parts.
    Raises:
        RequestError: fewer different texts than parts.
    """
    rows = row_texts(data)
    texts = {text: number for number, text in enumerate(dict.fromkeys(rows))}
    if len(texts) < count:
        raise RequestError(f"the training data have {len(texts)} different texts, fewer than {count} parts", ["shard"])
    part = np.random.default_rng(seed).permutation(len(texts)) % count
    return data.select([row for row, text in enumerate(rows) if part[texts[text]] == place - 1])
