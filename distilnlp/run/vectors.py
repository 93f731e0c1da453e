"""Vectors of new texts, and the files that hold them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distilnlp.errors import RequestError, unknown
from distilnlp.models.loading import load_config
from distilnlp.models.predictor import Predictor
from distilnlp.problems import problem_of_config
from distilnlp.whole_files import whole_file, write_text

__all__ = ["SUFFIXES", "gives_vectors", "make_vectors", "write_vectors"]

SUFFIXES = (".jsonl", ".npy", ".parquet")


def gives_vectors(model: str) -> bool:
    """Whether a model's answer to a text is a vector.

    Args:
        model: a folder or Hub id.
    Raises:
        RequestError: no such model.
    """
    return problem_of_config(load_config(model)).vectors


def make_vectors(
    model: str, texts: Sequence[str], *, max_length: int | None = None, batch_size: int = 32
) -> NDArray[np.float32]:
    """The vector of each text, ``(texts, dimension)``.

    Args:
        model: a folder or Hub id of a sentence encoder.
        texts: one or more.
        max_length: tokens that texts are cut to; default: what the model takes.
        batch_size: texts at a time.
    Raises:
        RequestError: no such model; one that gives no vectors, or only zeros for a text.
    """
    found = Predictor.load(model, max_length=max_length, batch_size=batch_size).logits(texts)
    zero = np.flatnonzero(~found.any(axis=1))
    if len(zero):
        raise RequestError(
            f"{model} gives text {zero[0] + 1} a vector of zeros, which has no direction: train it again"
        )
    return found


def write_vectors(path: Path, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Write the vectors, complete or not at all.

    Args:
        path: ``.npy``: the vectors alone, ``(texts, dimension)``; ``.jsonl``, ``.parquet``: ``text`` and ``vector`` a
            row.
        texts, vectors: in one order.
    Raises:
        RequestError: another kind of file.
    """
    if path.suffix == ".npy":
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, vectors)
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        width = vectors.shape[1]
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), width)
        with whole_file(path) as temporary:
            pq.write_table(pa.table({"text": pa.array(texts, pa.string()), "vector": column}), temporary)
    elif path.suffix == ".jsonl":
        rows = zip(texts, vectors.tolist(), strict=True)
        lines = (json.dumps({"text": text, "vector": vector}, ensure_ascii=False) for text, vector in rows)
        write_text(path, "".join(f"{line}\n" for line in lines))
    else:
        raise unknown("kind of file for vectors:", path.suffix or path.name, SUFFIXES)
