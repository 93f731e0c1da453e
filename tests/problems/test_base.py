"""The registry, and what the kinds share."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from distilnlp.errors import RequestError
from distilnlp.problems.base import (
    LabelColumn,
    Problem,
    class_name,
    label_settings,
    register_problem,
    sorted_names,
    to_number,
)

ROOT = Path(__file__).resolve().parents[2]


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="the problem name 'regression' is taken"):

        @register_problem("regression")
        class Another(Problem):
            """Of the same name."""


def test_the_kinds_are_listed_without_torch() -> None:
    """The command line lists tasks and checks recipes before anything heavy is loaded."""
    code = (
        "import sys, distilnlp.problems as p; p.list_problems(); "
        "sys.exit(', '.join({'torch', 'transformers', 'datasets', 'pandas', 'pyarrow'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("value", "number"),
    [("1.5", 1.5), ("-2e-1", -0.2), (3, 3.0), ("nan", None), ("inf", None), ("", None), ([], None)],
)
def test_a_text_is_a_number_where_it_is_written_as_one(value: object, number: float | None) -> None:
    assert to_number(value) == number


def test_a_text_of_many_digits_is_looked_at_once():
    """A pattern that may divide the digits in two ways would look at 10,000 of them 50 million times."""
    started = time.perf_counter()
    assert to_number("1" * 20_000 + "x") is None
    assert time.perf_counter() - started < 0.5


def test_classes_are_named_alike_however_a_file_writes_them() -> None:
    assert [class_name(value) for value in (1, 1.0, "1", 1.5, "a")] == ["1", "1", "1", "1.5", "a"]
    assert sorted_names({"10", "9", "-1"}) == ("-1", "9", "10")
    assert sorted_names({"10", "9", "a"}) == ("10", "9", "a")


def test_a_label_that_is_not_in_the_training_data_is_named_with_its_row() -> None:
    column = LabelColumn.of(["a", "b", "a", "c"], None, "films.csv")
    with pytest.raises(RequestError, match=r"label in row 4 of films.csv, not in the training data: 'c'"):
        column.known([["a"], ["b"], ["c"]], ("a", "b"))


def test_without_names_a_config_keeps_its_own() -> None:
    assert label_settings(None) == {}
    assert label_settings(["no", "yes"])["label2id"] == {"no": 0, "yes": 1}
