"""A tiny teacher on the disk, sixty rows of csv, and a recipe that trains on them in seconds."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from distilnlp.export import graph, openvino_graph
from distilnlp.recipe import Recipe, make_recipe
from distilnlp.run import run_recipe
from tests.tiny import CLASS_WORDS, tiny_model, tiny_tokenizer

TRAINING = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-3,
    "report_to": "none",
    "save_strategy": "steps",
    "save_steps": 2,
    "save_total_limit": 1,
}


@pytest.fixture(scope="session")
def start_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bare start: three layers and labels of no meaning."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    tiny_model("bert", layers=3, num_labels=2).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def csv_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Texts with a comma, none of them twice; labels by name."""
    path = tmp_path_factory.mktemp("data") / "films.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(60):
            words, number = CLASS_WORDS[row % 2], row // 2
            thing, first, second = ("film", "book")[number // 25], words[number % 5], words[number // 5 % 5]
            writer.writerow([f"the {thing} was {first}, very {second}", ("good", "bad")[row % 2]])
    return str(path)


def recipe_values(start_weights: str, csv_file: str) -> dict[str, Any]:
    """What the recipe file would hold."""
    return {
        "data": {"task": csv_file, "max_length": 16},
        "precision": "fp32",
        "report": {"html": False},  # a second for each run; test_page.py has it written
        "accept_weak_teacher": True,  # six steps teach a model of random weights next to nothing
        "stages": {
            "teacher": {"model": start_weights, "training": TRAINING},
            "control": {"like": "student", "teacher": None, "objective": None},
            "student": {
                "teacher": "teacher",
                "student": {"from": "teacher", "layers": 1},
                "objective": {"hard_label": {"weight": 0.5}, "soft_target": {"weight": 0.5}, "hidden_state": {}},
                "training": TRAINING,
            },
        },
    }


@pytest.fixture
def values(start_weights: str, csv_file: str) -> dict[str, Any]:
    """As `recipe_values`."""
    return recipe_values(start_weights, csv_file)


@pytest.fixture
def recipe(values: dict[str, Any]) -> Recipe:
    """Teacher, control and student."""
    return make_recipe(values, name="films")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], tuple[Path, list[str]]]:
    """From a recipe's values to the folder of its run, and what was said; it runs once for all tests of a file.

    Tests look at it and copy it, and do not change it.
    """
    known: dict[str, tuple[Path, list[str]]] = {}

    def run(values: dict[str, Any]) -> tuple[Path, list[str]]:
        key = json.dumps(values, sort_keys=True)
        if key not in known:
            folder, said = tmp_path_factory.mktemp("whole") / "run", list[str]()
            run_recipe(make_recipe(values, name="films"), folder, say=said.append)
            known[key] = folder, said
        return known[key]

    return run


@pytest.fixture(scope="module")
def one_trace_a_model() -> Iterator[None]:
    """A model is traced once a format and opset, however often it is exported; a graph stays as it is when written.

    With what traced it, whose weights a graph of OpenVINO reads.
    """
    known: dict[tuple[object, ...], tuple[PreTrainedModel, object]] = {}

    def once(trace: Callable[..., object]) -> Callable[..., object]:
        def traced(model: PreTrainedModel, inputs: object, **options: object) -> object:
            key = (trace, model.config.name_or_path, *options.items())
            assert key[1], "a model that was not read from a folder is known by no name"
            if key not in known:
                known[key] = (model, trace(model, inputs, **options))
            return known[key][1]

        return traced

    with pytest.MonkeyPatch.context() as patch:
        for format_ in (graph, openvino_graph):
            patch.setattr(format_, "trace", once(format_.trace))
        yield
