"""The excerpt of MNLI inside this package: what `quickstart` runs on without a network. See sample/README.md."""

import hashlib
import io
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import InMemoryTable

from distilnlp.errors import RunError

__all__ = ["read_sample"]

FOLDER = Path(__file__).parent / "sample"
SHA256 = {
    "train": "a0a228d1f256bb7438ff478c86495d4f7629b2ce6e3bd431829c5080a6506c2e",
    "validation": "ebdc6e13e9b0dbc23b5a1ef242e554583ea2cfa610f39f71a9702e137fcf5d67",
}


def read_sample(split: str) -> Dataset:
    """One split (``train`` or ``validation``) with the columns premise, hypothesis and label.

    Raises:
        RunError: the file is missing or is not the one that was published with this package.
    """
    path = FOLDER / f"{split}.parquet"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}): install distilnlp again") from error
    if hashlib.sha256(data).hexdigest() != SHA256[split]:
        raise RunError(f"{path}: damaged (its sha256 is not the published one): install distilnlp again")
    return Dataset(InMemoryTable(pq.read_table(io.BytesIO(data))))
