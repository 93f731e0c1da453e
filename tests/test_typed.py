"""A public function that is given the wrong type says so in one line."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from distilnlp import LayerMap, Objective, build_student, load_task, load_teacher
from distilnlp.errors import DistilError, RequestError
from distilnlp.losses import SoftTarget
from distilnlp.models import align_labels, load_classifier, load_tokenizer
from distilnlp.models.loading import load_config
from distilnlp.models.predictor import Predictor
from distilnlp.typed import typed
from tests.runs import teacher_model

WRONG = [None, 3, -1, 1.5, True, "", "nope", b"x", [], ["a"], {}, {"a": 1}, object(), int, torch.zeros(2)]

PUBLIC = {
    "load_task": load_task,
    "load_task, data_dir": lambda value: load_task("mrpc", data_dir="nope" if value is None else value),
    "load_task, seed": lambda value: load_task("mnli-sample", seed=value, max_train=4, max_validation=4),
    "load_task, max_train": lambda value: load_task(
        "mnli-sample", max_train=4 if value is None else value, max_validation=4
    ),
    "load_task, problem_type": lambda value: load_task("nope.csv", problem_type=value),
    "load_teacher": load_teacher,
    "load_teacher, tokenizer": lambda value: load_teacher(teacher_model(), value),
    "build_student": lambda value: build_student(value, layers=1),
    "build_student, layers": lambda value: build_student(teacher_model(), layers=value),
    "build_student, layer_map": lambda value: build_student(teacher_model(), layers=2, layer_map=value),
    "build_student, config": lambda value: build_student(teacher_model(), config=value),
    "build_student, student": lambda value: build_student(teacher_model(), student=value),
    "build_student, seed": lambda value: build_student(teacher_model(), seed=value),
    "Objective": Objective,
    "Objective, loss": lambda value: Objective([(1.0, value)]),
    "Objective, weight": lambda value: Objective([(value, SoftTarget())]),
    "Objective.from_dict": Objective.from_dict,
    "Objective.from_dict, settings": lambda value: Objective.from_dict({"soft_target": value}),
    "LayerMap": LayerMap,
    "load_classifier": load_classifier,
    "load_tokenizer": load_tokenizer,
    "load_config": load_config,
    "Predictor.load": Predictor.load,
    "align_labels": lambda value: align_labels(teacher_model(), value),
    "align_labels, model": lambda value: align_labels(value, ["a"]),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_whatever_is_given_no_strangers_exception_comes_back(name: str) -> None:
    for value in WRONG:
        with contextlib.suppress(DistilError):
            PUBLIC[name](value)


@typed
def example(count: int, names: Sequence[str] | None = None, *, scale: float = 1.0) -> Any:
    return count, names, scale


def test_the_line_names_function_argument_value_and_type() -> None:
    with pytest.raises(RequestError) as caught:
        example("3")
    assert str(caught.value) == "example: count is '3', of type str: give int"
    assert caught.value.key == ("count",)


@pytest.mark.parametrize(
    "wrong", [{"count": True}, {"count": 1.0}, {"count": 1, "names": "abc"}, {"count": 1, "scale": "1"}]
)
def test_nothing_is_converted(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        example(**wrong)


def test_numbers_of_numpy_tuples_and_ranges_pass_as_they_are() -> None:
    assert example(np.int64(3), ("a", "b"), scale=np.float32(2.0)) == (3, ("a", "b"), 2.0)
    assert example(1, scale=2) == (1, None, 2)


def test_a_name_that_is_not_there_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="cuont"):
        example(1, cuont=3)
