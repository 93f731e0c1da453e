"""A tiny teacher on the disk, sixty rows of csv, and a recipe that trains on them in seconds."""

import csv
from typing import Any

import pytest

from distilnlp.recipe import Recipe, make_recipe
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
