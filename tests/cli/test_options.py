"""Commands that train share their options: each stands once, and is known to all of them."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from distilnlp.cli import distill, evaluate, export, finetune
from distilnlp.cli._options import HeldOut, Training, with_options

SHARED = {field.name for field in fields(Training)}


HELD_OUT = {field.name for field in fields(HeldOut)}


def test_every_shared_option_is_an_option_of_both_commands() -> None:
    for shared, modules in ((SHARED, (distill, finetune)), (HELD_OUT, (evaluate, export))):
        for module in modules:
            assert set(inspect.signature(module.command).parameters) > shared
            assert "options" not in inspect.signature(module.command).parameters


def test_what_is_typed_arrives_as_one_and_the_commands_own_beside_it() -> None:
    seen = []

    @with_options(Training)
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
    request = options.request("finetune", task)
    assert request.training == {"num_train_epochs": 2.0, "per_device_train_batch_size": None, "learning_rate": None}
    assert request.data["data_dir"] == "glue"
    assert request.changes == ["seed=1"]


def test_every_shared_option_reaches_the_recipe() -> None:
    """An option that nothing reads would be ignored without a word."""
    read = {"output", "settings", "dry_run", "fresh"}  # by what runs the recipe
    read |= {"config"}  # before the options are
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
    options = Training(**data, **numbers, data_dir=Path("d"), precision="fp32", seeds="1,2")
    request = options.request("distill", "t")
    said = {**request.data, **request.top, **request.training}
    assert None not in said.values()
    assert len(said) == len(SHARED - read)


def test_every_option_of_held_out_examples_reaches_what_loads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[tuple[str, ...], dict[str, object]]] = []
    monkeypatch.setattr(
        "distilnlp.run.measured_task.load_measured_task", lambda *given, **named: seen.append((given, named))
    )
    words = {name: name for name in HELD_OUT - {"label", "translation", "data_dir", "max_length"}}
    HeldOut(**words, label=["a", "b"], translation=["c,d"], data_dir=Path("e")).load("model", "task")
    ((given, named),) = seen
    assert given == ("model", "task")
    assert named == {**words, "label": ["a", "b"], "translations": ["c", "d"], "data_dir": Path("e")}
