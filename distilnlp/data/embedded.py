"""The excerpt of MNLI inside this package, which needs no network, and the two tasks of it. See sample/README.md."""

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import InMemoryTable

from distilnlp.errors import RunError

__all__ = ["read_sample", "read_sentences"]

FOLDER = Path(__file__).parent / "sample"
SHA256 = {
    "train": "a0a228d1f256bb7438ff478c86495d4f7629b2ce6e3bd431829c5080a6506c2e",
    "validation": "ebdc6e13e9b0dbc23b5a1ef242e554583ea2cfa610f39f71a9702e137fcf5d67",
}


def read_sample() -> dict[str, Dataset]:
    """The splits ``train`` and ``validation`` with the columns premise, hypothesis and label.

    Raises:
        RunError: a file is missing or is not the one that was published with this package.
    """
    return {split: Dataset(InMemoryTable(_read(split))) for split in SHA256}


def read_sentences() -> dict[str, Dataset]:
    """One sentence of each pair, with the columns sentence and label: 0 for a premise, 1 for a hypothesis.

    Half of them are premises. No two sentences are equal, within a split or across both.

    Raises:
        RunError: as `read_sample`.
    """
    taken: set[str] = set()
    return {split: _sentences(_read(split), taken) for split in SHA256}


def _sentences(pairs: pa.Table, taken: set[str]) -> Dataset:
    sentences: list[str] = []
    labels: list[int] = []
    found = 0
    for pair in zip(pairs["premise"].to_pylist(), pairs["hypothesis"].to_pylist(), strict=True):
        # MNLI has several hypotheses to a premise: one that was there already gives way to its hypothesis
        label = int(2 * found > len(labels) or pair[0].strip() in taken)
        if pair[label].strip() not in taken:
            taken.add(pair[label].strip())
            sentences.append(pair[label])
            labels.append(label)
            found += label == 0
    return Dataset(InMemoryTable(pa.table({"sentence": sentences, "label": labels})))


def _read(split: str) -> pa.Table:
    path = FOLDER / f"{split}.parquet"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}): install distilnlp again") from error
    if hashlib.sha256(data).hexdigest() != SHA256[split]:
        raise RunError(f"{path}: damaged (its sha256 is not the published one): install distilnlp again")
    return pq.read_table(io.BytesIO(data))
