"""Commands that train share their options: each stands once, and is known to all of them."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from distilnlp.cli import distill, finetune
from distilnlp.cli._options import Training, with_training_options

SHARED = {field.name for field in fields(Training)}


def test_every_shared_option_is_an_option_of_both_commands() -> None:
    for module in (distill, finetune):
        assert set(inspect.signature(module.command).parameters) > SHARED
        assert "options" not in inspect.signature(module.command).parameters


def test_what_is_typed_arrives_as_one_and_the_commands_own_beside_it() -> None:
    seen = []

    @with_training_options
    def command(task: str, options: Training, fast: Annotated[bool, typer.Option("--fast")] = False) -> None:
        """Nothing."""
        seen.append((task, options, fast))

    app = typer.Typer()
    app.command()(command)
    words = ["mrpc", "--fast", "--epochs", "2", "--data-dir", "glue", "--set", "seed=1", "--dry-run"]
    assert CliRunner().invoke(app, words).exit_code == 0
    ((task, options, fast),) = seen
    assert (task, fast) == ("mrpc", True)
    assert options == Training(epochs=2.0, data_dir=Path("glue"), settings=["seed=1"], dry_run=True)
    assert options.training == {"num_train_epochs": 2.0, "per_device_train_batch_size": None, "learning_rate": None}
    assert options.data["data_dir"] == "glue"


def test_every_shared_option_reaches_the_recipe() -> None:
    """An option that nothing reads would be ignored without a word."""
    read = {"output", "settings", "dry_run", "fresh"}  # by what runs the recipe
    data = {"text": "t", "text_pair": "p", "label": "l", "problem_type": "regression", "validation": "v"}
    data |= {
        "label_names": "n",
        "weight": "w",
        "long": "windows",
        "join": "max",
        "without_relevant": "leave_out",
        "translation": ["d"],
    }
    numbers = {"max_length": 9, "stride": 4, "epochs": 1.0, "batch_size": 2, "learning_rate": 0.1, "seed": 3}
    options = Training(**data, **numbers, data_dir=Path("d"), precision="fp32")
    said = {**options.data, **options.top, **options.training}
    assert None not in said.values()
    assert len(said) == len(SHARED - read)
