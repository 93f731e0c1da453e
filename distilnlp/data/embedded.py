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
    "train": "9feae249c27322b112fe7ca85f51e7d8b4a4c911fd9c853610c1a0081fd22a8f",
    "validation": "9b4e9a0927a64044446f6ca1ead8ac88d9b28f3ef157452ae915b8a3d264b3cb",
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
