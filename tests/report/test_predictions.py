"""A model's answers are kept with rows and labels, so that a later analysis needs no model."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distilnlp.errors import RequestError
from distilnlp.problems import get_problem
from distilnlp.report.predictions import Predictions, predictions_file, read_predictions, write_predictions

LOGITS = np.array([[0.25, -1.5], [2.0, 3.0], [0.0, 0.1]], dtype=np.float32)


@pytest.mark.parametrize("labels", [[0, 1, 1], [0.5, 1.25, 3.0], [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]])
def test_what_is_read_is_what_was_written(tmp_path, labels):
    path = predictions_file(tmp_path)
    write_predictions(path, Predictions.of(labels, LOGITS))
    got = read_predictions(path)
    assert got.rows.tolist() == [0, 1, 2]
    assert got.labels.tolist() == labels
    assert np.array_equal(got.logits, LOGITS)
    assert got.logits.dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]


def test_the_thresholds_of_the_model_are_kept_with_its_answers(tmp_path):
    """So its decisions, F1 and agreement can be computed again without the model."""
    labels = [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    write_predictions(predictions_file(tmp_path), Predictions.of(labels, LOGITS, (0.9, 0.125)))
    got = read_predictions(predictions_file(tmp_path))
    assert got.thresholds == (0.9, 0.125)
    assert got.decisions(get_problem("multi_label_classification")).tolist() == [[0, 1], [0, 1], [0, 1]]


def test_any_tool_can_read_it(tmp_path):
    write_predictions(predictions_file(tmp_path, "mismatched"), Predictions.of([0, 1, 1], LOGITS))
    table = pq.read_table(tmp_path / "predictions-mismatched.parquet")
    assert table.column_names == ["row", "label", "logits"]
    assert table["logits"].to_pylist()[1] == [2.0, 3.0]


def test_two_models_are_compared_on_the_same_rows():
    first = Predictions.of([0, 1, 1], LOGITS)
    shuffled = Predictions(np.array([2, 0, 1]), first.labels[[2, 0, 1]], 10 * LOGITS[[2, 0, 1]])
    own, other = first.matched(shuffled, ("student", "teacher"))
    assert np.array_equal(other.logits, 10 * own.logits)


def test_both_may_be_in_any_order():
    first = Predictions(np.array([5, 3, 4]), np.array([0, 1, 1]), LOGITS)
    second = Predictions(np.array([4, 5, 3]), np.array([1, 0, 1]), LOGITS[[2, 0, 1]])
    own, other = first.matched(second, ("student", "teacher"))
    assert np.array_equal(own.logits, LOGITS)
    assert np.array_equal(other.logits, LOGITS)


def test_answers_that_are_texts_are_kept_with_the_right_ones(tmp_path):
    problem = get_problem("question_answering")
    right = np.empty(2, dtype=object)
    right[:] = [("Rome", "in Rome"), ()]
    logits = np.array([[3.0, 1.0, 4.0], [1.0, 2.0, 3.0]], dtype=np.float32)
    kept = Predictions.of(right, logits, (0.5,), found=["Rome", "it"])
    write_predictions(predictions_file(tmp_path), kept)
    got = read_predictions(predictions_file(tmp_path))
    assert got.labels.tolist() == [("Rome", "in Rome"), ()]
    assert got.found == ("Rome", "it")
    assert got.decisions(problem).tolist() == ["Rome", ""]  # the second is below the threshold
    shuffled = Predictions(np.array([1, 0]), right[::-1], logits[::-1], (0.5,), ("it", "Rome"))
    own, other = got.matched(shuffled, ("student", "teacher"))
    assert other.found == own.found and np.array_equal(other.logits, own.logits)


def test_texts_and_numbers_are_not_taken_for_each_other():
    with pytest.raises(RequestError, match="have to be numbers"):
        Predictions.of(np.array(["a", "b"], dtype=object), LOGITS[:2])
    with pytest.raises(RequestError, match="have to be numbers"):
        Predictions.of([0, 1], LOGITS[:2], found=["a", "b"])


@pytest.mark.parametrize("rows", [[], [0, 1], [0, 1, 3], [0, 1, 1]])
def test_answers_to_other_rows_are_not_compared(rows):
    other = Predictions(np.array(rows, dtype=np.int64), np.zeros(len(rows)), LOGITS[: len(rows)])
    with pytest.raises(RequestError, match="student and teacher answered other examples"):
        Predictions.of([0, 1, 1], LOGITS).matched(other, ("student", "teacher"))


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"nothing of the kind"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "predictions.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=str(path)):
        read_predictions(path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("row", [0, None]),
        ("row", [0.5, 1.0]),
        ("label", ["bad", "good"]),
        ("label", [0, None]),
        ("logits", [[0.5, 1.0], [0.5]]),
        ("logits", [[0.5, 1.0], None]),
        ("logits", [[0.5, 1.0], [0.5, None]]),
        ("logits", [["0.5", "1"], ["2", "3"]]),
        ("logits", [0.5, 1.0]),
        (None, None),
    ],
)
def test_columns_that_are_no_answers_are_refused_with_the_file_and_a_way_out(tmp_path, column, values):
    """A gap in the logits would be read as NaN; running the recipe again alone would skip the finished stage."""
    columns = {"row": [0, 1], "label": [0, 1], "logits": [[0.5, 1.0], [1.0, 0.5]]}
    changed = {**columns, column: values} if column else {"row": [0, 1]}
    path = predictions_file(tmp_path / "student")
    path.parent.mkdir()
    pq.write_table(pa.table(changed), path)
    with pytest.raises(RequestError, match=f"{path}.*delete '{path.parent}' and run the recipe again") as error:
        read_predictions(path)
    assert "\n" not in str(error.value)


def test_answers_and_labels_of_other_numbers_are_refused_before_they_are_written():
    with pytest.raises(RequestError, match=r"\(3,\), \(2,\), \(3, 2\)"):
        Predictions.of([0, 1], LOGITS)
