"""A student ends with the weights that score best."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.training.candidates import take_best
from tests.runs import arguments


def weights(value: float) -> dict[str, Tensor]:
    return {"weight": torch.full((1, 1), value)}


def chosen(folder: Path, scores: Mapping[float, float], metric: str | None) -> tuple[float, dict[str, float]]:
    """The weight that a student of weight 0 ends with, among 1 and 2, and how all scored."""
    student = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(student.weight)
    args: dict[str, Any] = {} if metric is None else {"metric_for_best_model": metric}
    found = take_best(
        student,
        {"one": weights(1), "two": weights(2)},
        arguments(folder, **args),
        lambda prefix: {f"{prefix}_{metric or 'loss'}": scores[float(student.weight.detach())]},
    )
    return float(student.weight.detach()), found


@pytest.mark.parametrize(
    ("metric", "scores", "best", "order"),
    [
        (None, {0: 0.5, 1: 0.4, 2: 0.6}, 1, ["one", "student", "two"]),
        ("accuracy", {0: 0.5, 1: 0.4, 2: 0.6}, 2, ["two", "student", "one"]),
        ("accuracy", {0: 0.6, 1: 0.6, 2: 0.6}, 0, ["student", "one", "two"]),
        ("accuracy", {0: math.nan, 1: 0.1, 2: math.nan}, 1, ["one", "student", "two"]),
    ],
    ids=["loss", "accuracy", "a draw is the student's", "no number"],
)
def test_the_best_is_taken(
    tmp_path: Path, metric: str | None, scores: dict[float, float], best: float, order: list[str]
) -> None:
    weight, found = chosen(tmp_path, scores, metric)
    assert weight == best and list(found) == order


def test_a_metric_that_is_not_measured_leaves_the_student_as_it_was(tmp_path: Path) -> None:
    student = nn.Linear(1, 1, bias=False)
    before = student.weight.detach().clone()
    args = arguments(tmp_path, metric_for_best_model="accuracy")
    with pytest.raises(RequestError, match="'accuracy'"):
        take_best(student, {"one": weights(1)}, args, lambda prefix: {f"{prefix}_loss": 1.0})
    assert torch.equal(student.weight, before)
