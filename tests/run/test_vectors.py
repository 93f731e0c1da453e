"""Files of vectors: what is written is what is read again by the usual tools."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from distilnlp.errors import RequestError
from distilnlp.run.vectors import write_vectors

TEXTS = ["a film", 'a "book", größer\n']
VECTORS = np.array([[0.25, -1.0], [0.1, 3e-9]], dtype=np.float32)


def read(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        assert table["text"].to_pylist() == TEXTS
        return np.array(table["vector"].to_pylist())
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    return np.array([row["vector"] for row in rows])


@pytest.mark.parametrize("suffix", [".jsonl", ".npy", ".parquet"])
def test_vectors_are_read_again_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    write_vectors(tmp_path / f"v{suffix}", TEXTS, VECTORS)
    assert np.array_equal(read(tmp_path / f"v{suffix}").astype(np.float32), VECTORS)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"accepted: \.jsonl, \.npy, \.parquet"):
        write_vectors(tmp_path / "v.csv", TEXTS, VECTORS)
