"""Data sets on disk: read row by row, removed with the last that reads them, never found again."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from distilnlp.data import load_task, tokenize
from distilnlp.data.arrow import column_array, with_label, write_dataset
from distilnlp.errors import RequestError
from tests.tiny import tiny_tokenizer, toy_dataset


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, empty."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def numbers(rows: int = 10) -> Dataset:
    return write_dataset(pa.table({"number": [row], "text": [f"row {row}"]}) for row in range(rows))


def test_the_rows_are_mapped_and_not_read(temporary: Path) -> None:
    before = pa.total_allocated_bytes()
    data = write_dataset(pa.table({"text": ["x" * 1000] * 100}) for _ in range(100))  # 10 MB
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert data[9_999] == {"text": "x" * 1000}
    assert len(list(temporary.rglob("*.arrow"))) == 1


def test_the_file_goes_with_the_last_data_set_that_reads_it(temporary: Path) -> None:
    data = numbers()
    derived = data.select([3, 5]).rename_column("number", "n").select_columns(["n"])
    assert len(list(temporary.glob("*/*"))) == 1
    del data
    assert pickle.loads(pickle.dumps(derived))["n"][:] == [3, 5]  # spawned workers of a DataLoader do this
    del derived
    assert list(temporary.glob("*/*")) == []


def test_what_a_user_maps_goes_too(temporary: Path) -> None:
    data = numbers()
    doubled = data.map(lambda row: {"number": 2 * row["number"]})
    assert doubled["number"][:] == [2 * row for row in range(10)]
    del data, doubled
    assert list(temporary.rglob("*.arrow")) == []


def test_a_forked_worker_leaves_the_file_alone(temporary: Path) -> None:
    data = numbers()
    worker = multiprocessing.get_context("fork").Process(target=data.__dict__.clear)
    worker.start()
    worker.join()
    assert pickle.loads(pickle.dumps(data))[4]["number"] == 4


@pytest.mark.slow
def test_nothing_is_left_when_writing_or_the_process_fails(temporary: Path) -> None:
    def tables():
        yield pa.table({"number": [1]})
        raise RequestError("broken in the second batch")

    with pytest.raises(RequestError):
        write_dataset(tables())
    code = "from tests.data.test_arrow import numbers; data = numbers(); raise SystemExit(1)"
    root = Path(__file__).parents[2]
    env = {"TMPDIR": str(temporary), "PYTHONPATH": str(root)}
    assert subprocess.run([sys.executable, "-c", code], env=env, cwd=root).returncode == 1
    assert list(temporary.rglob("*.arrow")) == []


def test_types_widen_from_batch_to_batch() -> None:
    batches = [{"a": [None]}, {"a": [1], "b": ["x"]}, {"a": [0.5], "b": ["y"]}, {"b": [None]}]
    data = write_dataset(pa.table(batch) for batch in batches)
    assert data["a"][:] == [None, 1.0, 0.5, None]
    assert data["b"][:] == [None, "x", "y", None]
    assert pickle.loads(pickle.dumps(data))["a"][:] == data["a"][:]
    assert write_dataset([pa.table({"a": [None, None]})])["a"][:] == [None, None]
    with pytest.raises(pa.ArrowTypeError):
        write_dataset([pa.table({"a": [1]}), pa.table({"a": ["one"]})])


@pytest.mark.parametrize(
    ("values", "feature"),
    [
        (np.array([1, 0, 1]), ClassLabel(names=["no", "yes"])),
        (np.array([0.5, 1.5, 2.5]), Value("float32")),
        (np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], dtype=np.float32), List(Value("float32"))),
    ],
)
def test_labels_stand_beside_the_texts(values: np.ndarray, feature: object) -> None:
    data = with_label(numbers(3), values, feature)
    assert data.features["label"] == feature
    np.testing.assert_array_equal(column_array(data, "label"), values)
    np.testing.assert_array_equal(column_array(data.select([2, 0]), "label"), values[[2, 0]])


def test_a_task_and_its_tokens_leave_nothing(temporary: Path) -> None:
    path = temporary / "films.csv"
    toy_dataset(60, seed=0).to_csv(path)
    task = load_task(path)
    tokens = tokenize(task.train, tiny_tokenizer())
    assert len(list(temporary.rglob("data.arrow"))) == 2
    del task
    assert tokens[0]["length"] == len(tokens[0]["input_ids"])
    del tokens
    assert list(temporary.glob("*/*")) == []


def peak(path: Path, rows: int) -> int:
    """Bytes of Python objects and numpy arrays, at most, while a csv is read and tokenised."""
    path.write_text(
        "text,label\n" + "".join(f"the film was good and quite red {row},class {row % 3}\n" for row in range(rows))
    )
    tracemalloc.start()
    try:
        tokenize(load_task(path).train, tiny_tokenizer())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_what_reading_and_tokenising_hold_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """A row is about a thousand bytes as Python objects; nine numbers of 8 bytes are what splitting takes."""
    small, large = peak(tmp_path / "films.csv", 4_000), peak(tmp_path / "films.csv", 16_000)
    assert (large - small) / 12_000 < 100


PEAK = """
import resource, sys
from distilnlp.data import load_task, make_collator, tokenize
from tests.tiny import tiny_tokenizer
tokens = tokenize(load_task(sys.argv[1]).train, tiny_tokenizer())
make_collator(tiny_tokenizer())([tokens[row] for row in range(0, len(tokens), len(tokens) // 32)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow(20)
def test_of_a_quarter_of_a_million_rows_only_those_in_use_are_in_memory(tmp_path: Path) -> None:
    """All memory of the process, Arrow's and the tokenizer's too; the rows themselves take 1,000 bytes as objects."""
    root = Path(__file__).parents[2]
    peaks = {}
    for rows in (50_000, 250_000):
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write("text,label\n")
            file.writelines(f"the film {row} was good and quite red,class {row % 3}\n" for row in range(rows))
        run = [sys.executable, "-c", PEAK, str(path)]
        env = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)}
        peaks[rows] = int(subprocess.run(run, env=env, cwd=root, check=True, capture_output=True).stdout)
    assert (peaks[250_000] - peaks[50_000]) / 200_000 < 300


def test_a_column_of_numbers_becomes_an_array_of_their_own_type() -> None:
    """Also of a selection of the rows; of lists, one row each."""
    columns = {"label": [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "id": [3, 1, 2]}
    features = Features({"label": List(Value("float32")), "id": Value("int64")})
    rows = Dataset.from_dict(columns, features=features).select([2, 0])
    hot, ids = column_array(rows, "label"), column_array(rows, "id")
    assert (hot.dtype, hot.tolist()) == (np.float32, [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    assert (ids.dtype, ids.tolist()) == (np.int64, [2, 3])
